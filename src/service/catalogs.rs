//! The catalogs: read without a lock, changed one change at a time.

use std::{collections::HashMap, ops::Bound, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{
    Page, PageRequest, ServiceError,
    audit::AuditTrail,
    page::{PageTokens, list},
};
use crate::{
    domain::{
        audit::{Actor, AuditAction},
        catalog::{Catalog, CatalogChange, DesiredCatalog, Product, ProductInstance},
        id::{OrganizationId, ProductId, ProductInstanceId},
    },
    store::UsageStore,
};

type Snapshot = HashMap<OrganizationId, Arc<Catalog>>;

/// Every organization's catalog.
pub struct Catalogs(Arc<Shared>);

struct Shared {
    store: Arc<dyn UsageStore>,
    audit: Arc<AuditTrail>,
    snapshot: ArcSwap<Snapshot>,
    // Held from reading the catalog to showing the changed one, so changes happen one after another.
    changing: Arc<Mutex<()>>,
    empty: Arc<Catalog>,
}

impl std::fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogs")
            .field("organizations", &self.0.snapshot.load().len())
            .finish_non_exhaustive()
    }
}

impl Catalogs {
    /// Reads the catalogs from a store.
    ///
    /// # Errors
    /// [`ServiceError`] if they cannot be read.
    pub fn load(store: Arc<dyn UsageStore>, audit: Arc<AuditTrail>) -> Result<Self, ServiceError> {
        let snapshot: Snapshot = store
            .catalogs()?
            .into_iter()
            .map(|(name, catalog)| (name, Arc::new(catalog)))
            .collect();
        Ok(Self(Arc::new(Shared {
            store,
            audit,
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Arc::new(Mutex::new(())),
            empty: Arc::new(Catalog::default()),
        })))
    }

    /// An organization's catalog as of now.
    #[must_use]
    pub fn of(&self, organization: &OrganizationId) -> Arc<Catalog> {
        self.0.of(organization)
    }

    /// Makes the catalog of the actor's organization what is desired, durably and all at once; answers what changed.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub async fn apply(
        &self,
        actor: &Actor,
        desired: DesiredCatalog,
        validate_only: bool,
    ) -> Result<Vec<CatalogChange>, ServiceError> {
        let change = |catalog: &Catalog| Ok(catalog.apply(desired)?);
        self.change(actor, AuditAction::CatalogApplied, "", validate_only, change).await
    }

    /// Products by id, a page at a time.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub fn list_products(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Product>, ServiceError> {
        let tokens = self.tokens("products", organization)?;
        let catalog = self.of(organization);
        list(&tokens, page, |after| {
            let after = after.and_then(|id| ProductId::new(id).ok());
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            catalog
                .products
                .range((from, Bound::Unbounded))
                .map(|(id, product)| (id.to_string(), product.clone()))
        })
    }

    /// One product.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn product(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Product, ServiceError> {
        self.of(organization).products.get(id).cloned().ok_or_else(|| no_product(id))
    }

    /// Removes a product from the catalog; its usage stays.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or [`ServiceError::FailedPrecondition`] while it has instances.
    pub async fn delete_product(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        self.change(actor, AuditAction::ProductDeleted, id, false, |catalog| {
            let mut next = catalog.clone();
            next.products.remove(id).ok_or_else(|| no_product(id))?;
            match catalog.instances.values().find(|instance| instance.product.as_str() == id) {
                Some(instance) => Err(ServiceError::FailedPrecondition(format!(
                    "product {id:?} still has instances, such as {:?}; delete them first, or retire the product",
                    instance.id.as_str()
                ))),
                None => Ok(next),
            }
        })
        .await
        .map(drop)
    }

    /// Product instances by id, a page at a time.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub fn list_instances(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<ProductInstance>, ServiceError> {
        let tokens = self.tokens("product instances", organization)?;
        let catalog = self.of(organization);
        list(&tokens, page, |after| {
            let after = after.and_then(|id| ProductInstanceId::new(id).ok());
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            catalog
                .instances
                .range((from, Bound::Unbounded))
                .map(|(id, instance)| (id.to_string(), instance.clone()))
        })
    }

    /// One product instance.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn instance(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<ProductInstance, ServiceError> {
        self.of(organization).instances.get(id).cloned().ok_or_else(|| no_instance(id))
    }

    /// Removes a product instance from the catalog; its usage stays.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn delete_instance(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        self.change(actor, AuditAction::InstanceDeleted, id, false, |catalog| {
            let mut next = catalog.clone();
            next.instances.remove(id).ok_or_else(|| no_instance(id))?;
            Ok(next)
        })
        .await
        .map(drop)
    }

    fn tokens(
        &self,
        list: &str,
        organization: &OrganizationId,
    ) -> Result<PageTokens, ServiceError> {
        PageTokens::new(self.0.store.token_key(), &(list, organization.as_str()))
    }

    /// Changes one catalog. Once the change was computed it is carried out whether or not the caller
    /// waits for it.
    async fn change(
        &self,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        validate_only: bool,
        change: impl FnOnce(&Catalog) -> Result<Catalog, ServiceError>,
    ) -> Result<Vec<CatalogChange>, ServiceError> {
        let changing = Arc::clone(&self.0.changing).lock_owned().await;
        let organization = &actor.caller.organization;
        let before = self.of(organization);
        let after = change(&before)?;
        let changes = before.changes_to(&after);
        if validate_only || changes.is_empty() {
            return Ok(changes);
        }
        let (shared, organization) = (Arc::clone(&self.0), organization.clone());
        let (actor, subject) = (actor.clone(), subject.to_owned());
        let detail = format!("{} entries changed", changes.len());
        // Runs to its end and keeps others out until then, even if the caller is dropped.
        let writing = tokio::task::spawn_blocking(move || {
            let told = shared.audit.tell(&organization, &actor, action, &subject, &detail)?;
            shared.store.replace_catalog(&organization, &before, &after, &[told])?;
            // Shown only once it is durable.
            let mut snapshot = Snapshot::clone(&shared.snapshot.load());
            snapshot.insert(organization, Arc::new(after));
            shared.snapshot.store(Arc::new(snapshot));
            drop(changing);
            Ok(())
        });
        let written: Result<(), ServiceError> =
            writing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?;
        written.map(|()| changes)
    }
}

impl Shared {
    fn of(&self, organization: &OrganizationId) -> Arc<Catalog> {
        Arc::clone(self.snapshot.load().get(organization).unwrap_or(&self.empty))
    }
}

fn no_product(id: &str) -> ServiceError {
    ServiceError::not_found("product", id)
}

fn no_instance(id: &str) -> ServiceError {
    ServiceError::not_found("product instance", id)
}

#[cfg(test)]
mod tests;
