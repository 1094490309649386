//! All organizations and clients in memory. Looking one up and changing one cost the same however many there are.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;

use super::entry;
use crate::{
    domain::{
        access::{Client, Organization},
        credential::CredentialHash,
        id::{ClientId, OrganizationId},
    },
    service::ServiceError,
    store::{
        StoreError, UsageStore,
        document::{Collection, DocumentChange},
    },
};

/// Organizations, clients, and which client has which credential.
#[derive(Debug, Default)]
pub(super) struct Registry {
    organizations: BTreeMap<OrganizationId, Organization>,
    clients: HashMap<OrganizationId, BTreeMap<ClientId, Registered>>,
    // Secrets and API keys; which of them it is, the client tells.
    by_credential: HashMap<CredentialHash, Arc<Client>>,
    by_public_key: HashMap<String, Arc<Client>>,
}

/// A client, and what is known of it only while the process runs.
#[derive(Debug)]
struct Registered {
    client: Arc<Client>,
    /// Microseconds since 1970, or [`NEVER_USED`].
    last_used: AtomicI64,
}

const NEVER_USED: i64 = i64::MIN;

/// One change of the registry.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A new organization.
    Organization(Organization),
    /// A new client, or a new state of one.
    Client(Arc<Client>),
    /// The end of a client.
    ClientDeleted(Arc<Client>),
}

impl Change {
    /// What is written for it.
    pub(super) fn document(&self) -> Result<DocumentChange, ServiceError> {
        match self {
            Self::Organization(organization) => entry::of_organization(organization),
            Self::Client(client) => entry::of_client(client),
            Self::ClientDeleted(client) => Ok(DocumentChange {
                collection: Collection::Clients,
                organization: client.organization.clone(),
                name: client.id.to_string(),
                body: None,
            }),
        }
    }
}

impl Registry {
    pub(super) fn load(store: &dyn UsageStore) -> Result<Self, StoreError> {
        let mut registry = Self::default();
        for document in store.documents(Collection::Organizations)? {
            registry.apply(Change::Organization(entry::organization(&document)?));
        }
        for document in store.documents(Collection::Clients)? {
            registry.apply(Change::Client(Arc::new(entry::client(&document)?)));
        }
        Ok(registry)
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Organization(organization) => {
                self.organizations.insert(organization.id.clone(), organization);
            }
            Change::Client(client) => self.put(client),
            Change::ClientDeleted(client) => {
                self.remove(&client);
            }
        }
    }

    fn put(&mut self, client: Arc<Client>) {
        let last_used =
            self.remove(&client).map_or(NEVER_USED, |before| before.last_used.into_inner());
        for credential in client.api_keys.iter().chain(&client.secrets) {
            self.by_credential.insert(credential.hash, Arc::clone(&client));
        }
        for public_key in &client.public_keys {
            self.by_public_key.insert(public_key.id.clone(), Arc::clone(&client));
        }
        let of_organization = self.clients.entry(client.organization.clone()).or_default();
        let last_used = AtomicI64::new(last_used);
        of_organization.insert(client.id.clone(), Registered { client, last_used });
    }

    /// Removes what is there of the client's id, with its credentials.
    fn remove(&mut self, client: &Client) -> Option<Registered> {
        let removed = self.clients.get_mut(&client.organization)?.remove(&client.id)?;
        for credential in removed.client.api_keys.iter().chain(&removed.client.secrets) {
            self.by_credential.remove(&credential.hash);
        }
        for public_key in &removed.client.public_keys {
            self.by_public_key.remove(&public_key.id);
        }
        Some(removed)
    }

    pub(super) fn organization(&self, id: &str) -> Option<&Organization> {
        self.organizations.get(id)
    }

    pub(super) fn organization_count(&self) -> usize {
        self.organizations.len()
    }

    pub(super) fn organizations_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Organization> + use<'a> {
        let from = after.and_then(|id| OrganizationId::new(id).ok());
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.organizations.range((from, Bound::Unbounded)).map(|(_, organization)| organization)
    }

    pub(super) fn client(&self, organization: &OrganizationId, id: &str) -> Option<&Arc<Client>> {
        self.registered(organization, id).map(|registered| &registered.client)
    }

    /// How many clients an organization has.
    pub(super) fn client_count_of(&self, organization: &OrganizationId) -> usize {
        self.clients.get(organization).map_or(0, BTreeMap::len)
    }

    /// How many clients there are.
    pub(super) fn client_count(&self) -> usize {
        self.clients.values().map(BTreeMap::len).sum()
    }

    pub(super) fn clients_after<'a>(
        &'a self,
        organization: &OrganizationId,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Client>> + use<'a> {
        let from = after.and_then(|id| ClientId::new(id).ok());
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let clients = self.clients.get(organization).into_iter();
        clients
            .flat_map(move |clients| clients.range((from.clone(), Bound::Unbounded)))
            .map(|(_, registered)| &registered.client)
    }

    pub(super) fn with_credential(&self, hash: &CredentialHash) -> Option<&Arc<Client>> {
        self.by_credential.get(hash)
    }

    pub(super) fn with_public_key(&self, id: &str) -> Option<&Arc<Client>> {
        self.by_public_key.get(id)
    }

    /// Notes that a client has called, unless it is another one of the same id by now.
    pub(super) fn note_use(&self, client: &Client, now: Timestamp) {
        if let Some(registered) = self.same(client) {
            registered.last_used.store(now.as_microsecond(), Ordering::Relaxed);
        }
    }

    /// When a client called last.
    pub(super) fn last_used(&self, client: &Client) -> Option<Timestamp> {
        let last_used = self.same(client)?.last_used.load(Ordering::Relaxed);
        (last_used != NEVER_USED).then(|| Timestamp::from_microsecond(last_used).ok()).flatten()
    }

    fn same(&self, client: &Client) -> Option<&Registered> {
        self.registered(&client.organization, client.id.as_str())
            .filter(|registered| registered.client.generation == client.generation)
    }

    fn registered(&self, organization: &OrganizationId, id: &str) -> Option<&Registered> {
        self.clients.get(organization)?.get(id)
    }
}
