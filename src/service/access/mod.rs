//! Organizations and clients: looked up in memory, changed one change at a time in each organization, each change on
//! record.

mod clients;
mod credentials;
mod directory;
mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod organizations;
mod registry;

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::OwnedMutexGuard;

pub use self::{
    clients::{CreatedClient, NewClient},
    organizations::require_operator,
};

use self::registry::{Change, Registry};
use super::{
    ServiceError, audit::AuditTrail, clock::Clock, execution::Execution,
    organization_locks::OrganizationLocks, page::PageTokens,
};
use crate::{
    domain::{
        audit::{Actor, AuditAction},
        format_character::check_new_name,
        id::OrganizationId,
        limits::{ORGANIZATION_CLIENTS_MAX_DEFAULT, ORGANIZATIONS_MAX_DEFAULT},
    },
    store::UsageStore,
};

/// The organization whose administrators reach every other.
pub const OPERATOR_ORGANIZATION: &str = "default";

/// How many organizations and clients there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLimits {
    /// Most organizations. Default 100,000.
    pub organizations_max: usize,
    /// Most clients of one organization. Default 1,000.
    pub clients_max: usize,
}

impl Default for AccessLimits {
    fn default() -> Self {
        Self {
            organizations_max: ORGANIZATIONS_MAX_DEFAULT,
            clients_max: ORGANIZATION_CLIENTS_MAX_DEFAULT,
        }
    }
}

/// How many organizations and clients there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessSize {
    /// Organizations.
    pub organizations: usize,
    /// Clients of all organizations.
    pub clients: usize,
}

/// What the audit trail is told of a change.
struct Told {
    organization: OrganizationId,
    actor: Actor,
    action: AuditAction,
    subject: String,
    detail: String,
}

/// Organizations and their clients.
pub struct Access(Arc<Shared>);

struct Shared {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditTrail>,
    limits: AccessLimits,
    execution: Execution,
    // Locked only to look something up, or to carry out a change that is stored.
    registry: RwLock<Registry>,
    // An organization's is held from reading its clients to showing a changed one.
    changing: OrganizationLocks,
    // Held from counting the organizations to showing a new one.
    creating_organization: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Reads who may call from a store, with the default limits.
    ///
    /// # Errors
    /// [`ServiceError`] if that cannot be read.
    pub fn load(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditTrail>,
    ) -> Result<Self, ServiceError> {
        Self::load_with(store, clock, audit, AccessLimits::default(), Execution::default())
    }

    /// Reads who may call from a store; `execution` says where changes are written.
    ///
    /// # Errors
    /// [`ServiceError`] if that cannot be read.
    pub fn load_with(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditTrail>,
        limits: AccessLimits,
        execution: Execution,
    ) -> Result<Self, ServiceError> {
        let registry = RwLock::new(Registry::load(&*store)?);
        Ok(Self(Arc::new(Shared {
            store,
            clock,
            audit,
            limits,
            execution,
            registry,
            changing: OrganizationLocks::default(),
            creating_organization: Arc::default(),
        })))
    }

    /// How many organizations and clients there are.
    #[must_use]
    pub fn size(&self) -> AccessSize {
        let registry = self.0.registry.read();
        AccessSize {
            organizations: registry.organization_count(),
            clients: registry.client_count(),
        }
    }

    fn tokens(
        &self,
        list: &str,
        organization: &OrganizationId,
    ) -> Result<PageTokens, ServiceError> {
        PageTokens::new(self.0.store.token_key(), &(list, organization.as_str()))
    }

    /// Makes one change and tells of it, durably and in one step; answers the change. `changing` is the lock under which
    /// what `decide` reads stays as it is. Once begun the change is carried out whether or not the caller waits for it.
    async fn change(
        &self,
        changing: OwnedMutexGuard<()>,
        told: Told,
        decide: impl FnOnce(&Registry) -> Result<Change, ServiceError> + Send + 'static,
    ) -> Result<Change, ServiceError> {
        let shared = Arc::clone(&self.0);
        let changed = self.0.execution.run(move || {
            let _changing = changing;
            let change = decide(&shared.registry.read())?;
            let document = change.document()?;
            let Told { organization, actor, action, subject, detail } = told;
            let mut documents = vec![document];
            documents.extend(shared.audit.tell(
                &organization,
                &actor,
                action,
                &subject,
                &detail,
            )?);
            shared.store.write_documents(&documents)?;
            // Shown only once it is durable.
            shared.registry.write().apply(change.clone());
            Ok(change)
        });
        changed.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?
    }
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    check_new_name(name).map_err(|description| ServiceError::invalid("name", description))
}

#[cfg(test)]
mod tests;
