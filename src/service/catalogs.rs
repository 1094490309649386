//! The catalogs: read as of one moment, changed one change at a time in each organization.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use super::{
    Page, PageRequest, ServiceError,
    audit::AuditTrail,
    execution::Execution,
    organization_locks::OrganizationLocks,
    page::{PageTokens, list},
};
use crate::{
    domain::{
        audit::{Actor, AuditAction},
        catalog::{
            Catalog, CatalogChange, CatalogDifference, CatalogLimits, CatalogSize, DesiredCatalog,
            Product, ProductInstance,
        },
        id::{OrganizationId, ProductId, ProductInstanceId},
    },
    store::UsageStore,
};

/// Every organization's catalog.
pub struct Catalogs(Arc<Shared>);

struct Shared {
    store: Arc<dyn UsageStore>,
    audit: Arc<AuditTrail>,
    limits: CatalogLimits,
    execution: Execution,
    // Locked only to look a catalog up, or to put a changed one in its place.
    catalogs: RwLock<HashMap<OrganizationId, Arc<Catalog>>>,
    // An organization's is held from reading its catalog to showing the changed one.
    changing: OrganizationLocks,
    empty: Arc<Catalog>,
}

impl std::fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogs")
            .field("organizations", &self.0.catalogs.read().len())
            .finish_non_exhaustive()
    }
}

impl Catalogs {
    /// Reads the catalogs from a store, with the default limits.
    ///
    /// # Errors
    /// [`ServiceError`] if they cannot be read.
    pub fn load(store: Arc<dyn UsageStore>, audit: Arc<AuditTrail>) -> Result<Self, ServiceError> {
        Self::load_with(store, audit, CatalogLimits::default(), Execution::default())
    }

    /// Reads the catalogs from a store. `limits` are those of each organization; `execution` says where changes are
    /// computed and written.
    ///
    /// # Errors
    /// [`ServiceError`] if they cannot be read.
    pub fn load_with(
        store: Arc<dyn UsageStore>,
        audit: Arc<AuditTrail>,
        limits: CatalogLimits,
        execution: Execution,
    ) -> Result<Self, ServiceError> {
        let catalogs =
            store.catalogs()?.into_iter().map(|(name, catalog)| (name, Arc::new(catalog)));
        let catalogs = RwLock::new(catalogs.collect());
        Ok(Self(Arc::new(Shared {
            store,
            audit,
            limits,
            execution,
            catalogs,
            changing: OrganizationLocks::default(),
            empty: Arc::new(Catalog::default()),
        })))
    }

    /// How many entries all catalogs have together.
    #[must_use]
    pub fn size(&self) -> CatalogSize {
        let catalogs = self.0.catalogs.read();
        catalogs.values().map(|catalog| catalog.size()).fold(CatalogSize::default(), |all, one| {
            CatalogSize {
                products: all.products + one.products,
                skus: all.skus + one.skus,
                instances: all.instances + one.instances,
            }
        })
    }

    /// An organization's catalog as of now.
    #[must_use]
    pub fn of(&self, organization: &OrganizationId) -> Arc<Catalog> {
        self.0.of(organization)
    }

    /// Makes the catalog of the actor's organization what is desired, durably and all at once; answers what changed.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule, or [`ServiceError::LimitExceeded`] with every limit
    /// that the catalog would exceed.
    pub async fn apply(
        &self,
        actor: &Actor,
        desired: DesiredCatalog,
        validate_only: bool,
    ) -> Result<Vec<CatalogChange>, ServiceError> {
        let limits = self.0.limits;
        let change = move |catalog: &Catalog| Ok(catalog.apply(desired, &limits)?);
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
            catalog
                .products_after(after.and_then(|id| ProductId::new(id).ok()))
                .map(|product| (product.id.to_string(), Product::clone(product)))
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
        self.of(organization).product(id).cloned().ok_or_else(|| no_product(id))
    }

    /// Removes a product from the catalog; its usage stays.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or [`ServiceError::FailedPrecondition`] while it has instances.
    pub async fn delete_product(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        let wanted = id.to_owned();
        self.change(actor, AuditAction::ProductDeleted, id, false, move |catalog| {
            let mut next = catalog.clone();
            let removed = next.remove_product(&wanted).ok_or_else(|| no_product(&wanted))?;
            match catalog.instances_of(&wanted) {
                0 => {
                    let products = vec![removed];
                    Ok((next, CatalogDifference { products, ..CatalogDifference::default() }))
                }
                instances => Err(ServiceError::FailedPrecondition(format!(
                    "product {wanted:?} still has instances ({instances}); delete them first, or retire the product"
                ))),
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
            catalog
                .instances_after(after.and_then(|id| ProductInstanceId::new(id).ok()))
                .map(|instance| (instance.id.to_string(), ProductInstance::clone(instance)))
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
        self.of(organization).instance(id).cloned().ok_or_else(|| no_instance(id))
    }

    /// Removes a product instance from the catalog; its usage stays.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn delete_instance(&self, actor: &Actor, id: &str) -> Result<(), ServiceError> {
        let wanted = id.to_owned();
        self.change(actor, AuditAction::InstanceDeleted, id, false, move |catalog| {
            let mut next = catalog.clone();
            let removed = next.remove_instance(&wanted).ok_or_else(|| no_instance(&wanted))?;
            let instances = vec![removed];
            Ok((next, CatalogDifference { instances, ..CatalogDifference::default() }))
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

    /// Changes one catalog, away from the threads that serve calls. Once begun it is carried out whether or not the
    /// caller waits for it.
    async fn change(
        &self,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        validate_only: bool,
        change: impl FnOnce(&Catalog) -> Result<(Catalog, CatalogDifference), ServiceError>
        + Send
        + 'static,
    ) -> Result<Vec<CatalogChange>, ServiceError> {
        let organization = actor.caller.organization.clone();
        // Also to validate: of each organization, one change at a time takes a thread and processor time.
        let changing = self.0.changing.lock(&organization).await;
        let shared = Arc::clone(&self.0);
        let (actor, subject) = (actor.clone(), subject.to_owned());
        let changed = self.0.execution.run(move || {
            // Others are kept out until the change is over, even if the caller is dropped.
            let _changing = changing;
            let (after, difference) = change(&shared.of(&organization))?;
            let changes = difference.changes();
            if validate_only || changes.is_empty() {
                return Ok(changes);
            }
            let detail = format!("{} entries changed", changes.len());
            let told = shared.audit.tell(&organization, &actor, action, &subject, &detail)?;
            shared.store.change_catalog(&organization, &difference, &told)?;
            // Shown only once it is durable.
            shared.catalogs.write().insert(organization, Arc::new(after));
            Ok(changes)
        });
        changed.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?
    }
}

impl Shared {
    fn of(&self, organization: &OrganizationId) -> Arc<Catalog> {
        Arc::clone(self.catalogs.read().get(organization).unwrap_or(&self.empty))
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
