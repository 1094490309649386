//! Organizations and clients: looked up without a lock, changed one change at a time, each change on record.

mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod registry;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use uuid::Uuid;

use self::registry::Registry;
use super::{
    Page, PageRequest, ServiceError,
    audit::AuditTrail,
    clock::Clock,
    page::{PageTokens, list},
};
use crate::{
    domain::{
        access::{Client, ClientDirectory, Organization, PublicKey},
        audit::{Actor, AuditAction},
        credential::{Credential, CredentialHash, CredentialKind, CredentialText},
        id::{ClientId, OrganizationId},
        limits::{
            CREDENTIAL_OVERLAP_DAYS_MAX, CREDENTIALS_MAX, NAME_CHARS_MAX, PUBLIC_KEY_BYTES_MAX,
            PUBLIC_KEYS_MAX,
        },
        permission::Permission,
    },
    store::{UsageStore, document::DocumentChange},
};

/// The organization whose administrators reach every other.
pub const OPERATOR_ORGANIZATION: &str = "default";

/// Organizations and their clients.
pub struct Access(Arc<Shared>);

struct Shared {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    audit: Arc<AuditTrail>,
    registry: ArcSwap<Registry>,
    // Held from reading the registry to showing the changed one.
    changing: Arc<tokio::sync::Mutex<()>>,
    // When clients called last. Only in memory: it is for people who clean up.
    used: Mutex<HashMap<(OrganizationId, ClientId), Timestamp>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// What a client shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewClient {
    /// Its id; empty for one that is made up.
    pub id: String,
    /// For people.
    pub name: String,
    /// Names of permissions.
    pub permissions: Vec<String>,
}

/// A client, and what is shown this once.
#[derive(Debug, Clone)]
pub struct CreatedClient {
    /// The client.
    pub client: Arc<Client>,
    /// Its secret.
    pub secret: CredentialText,
    /// Its API key.
    pub api_key: CredentialText,
}

impl Access {
    /// Reads who may call from a store.
    ///
    /// # Errors
    /// [`ServiceError`] if that cannot be read.
    pub fn load(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        audit: Arc<AuditTrail>,
    ) -> Result<Self, ServiceError> {
        let registry = Registry::load(&*store)?;
        Ok(Self(Arc::new(Shared {
            store,
            clock,
            audit,
            registry: ArcSwap::from_pointee(registry),
            changing: Arc::new(tokio::sync::Mutex::new(())),
            used: Mutex::new(HashMap::new()),
        })))
    }

    /// Whether there is any client.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        self.0.registry.load().clients().next().is_some()
    }

    /// The organization that an administrator means: its own, or any existing one if it is the operator.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if it does not exist or is out of reach, which is not told apart.
    pub fn reach(&self, actor: &Actor, organization: &str) -> Result<OrganizationId, ServiceError> {
        let own = &actor.caller.organization;
        if organization.is_empty() || organization == own.as_str() {
            return Ok(own.clone());
        }
        let registry = self.0.registry.load();
        let found = (own.as_str() == OPERATOR_ORGANIZATION)
            .then(|| registry.organization(organization))
            .flatten();
        found.map(|found| found.id.clone()).ok_or_else(|| no_organization(organization))
    }

    /// Creates an organization.
    ///
    /// # Errors
    /// [`ServiceError::PermissionDenied`] for anybody but the operator,
    /// [`ServiceError::AlreadyExists`], [`ServiceError::InvalidArgument`].
    pub async fn create_organization(
        &self,
        actor: &Actor,
        id: &str,
        name: &str,
    ) -> Result<Organization, ServiceError> {
        require_operator(actor)?;
        let id = OrganizationId::new(id)
            .map_err(|error| ServiceError::invalid("organization_id", error.to_string()))?;
        check_name(name)?;
        let organization =
            Organization { id: id.clone(), name: name.to_owned(), created: self.0.clock.now() };
        let detail = name.to_owned();
        self.change(actor, &id, AuditAction::OrganizationCreated, id.as_str(), detail, {
            let organization = organization.clone();
            move |registry| {
                if registry.organization(organization.id.as_str()).is_some() {
                    return Err(ServiceError::already_exists(
                        "organization",
                        organization.id.as_str(),
                    ));
                }
                registry.put_organization(organization)
            }
        })
        .await?;
        Ok(organization)
    }

    /// Organizations by id: all of them for the operator, its own for anybody else.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub fn list_organizations(
        &self,
        actor: &Actor,
        page: &PageRequest,
    ) -> Result<Page<Organization>, ServiceError> {
        let own = &actor.caller.organization;
        let tokens = self.tokens("organizations", own)?;
        let registry = self.0.registry.load();
        let is_operator = own.as_str() == OPERATOR_ORGANIZATION;
        list(&tokens, page, |after| {
            registry
                .organizations_after(after)
                .filter(|organization| is_operator || organization.id == *own)
                .map(|organization| (organization.id.to_string(), organization.clone()))
        })
    }

    /// Creates a client with a secret and an API key.
    ///
    /// # Errors
    /// [`ServiceError::AlreadyExists`], [`ServiceError::InvalidArgument`].
    pub async fn create_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        new: NewClient,
    ) -> Result<CreatedClient, ServiceError> {
        let made_up = new.id.is_empty().then(|| Uuid::new_v4().to_string());
        let id = ClientId::new(made_up.as_deref().unwrap_or(&new.id))
            .map_err(|error| ServiceError::invalid("client_id", error.to_string()))?;
        check_name(&new.name)?;
        let now = self.0.clock.now();
        let (secret, stored_secret) = credential(CredentialKind::Secret, now)?;
        let (api_key, stored_key) = credential(CredentialKind::ApiKey, now)?;
        let client = Arc::new(Client {
            organization: organization.clone(),
            id: id.clone(),
            name: new.name,
            permissions: permissions(&new.permissions)?,
            secrets: vec![stored_secret],
            api_keys: vec![stored_key],
            public_keys: Vec::new(),
            created: now,
        });
        let detail = granted(&client);
        self.change(actor, organization, AuditAction::ClientCreated, id.as_str(), detail, {
            let client = Arc::clone(&client);
            move |registry| {
                if registry.client(&client.organization, client.id.as_str()).is_some() {
                    return Err(ServiceError::already_exists("client", client.id.as_str()));
                }
                registry.put_client(client)
            }
        })
        .await?;
        Ok(CreatedClient { client, secret, api_key })
    }

    /// One client.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn client(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Arc<Client>, ServiceError> {
        self.0.registry.load().client(organization, id).cloned().ok_or_else(|| no_client(id))
    }

    /// The names of an organization's clients that have one.
    pub(super) fn client_names(&self, organization: &OrganizationId) -> HashMap<ClientId, String> {
        let registry = self.0.registry.load();
        let named =
            registry.clients_after(organization, None).filter(|client| !client.name.is_empty());
        named.map(|client| (client.id.clone(), client.name.clone())).collect()
    }

    /// Clients by id, a page at a time.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if size or token of the page are wrong.
    pub fn list_clients(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Arc<Client>>, ServiceError> {
        let tokens = self.tokens("clients", organization)?;
        let registry = self.0.registry.load();
        list(&tokens, page, |after| {
            registry
                .clients_after(organization, after)
                .map(|client| (client.id.to_string(), Arc::clone(client)))
        })
    }

    /// When a client called last, since meterd was started.
    #[must_use]
    pub fn last_used(&self, client: &Client) -> Option<Timestamp> {
        self.0.used.lock().get(&(client.organization.clone(), client.id.clone())).copied()
    }

    /// Gives a client another name and other permissions.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`].
    pub async fn update_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        name: String,
        names: &[String],
    ) -> Result<Arc<Client>, ServiceError> {
        check_name(&name)?;
        let permissions = permissions(names)?;
        let detail = Permission::names(&permissions.iter().copied().collect::<Vec<_>>());
        self.change_client(actor, organization, id, AuditAction::ClientUpdated, detail, |client| {
            client.name = name;
            client.permissions = permissions;
        })
        .await
    }

    /// Gives a client a new secret; the one before is accepted for `overlap` more.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if `overlap` is negative or too long.
    pub async fn rotate_secret(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        overlap: SignedDuration,
    ) -> Result<CredentialText, ServiceError> {
        let end = self.end_of_overlap(overlap)?;
        let (text, new) = credential(CredentialKind::Secret, self.0.clock.now())?;
        let (action, detail) = (AuditAction::SecretRotated, accepted_until(end));
        self.change_client(actor, organization, id, action, detail, move |client| {
            rotate(&mut client.secrets, new, end);
        })
        .await?;
        Ok(text)
    }

    /// Gives a client a new API key; the one before is accepted for `overlap` more.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if `overlap` is negative or too long.
    pub async fn rotate_api_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        overlap: SignedDuration,
    ) -> Result<CredentialText, ServiceError> {
        let end = self.end_of_overlap(overlap)?;
        let (text, new) = credential(CredentialKind::ApiKey, self.0.clock.now())?;
        let (action, detail) = (AuditAction::ApiKeyRotated, accepted_until(end));
        self.change_client(actor, organization, id, action, detail, move |client| {
            rotate(&mut client.api_keys, new, end);
        })
        .await?;
        Ok(text)
    }

    /// Registers a public key of a client, with which its assertions are verified; answers the key's id. That it is
    /// such a key, the caller has checked.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::InvalidArgument`] if it is too long,
    /// [`ServiceError::FailedPrecondition`] if the client has too many.
    pub async fn add_public_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        pem: &str,
    ) -> Result<String, ServiceError> {
        if pem.len() > PUBLIC_KEY_BYTES_MAX {
            return Err(ServiceError::invalid(
                "public_key",
                format!("must have at most {PUBLIC_KEY_BYTES_MAX} bytes"),
            ));
        }
        if self.client(organization, id)?.public_keys.len() >= PUBLIC_KEYS_MAX {
            return Err(ServiceError::FailedPrecondition(format!(
                "the client has {PUBLIC_KEYS_MAX} public keys already; remove one first"
            )));
        }
        let key_id = Uuid::new_v4().to_string();
        let key = PublicKey { id: key_id.clone(), pem: pem.into(), created: self.0.clock.now() };
        let (action, detail) = (AuditAction::PublicKeyAdded, key_id.clone());
        self.change_client(actor, organization, id, action, detail, |client| {
            client.public_keys.push(key);
        })
        .await?;
        Ok(key_id)
    }

    /// Removes a public key of a client.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is no such client or key.
    pub async fn remove_public_key(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        key_id: &str,
    ) -> Result<(), ServiceError> {
        if !self.client(organization, id)?.public_keys.iter().any(|key| key.id == key_id) {
            return Err(ServiceError::not_found("public key", key_id));
        }
        let (action, detail, gone) =
            (AuditAction::PublicKeyRemoved, key_id.to_owned(), key_id.to_owned());
        self.change_client(actor, organization, id, action, detail, move |client| {
            client.public_keys.retain(|key| key.id != gone);
        })
        .await
        .map(drop)
    }

    /// Deletes a client; what it reported stays, and says so.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn delete_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<(), ServiceError> {
        let (of, wanted) = (organization.clone(), id.to_owned());
        self.change(
            actor,
            organization,
            AuditAction::ClientDeleted,
            id,
            String::new(),
            move |registry| registry.remove_client(&of, &wanted).ok_or_else(|| no_client(&wanted)),
        )
        .await
    }

    fn end_of_overlap(&self, overlap: SignedDuration) -> Result<Timestamp, ServiceError> {
        let longest = SignedDuration::from_hours(24 * CREDENTIAL_OVERLAP_DAYS_MAX);
        if overlap.is_negative() || overlap > longest {
            return Err(ServiceError::invalid(
                "overlap",
                format!("must be between 0 and {CREDENTIAL_OVERLAP_DAYS_MAX} days"),
            ));
        }
        self.0
            .clock
            .now()
            .checked_add(overlap)
            .map_err(|_| ServiceError::invalid("overlap", "is too long"))
    }

    async fn change_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        action: AuditAction,
        detail: String,
        change: impl FnOnce(&mut Client) + Send + 'static,
    ) -> Result<Arc<Client>, ServiceError> {
        let (of, wanted) = (organization.clone(), id.to_owned());
        self.change(actor, organization, action, id, detail, move |registry| {
            let known = registry.client(&of, &wanted).ok_or_else(|| no_client(&wanted))?;
            let mut client = Client::clone(known);
            change(&mut client);
            registry.put_client(Arc::new(client))
        })
        .await?;
        self.client(organization, id)
    }

    fn tokens(
        &self,
        list: &str,
        organization: &OrganizationId,
    ) -> Result<PageTokens, ServiceError> {
        PageTokens::new(self.0.store.token_key(), &(list, organization.as_str()))
    }

    /// Makes one change and tells of it, durably and in one step. Once begun it is carried out whether or not
    /// the caller waits for it.
    async fn change(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        action: AuditAction,
        subject: &str,
        detail: String,
        change: impl FnOnce(&mut Registry) -> Result<DocumentChange, ServiceError> + Send + 'static,
    ) -> Result<(), ServiceError> {
        let changing = Arc::clone(&self.0.changing).lock_owned().await;
        let shared = Arc::clone(&self.0);
        let (actor, organization) = (actor.clone(), organization.clone());
        let subject = subject.to_owned();
        let writing = tokio::task::spawn_blocking(move || {
            let mut registry = Registry::clone(&shared.registry.load());
            let changed = change(&mut registry)?;
            let told = shared.audit.tell(&organization, &actor, action, &subject, &detail)?;
            shared.store.write_documents(&[changed, told])?;
            // Shown only once it is durable.
            shared.registry.store(Arc::new(registry));
            drop(changing);
            Ok(())
        });
        writing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?
    }
}

impl ClientDirectory for Access {
    fn with_api_key(&self, hash: &CredentialHash) -> Option<Arc<Client>> {
        let registry = self.0.registry.load();
        let client = registry.with_credential(hash)?;
        client.has_api_key(hash, self.0.clock.now()).then(|| Arc::clone(client))
    }

    fn with_secret(&self, hash: &CredentialHash) -> Option<Arc<Client>> {
        let registry = self.0.registry.load();
        let client = registry.with_credential(hash)?;
        client.has_secret(hash, self.0.clock.now()).then(|| Arc::clone(client))
    }

    fn with_public_key(&self, id: &str) -> Option<(Arc<Client>, Arc<str>)> {
        let registry = self.0.registry.load();
        let client = registry.with_public_key(id)?;
        let key = client.public_keys.iter().find(|key| key.id == id)?;
        Some((Arc::clone(client), Arc::clone(&key.pem)))
    }

    fn client(&self, organization: &OrganizationId, id: &ClientId) -> Option<Arc<Client>> {
        self.0.registry.load().client(organization, id.as_str()).cloned()
    }

    fn has_organization(&self, id: &OrganizationId) -> bool {
        // The operators' is there before anybody created it.
        id.as_str() == OPERATOR_ORGANIZATION
            || self.0.registry.load().organization(id.as_str()).is_some()
    }

    fn used(&self, client: &Client) {
        let key = (client.organization.clone(), client.id.clone());
        self.0.used.lock().insert(key, self.0.clock.now());
    }
}

fn credential(
    kind: CredentialKind,
    now: Timestamp,
) -> Result<(CredentialText, Credential), ServiceError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| ServiceError::Internal(error.to_string().into()))?;
    let text = CredentialText::new(kind, &random);
    let hash = CredentialHash::of(text.reveal().as_bytes());
    Ok((text, Credential { hash, created: now, expires: None }))
}

/// Puts a new credential first; of those before it only the last one goes on, and not for ever.
fn rotate(credentials: &mut Vec<Credential>, new: Credential, end: Timestamp) {
    credentials.retain(|credential| credential.is_valid(new.created) && new.created < end);
    credentials.truncate(CREDENTIALS_MAX - 1);
    for credential in credentials.iter_mut() {
        credential.expires = Some(credential.expires.map_or(end, |earlier| earlier.min(end)));
    }
    credentials.insert(0, new);
}

fn permissions(names: &[String]) -> Result<BTreeSet<Permission>, ServiceError> {
    let named = names.iter().enumerate();
    named
        .map(|(at, name)| {
            name.parse().map_err(|error: crate::domain::permission::UnknownPermission| {
                ServiceError::invalid(format!("permissions[{at}]"), error.to_string())
            })
        })
        .collect()
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let chars = name.chars().count();
    if chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(ServiceError::invalid(
            "name",
            format!("must have at most {NAME_CHARS_MAX} characters and no control characters"),
        ));
    }
    Ok(())
}

fn granted(client: &Client) -> String {
    Permission::names(&client.permissions.iter().copied().collect::<Vec<_>>())
}

fn accepted_until(end: Timestamp) -> String {
    format!("the one before is accepted until {end}")
}

/// That somebody administers the server, and not only an organization.
///
/// # Errors
/// [`ServiceError::PermissionDenied`] for anybody but the operator.
pub fn require_operator(actor: &Actor) -> Result<(), ServiceError> {
    if actor.caller.organization.as_str() == OPERATOR_ORGANIZATION {
        return Ok(());
    }
    Err(ServiceError::PermissionDenied(format!(
        "only administrators of the organization {OPERATOR_ORGANIZATION:?} may do this"
    )))
}

fn no_organization(id: &str) -> ServiceError {
    ServiceError::not_found("organization", id)
}

fn no_client(id: &str) -> ServiceError {
    ServiceError::not_found("client", id)
}

#[cfg(test)]
mod tests;
