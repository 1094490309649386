//! Who may call: organizations and their clients.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    credential::{Credential, CredentialHash},
    id::{ClientId, OrganizationId},
    permission::Permission,
};

/// Whose usage it is: nothing crosses from one organization to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// For people.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// A program that may call on behalf of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// On whose behalf.
    pub organization: OrganizationId,
    /// Unique within the organization.
    pub id: ClientId,
    /// For people.
    pub name: String,
    /// What it may do.
    pub permissions: BTreeSet<Permission>,
    /// What it gets tokens with; the newest first.
    pub secrets: Vec<Credential>,
    /// What it may send with a call instead of a token; the newest first.
    pub api_keys: Vec<Credential>,
    /// What its signed assertions are verified with.
    pub public_keys: Vec<PublicKey>,
    /// When it was created.
    pub created: Timestamp,
}

/// A public RSA key of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Unique in the whole server; assertions name it.
    pub id: String,
    /// The key in PEM.
    pub pem: Arc<str>,
    /// When it was registered.
    pub created: Timestamp,
}

impl Client {
    /// Whether `hash` is that of an API key that is accepted at `now`.
    #[must_use]
    pub fn has_api_key(&self, hash: &CredentialHash, now: Timestamp) -> bool {
        self.api_keys.iter().any(|key| key.hash == *hash && key.is_valid(now))
    }

    /// Whether `hash` is that of a secret that is accepted at `now`.
    #[must_use]
    pub fn has_secret(&self, hash: &CredentialHash, now: Timestamp) -> bool {
        self.secrets.iter().any(|secret| secret.hash == *hash && secret.is_valid(now))
    }
}

/// Finds clients by what they send. Implemented by whoever keeps them.
pub trait ClientDirectory: Send + Sync {
    /// The client with an API key that is accepted now.
    fn with_api_key(&self, hash: &CredentialHash) -> Option<Arc<Client>>;

    /// The client with a secret that is accepted now.
    fn with_secret(&self, hash: &CredentialHash) -> Option<Arc<Client>>;

    /// The client that has registered the public key of an id, and the key in PEM.
    fn with_public_key(&self, id: &str) -> Option<(Arc<Client>, Arc<str>)>;

    /// The client of an id.
    fn client(&self, organization: &OrganizationId, id: &ClientId) -> Option<Arc<Client>>;

    /// Whether there is an organization of this id.
    fn has_organization(&self, id: &OrganizationId) -> bool;

    /// Notes that a client has called.
    fn used(&self, client: &Client);
}
