//! Clients: creating, changing, finding and deleting them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Access, Told, check_name,
    credentials::{generation, new_credential},
    registry::Change,
};
use crate::{
    domain::{
        access::Client,
        audit::{Actor, AuditAction},
        credential::{CredentialKind, CredentialText},
        exceeded_limit::ExceededLimit,
        id::{ClientId, OrganizationId},
        permission::{Permission, UnknownPermission},
    },
    service::{Page, PageRequest, ServiceError, page::list},
};

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
    /// Whether there is any client.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        self.0.registry.read().client_count() > 0
    }

    /// Creates a client with a secret and an API key. It has nothing of an earlier client of that id.
    ///
    /// # Errors
    /// [`ServiceError::AlreadyExists`], [`ServiceError::InvalidArgument`], [`ServiceError::LimitExceeded`].
    pub async fn create_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        new: NewClient,
    ) -> Result<CreatedClient, ServiceError> {
        let made_up = new.id.is_empty().then(|| Uuid::new_v4().to_string());
        let id = ClientId::of_registered(made_up.as_deref().unwrap_or(&new.id))
            .map_err(|error| ServiceError::invalid("client_id", error.to_string()))?;
        check_name(&new.name)?;
        let now = self.0.clock.now();
        let (secret, stored_secret) = new_credential(CredentialKind::Secret, now)?;
        let (api_key, stored_key) = new_credential(CredentialKind::ApiKey, now)?;
        let client = Arc::new(Client {
            organization: organization.clone(),
            id: id.clone(),
            generation: generation()?,
            token_epoch: 0,
            name: new.name,
            permissions: permissions(&new.permissions)?,
            secrets: vec![stored_secret],
            api_keys: vec![stored_key],
            public_keys: Vec::new(),
            created: now,
        });
        let told = Told {
            organization: organization.clone(),
            actor: actor.clone(),
            action: AuditAction::ClientCreated,
            subject: id.to_string(),
            detail: granted(&client.permissions),
        };
        let clients_max = self.0.limits.clients_max;
        let changing = self.0.changing.lock(organization).await;
        let created = Arc::clone(&client);
        self.change(changing, told, move |registry| {
            if registry.client(&created.organization, created.id.as_str()).is_some() {
                return Err(ServiceError::already_exists("client", created.id.as_str()));
            }
            let count = registry.client_count_of(&created.organization);
            match ExceededLimit::by_growth(
                "organization-clients-max",
                "clients of the organization",
                count,
                count + 1,
                clients_max,
            ) {
                Some(exceeded) => Err(ServiceError::LimitExceeded(vec![exceeded])),
                None => Ok(Change::Client(created)),
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
        self.0.registry.read().client(organization, id).cloned().ok_or_else(|| no_client(id))
    }

    /// The names of an organization's clients that have one.
    pub(in crate::service) fn client_names(
        &self,
        organization: &OrganizationId,
    ) -> HashMap<ClientId, String> {
        let registry = self.0.registry.read();
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
        let registry = self.0.registry.read();
        list(&tokens, page, |after| {
            registry
                .clients_after(organization, after)
                .map(|client| (client.id.to_string(), Arc::clone(client)))
        })
    }

    /// When a client called last, since meterd was started.
    #[must_use]
    pub fn last_used(&self, client: &Client) -> Option<Timestamp> {
        self.0.registry.read().last_used(client)
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
        let known = self.client(organization, id)?;
        if (&known.name, &known.permissions) == (&name, &permissions) {
            // Nothing to put on record.
            return Ok(known);
        }
        let detail = granted(&permissions);
        self.change_client(actor, organization, id, AuditAction::ClientUpdated, detail, |client| {
            client.name = name;
            client.permissions = permissions;
            Ok(())
        })
        .await
    }

    /// Deletes a client, and ends its tokens; what it reported stays, under its id.
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
        let told = Told {
            organization: organization.clone(),
            actor: actor.clone(),
            action: AuditAction::ClientDeleted,
            subject: id.to_owned(),
            detail: String::new(),
        };
        let changing = self.0.changing.lock(organization).await;
        self.change(changing, told, move |registry| {
            let client = registry.client(&of, &wanted).ok_or_else(|| no_client(&wanted))?;
            Ok(Change::ClientDeleted(Arc::clone(client)))
        })
        .await
        .map(drop)
    }

    /// Changes one client; answers what it is then.
    pub(super) async fn change_client(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &str,
        action: AuditAction,
        detail: String,
        change: impl FnOnce(&mut Client) -> Result<(), ServiceError> + Send + 'static,
    ) -> Result<Arc<Client>, ServiceError> {
        let (of, wanted) = (organization.clone(), id.to_owned());
        let (actor, subject) = (actor.clone(), id.to_owned());
        let told = Told { organization: of.clone(), actor, action, subject, detail };
        let changing = self.0.changing.lock(organization).await;
        let changed = self
            .change(changing, told, move |registry| {
                let known = registry.client(&of, &wanted).ok_or_else(|| no_client(&wanted))?;
                let mut client = Client::clone(known);
                change(&mut client)?;
                Ok(Change::Client(Arc::new(client)))
            })
            .await?;
        match changed {
            Change::Client(client) => Ok(client),
            Change::Organization(_) | Change::ClientDeleted(_) => {
                Err(ServiceError::Internal("a client was changed into something else".into()))
            }
        }
    }
}

fn permissions(names: &[String]) -> Result<BTreeSet<Permission>, ServiceError> {
    let named = names.iter().enumerate();
    named
        .map(|(at, name)| {
            name.parse().map_err(|error: UnknownPermission| {
                ServiceError::invalid(format!("permissions[{at}]"), error.to_string())
            })
        })
        .collect()
}

fn granted(permissions: &BTreeSet<Permission>) -> String {
    Permission::names(&permissions.iter().copied().collect::<Vec<_>>())
}

fn no_client(id: &str) -> ServiceError {
    ServiceError::not_found("client", id)
}
