//! Assets: there may be millions, so they stay in the store and are looked up there.

use std::sync::Arc;

use super::{
    FieldViolation, Page, PageRequest, ServiceError, audit::AuditTrail, committer::Admission,
    disk_reserve::DiskReserve, organization_locks::OrganizationLocks, page::PageTokens,
    store_reads::StoreReads,
};
use crate::{
    domain::{
        asset::Asset,
        audit::{Actor, AuditAction},
        caller::Caller,
        catalog::State,
        format_character::check_new_name,
        id::AssetId,
        limits::ASSETS_PER_APPLY_MAX,
    },
    store::UsageStore,
};

/// An asset as the caller wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAsset {
    /// Should be an id.
    pub id: String,
    /// Should be short.
    pub name: String,
    /// Whether new usage is accepted.
    pub state: State,
}

/// What a change of assets came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssetChanges {
    /// Assets that are new.
    pub created: usize,
    /// Assets that were there and differ now.
    pub updated: usize,
    /// Assets that were as they should be.
    pub unchanged: usize,
}

/// Every organization's assets.
pub struct Assets {
    store: Arc<dyn UsageStore>,
    audit: Arc<AuditTrail>,
    reads: Arc<StoreReads>,
    disk: Arc<DiskReserve>,
    // An organization's is held from reading what is there to writing what shall be.
    changing: OrganizationLocks,
}

impl std::fmt::Debug for Assets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assets").finish_non_exhaustive()
    }
}

impl Assets {
    /// The assets of a store, which is read by `reads`.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, audit: Arc<AuditTrail>, reads: Arc<StoreReads>) -> Self {
        let changing = OrganizationLocks::default();
        Self { store, audit, reads, disk: DiskReserve::off(), changing }
    }

    /// Refuses to write assets while less of the disk is free than is reserved for usage.
    #[must_use]
    pub fn with_reserve(self, disk: Arc<DiskReserve>) -> Self {
        Self { disk, ..self }
    }

    /// Creates or replaces assets of the actor's organization, durably and all at once.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule; [`ServiceError::BelowReserve`].
    pub async fn apply(
        &self,
        actor: &Actor,
        assets: Vec<NewAsset>,
        validate_only: bool,
    ) -> Result<AssetChanges, ServiceError> {
        let assets = check(assets)?;
        let organization = actor.caller.organization.clone();
        let changing = self.changing.lock(&organization).await;
        let (store, audit, actor) =
            (Arc::clone(&self.store), Arc::clone(&self.audit), actor.clone());
        let disk = Arc::clone(&self.disk);
        // Runs to its end and keeps others out until then, even if the caller is dropped.
        let writing = tokio::task::spawn_blocking(move || {
            let ids: Vec<AssetId> = assets.iter().map(|asset| asset.id.clone()).collect();
            let before = store.assets(&organization, &ids)?;
            let mut changes = AssetChanges::default();
            let mut changed = Vec::new();
            for (asset, before) in assets.into_iter().zip(before) {
                match before {
                    Some(before) if before == asset => {
                        changes.unchanged += 1;
                        continue;
                    }
                    Some(_) => changes.updated += 1,
                    None => changes.created += 1,
                }
                changed.push(asset);
            }
            if validate_only || changed.is_empty() {
                return Ok(changes);
            }
            disk.check()?;
            let detail = format!("{} created, {} updated", changes.created, changes.updated);
            let action = AuditAction::AssetsApplied;
            let told = audit.tell(&organization, &actor, action, "", &detail)?;
            store.write_assets(&organization, &changed, &[], &told)?;
            drop(changing);
            Ok(changes)
        });
        writing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?
    }

    /// Assets by id, a page at a time.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub async fn list(
        &self,
        caller: &Caller,
        page: &PageRequest,
    ) -> Result<Page<Asset>, ServiceError> {
        let organization = &caller.organization;
        let tokens = PageTokens::new(self.store.token_key(), &("assets", organization.as_str()))?;
        let size = page.size()?;
        let after: Option<String> = tokens.decode(&page.page_token)?;
        let after = after.and_then(|id| AssetId::new(&id).ok());
        let organization = organization.clone();
        let read = move |store: &dyn UsageStore| {
            store.assets_after(&organization, after.as_ref(), size + 1)
        };
        let mut items = self.reads.answer(caller, Admission::Refuse, read).await?;
        let more = items.len() > size;
        items.truncate(size);
        let next_page_token = match items.last() {
            Some(last) if more => tokens.encode(&last.id.as_str())?,
            _ => String::new(),
        };
        Ok(Page { items, next_page_token })
    }

    /// One asset.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn asset(&self, caller: &Caller, id: &str) -> Result<Asset, ServiceError> {
        let missing = || ServiceError::not_found("asset", id);
        let wanted = AssetId::new(id).map_err(|_| missing())?;
        let organization = caller.organization.clone();
        let read = move |store: &dyn UsageStore| store.assets(&organization, &[wanted]);
        let found = self.reads.answer(caller, Admission::Refuse, read).await?;
        found.into_iter().next().flatten().ok_or_else(missing)
    }

    /// Removes an asset of the actor's organization from the catalog; its usage stays.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn delete(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        let missing = || ServiceError::not_found("asset", id);
        let asset = AssetId::new(id).map_err(|_| missing())?;
        let organization = actor.caller.organization.clone();
        let changing = self.changing.lock(&organization).await;
        let (store, audit, actor) =
            (Arc::clone(&self.store), Arc::clone(&self.audit), actor.clone());
        let writing = tokio::task::spawn_blocking(move || {
            // Read here rather than in turn with other reads: whoever changes assets next waits for this.
            let found = store.assets(&organization, std::slice::from_ref(&asset))?;
            if found.iter().all(Option::is_none) {
                return Ok(false);
            }
            let action = AuditAction::AssetDeleted;
            let told = audit.tell(&organization, &actor, action, asset.as_str(), "")?;
            store.write_assets(&organization, &[], &[asset], &told)?;
            drop(changing);
            Ok::<_, ServiceError>(true)
        });
        let was_there =
            writing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))??;
        if was_there { Ok(()) } else { Err(missing()) }
    }

    /// Which of the assets take new usage, in the order of `ids`.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read.
    pub(super) async fn take_usage(
        &self,
        caller: &Caller,
        ids: Vec<AssetId>,
    ) -> Result<Vec<bool>, ServiceError> {
        let organization = caller.organization.clone();
        let read = move |store: &dyn UsageStore| store.assets(&organization, &ids);
        let found = self.reads.for_write(caller, read).await?;
        let takes_usage =
            |asset: Option<Asset>| asset.is_some_and(|asset| asset.state == State::Active);
        Ok(found.into_iter().map(takes_usage).collect())
    }
}

/// Checks every rule, and names all that are broken.
fn check(assets: Vec<NewAsset>) -> Result<Vec<Asset>, ServiceError> {
    if assets.is_empty() || assets.len() > ASSETS_PER_APPLY_MAX {
        let description =
            format!("has {} entries, 1 to {ASSETS_PER_APPLY_MAX} are allowed", assets.len());
        return Err(ServiceError::invalid("assets", description));
    }
    let mut violations = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut checked = Vec::with_capacity(assets.len());
    for (place, NewAsset { id, name, state }) in assets.into_iter().enumerate() {
        let mut violate = |member: &str, description: String| {
            violations.push(FieldViolation::new(format!("assets[{place}].{member}"), description));
        };
        if let Err(description) = check_new_name(&name) {
            violate("name", description);
        }
        match AssetId::of_new(&id) {
            Err(error) => violate("id", error.to_string()),
            Ok(id) if !seen.insert(id.clone()) => violate("id", format!("{id:?} comes twice")),
            Ok(id) => checked.push(Asset { id, name, state }),
        }
    }
    if violations.is_empty() { Ok(checked) } else { Err(ServiceError::InvalidArgument(violations)) }
}
