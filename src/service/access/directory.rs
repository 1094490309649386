//! How callers are found by what they send.

use std::sync::Arc;

use super::{Access, OPERATOR_ORGANIZATION};
use crate::domain::{
    access::{Client, ClientDirectory},
    credential::CredentialHash,
    id::{ClientId, OrganizationId},
};

impl ClientDirectory for Access {
    fn with_api_key(&self, hash: &CredentialHash) -> Option<Arc<Client>> {
        let client = self.0.registry.read().with_credential(hash).map(Arc::clone)?;
        client.has_api_key(hash, self.0.clock.now()).then_some(client)
    }

    fn with_secret(&self, hash: &CredentialHash) -> Option<Arc<Client>> {
        let client = self.0.registry.read().with_credential(hash).map(Arc::clone)?;
        client.has_secret(hash, self.0.clock.now()).then_some(client)
    }

    fn with_public_key(&self, id: &str) -> Option<(Arc<Client>, Arc<str>)> {
        let client = self.0.registry.read().with_public_key(id).map(Arc::clone)?;
        let pem =
            client.public_keys.iter().find(|key| key.id == id).map(|key| Arc::clone(&key.pem));
        Some((client, pem?))
    }

    fn client(&self, organization: &OrganizationId, id: &ClientId) -> Option<Arc<Client>> {
        self.0.registry.read().client(organization, id.as_str()).cloned()
    }

    fn has_organization(&self, id: &OrganizationId) -> bool {
        // The operators' is there before anybody created it.
        id.as_str() == OPERATOR_ORGANIZATION
            || self.0.registry.read().organization(id.as_str()).is_some()
    }

    fn used(&self, client: &Client) {
        self.0.registry.read().note_use(client, self.0.clock.now());
    }
}
