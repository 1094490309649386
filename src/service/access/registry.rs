//! Everybody who may call, in memory: for every call a look-up, for every change a copy.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

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

type ClientKey = (OrganizationId, ClientId);

/// Organizations, clients, and which client has which credential.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry {
    organizations: BTreeMap<OrganizationId, Organization>,
    clients: BTreeMap<ClientKey, Arc<Client>>,
    // Secrets and API keys; which of them it is, the client tells.
    by_credential: HashMap<CredentialHash, ClientKey>,
    by_public_key: HashMap<String, ClientKey>,
}

impl Registry {
    pub(super) fn load(store: &dyn UsageStore) -> Result<Self, StoreError> {
        let mut registry = Self::default();
        for document in store.documents(Collection::Organizations)? {
            let organization = entry::organization(&document)?;
            registry.organizations.insert(organization.id.clone(), organization);
        }
        for document in store.documents(Collection::Clients)? {
            registry.insert(Arc::new(entry::client(&document)?));
        }
        Ok(registry)
    }

    fn insert(&mut self, client: Arc<Client>) {
        let key = (client.organization.clone(), client.id.clone());
        self.forget_what_belongs_to(&key);
        for credential in client.api_keys.iter().chain(&client.secrets) {
            self.by_credential.insert(credential.hash, key.clone());
        }
        for public_key in &client.public_keys {
            self.by_public_key.insert(public_key.id.clone(), key.clone());
        }
        self.clients.insert(key, client);
    }

    fn forget_what_belongs_to(&mut self, key: &ClientKey) {
        self.by_credential.retain(|_, owner| owner != key);
        self.by_public_key.retain(|_, owner| owner != key);
    }

    pub(super) fn organization(&self, id: &str) -> Option<&Organization> {
        self.organizations.get(id)
    }

    pub(super) fn organizations_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Organization> + use<'a> {
        let from = after.and_then(|id| OrganizationId::new(id).ok());
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.organizations.range((from, Bound::Unbounded)).map(|(_, organization)| organization)
    }

    pub(super) fn put_organization(
        &mut self,
        organization: Organization,
    ) -> Result<DocumentChange, ServiceError> {
        let change = entry::of_organization(&organization)?;
        self.organizations.insert(organization.id.clone(), organization);
        Ok(change)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    pub(super) fn client(&self, organization: &OrganizationId, id: &str) -> Option<&Arc<Client>> {
        let id = ClientId::new(id).ok()?;
        self.clients.get(&(organization.clone(), id))
    }

    pub(super) fn clients_after<'a>(
        &'a self,
        organization: &OrganizationId,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Client>> + use<'a> {
        let organization = organization.clone();
        let first = after.and_then(|id| ClientId::new(id).ok());
        self.clients
            .values()
            .filter(move |client| client.organization == organization)
            .filter(move |client| first.as_ref().is_none_or(|first| client.id > *first))
    }

    pub(super) fn with_credential(&self, hash: &CredentialHash) -> Option<&Arc<Client>> {
        self.clients.get(self.by_credential.get(hash)?)
    }

    pub(super) fn with_public_key(&self, id: &str) -> Option<&Arc<Client>> {
        self.clients.get(self.by_public_key.get(id)?)
    }

    pub(super) fn put_client(
        &mut self,
        client: Arc<Client>,
    ) -> Result<DocumentChange, ServiceError> {
        let change = entry::of_client(&client)?;
        self.insert(client);
        Ok(change)
    }

    pub(super) fn remove_client(
        &mut self,
        organization: &OrganizationId,
        id: &str,
    ) -> Option<DocumentChange> {
        let key = (organization.clone(), ClientId::new(id).ok()?);
        let client = self.clients.remove(&key)?;
        self.forget_what_belongs_to(&key);
        Some(DocumentChange {
            collection: Collection::Clients,
            organization: client.organization.clone(),
            name: client.id.to_string(),
            body: None,
        })
    }
}
