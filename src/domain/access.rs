//! Who may call: organizations and their clients.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    caller::Caller,
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
    /// Tells it from every other client that had its id before.
    pub generation: ClientGeneration,
    /// How often its tokens were revoked. Only those issued since are accepted.
    pub token_epoch: u64,
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

/// Tells clients apart that have the same id one after another. Random, so that none comes twice; zero is that of clients
/// that were created before there were generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientGeneration(pub u64);

/// Whom a token is issued to: a client as it was at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSubject {
    /// The client's organization and id.
    pub caller: Caller,
    /// Which client of that id.
    pub generation: ClientGeneration,
    /// How often its tokens had been revoked.
    pub token_epoch: u64,
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
    /// Its organization and id.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { organization: self.organization.clone(), client: self.id.clone() }
    }

    /// Whom a token that is issued to it now is for.
    #[must_use]
    pub fn token_subject(&self) -> TokenSubject {
        let (generation, token_epoch) = (self.generation, self.token_epoch);
        TokenSubject { caller: self.caller(), generation, token_epoch }
    }

    /// Whether it accepts a token: one that was issued to this very client since its tokens were last revoked.
    #[must_use]
    pub fn accepts_token_of(&self, subject: &TokenSubject) -> bool {
        self.organization == subject.caller.organization
            && self.id == subject.caller.client
            && self.generation == subject.generation
            && self.token_epoch == subject.token_epoch
    }

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
