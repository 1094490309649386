//! Who may call.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    actor::actor,
    convert::{access as convert, catalog::page_from_proto},
    metrics::Metrics,
    pb::meterd::v1::{
        AddPublicKeyRequest, AddPublicKeyResponse, CreateClientRequest, CreateClientResponse,
        CreateOrganizationRequest, CreateOrganizationResponse, DeleteClientRequest,
        DeleteClientResponse, GetClientRequest, GetClientResponse, ListAuditEventsRequest,
        ListAuditEventsResponse, ListClientsRequest, ListClientsResponse, ListOrganizationsRequest,
        ListOrganizationsResponse, RemovePublicKeyRequest, RemovePublicKeyResponse,
        RotateApiKeyRequest, RotateApiKeyResponse, RotateClientSecretRequest,
        RotateClientSecretResponse, RotateSigningKeyRequest, RotateSigningKeyResponse,
        UpdateClientRequest, UpdateClientResponse, access_service_server::AccessService,
    },
    status,
};
use crate::{
    auth::{access_token::AccessTokens, assertion, signing_keys::SigningKeyError},
    domain::{
        access::Client,
        audit::{Actor, AuditAction},
    },
    service::{
        ServiceError,
        access::{Access, NewClient, require_operator},
        audit::AuditTrail,
        clock::Clock,
        store_reads::StoreReads,
    },
};

/// Serves `meterd.v1.AccessService`.
#[derive(Clone)]
pub(super) struct AccessHandler {
    pub(super) access: Arc<Access>,
    pub(super) audit: Arc<AuditTrail>,
    pub(super) reads: Arc<StoreReads>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl AccessHandler {
    fn client(&self, client: &Client) -> super::pb::meterd::v1::Client {
        convert::client_to_proto(client, self.access.last_used(client))
    }
}

#[tonic::async_trait]
impl AccessService for AccessHandler {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<CreateOrganizationResponse>, Status> {
        let actor = actor(&request)?;
        let CreateOrganizationRequest { organization_id, name } = request.into_inner();
        let created = self.access.create_organization(&actor, &organization_id, &name).await;
        let created = created
            .inspect_err(|error| self.metrics.kept.refused(error))
            .map_err(status::from_service)?;
        let organization = convert::organization_to_proto(&created);
        Ok(Response::new(CreateOrganizationResponse { organization: Some(organization) }))
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        let actor = actor(&request)?;
        let ListOrganizationsRequest { page_size, page_token } = request.into_inner();
        let page = page_from_proto(page_size, page_token);
        let page = self.access.list_organizations(&actor, &page).map_err(status::from_service)?;
        Ok(Response::new(ListOrganizationsResponse {
            organizations: page.items.iter().map(convert::organization_to_proto).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn create_client(
        &self,
        request: Request<CreateClientRequest>,
    ) -> Result<Response<CreateClientResponse>, Status> {
        let actor = actor(&request)?;
        let CreateClientRequest { organization_id, client_id, name, permissions } =
            request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let new = NewClient { id: client_id, name, permissions };
        let created = self
            .access
            .create_client(&actor, &organization, new)
            .await
            .inspect_err(|error| self.metrics.kept.refused(error))
            .map_err(status::from_service)?;
        Ok(Response::new(CreateClientResponse {
            client: Some(self.client(&created.client)),
            secret: created.secret.reveal().to_owned(),
            api_key: created.api_key.reveal().to_owned(),
        }))
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let actor = actor(&request)?;
        let ListClientsRequest { organization_id, page_size, page_token } = request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let page = page_from_proto(page_size, page_token);
        let page = self.access.list_clients(&organization, &page).map_err(status::from_service)?;
        Ok(Response::new(ListClientsResponse {
            clients: page.items.iter().map(|client| self.client(client)).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn get_client(
        &self,
        request: Request<GetClientRequest>,
    ) -> Result<Response<GetClientResponse>, Status> {
        let actor = actor(&request)?;
        let GetClientRequest { organization_id, client_id } = request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let client = self.access.client(&organization, &client_id).map_err(status::from_service)?;
        Ok(Response::new(GetClientResponse { client: Some(self.client(&client)) }))
    }

    async fn update_client(
        &self,
        request: Request<UpdateClientRequest>,
    ) -> Result<Response<UpdateClientResponse>, Status> {
        let actor = actor(&request)?;
        let UpdateClientRequest { organization_id, client_id, name, permissions } =
            request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let client = self
            .access
            .update_client(&actor, &organization, &client_id, name, &permissions)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(UpdateClientResponse { client: Some(self.client(&client)) }))
    }

    async fn rotate_client_secret(
        &self,
        request: Request<RotateClientSecretRequest>,
    ) -> Result<Response<RotateClientSecretResponse>, Status> {
        let actor = actor(&request)?;
        let RotateClientSecretRequest { organization_id, client_id, overlap, revoke_tokens } =
            request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let overlap = convert::overlap_from_proto(overlap).map_err(status::from_service)?;
        let secret = self
            .access
            .rotate_secret(&actor, &organization, &client_id, overlap, revoke_tokens)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(RotateClientSecretResponse { secret: secret.reveal().to_owned() }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<RotateApiKeyRequest>,
    ) -> Result<Response<RotateApiKeyResponse>, Status> {
        let actor = actor(&request)?;
        let RotateApiKeyRequest { organization_id, client_id, overlap } = request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let overlap = convert::overlap_from_proto(overlap).map_err(status::from_service)?;
        let api_key = self
            .access
            .rotate_api_key(&actor, &organization, &client_id, overlap)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(RotateApiKeyResponse { api_key: api_key.reveal().to_owned() }))
    }

    async fn add_public_key(
        &self,
        request: Request<AddPublicKeyRequest>,
    ) -> Result<Response<AddPublicKeyResponse>, Status> {
        let actor = actor(&request)?;
        let AddPublicKeyRequest { organization_id, client_id, public_key } = request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        assertion::check_public_key(&public_key).map_err(|error| {
            status::from_service(ServiceError::invalid("public_key", error.to_string()))
        })?;
        let key_id = self
            .access
            .add_public_key(&actor, &organization, &client_id, &public_key)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(AddPublicKeyResponse { key_id }))
    }

    async fn remove_public_key(
        &self,
        request: Request<RemovePublicKeyRequest>,
    ) -> Result<Response<RemovePublicKeyResponse>, Status> {
        let actor = actor(&request)?;
        let RemovePublicKeyRequest { organization_id, client_id, key_id, revoke_tokens } =
            request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        self.access
            .remove_public_key(&actor, &organization, &client_id, &key_id, revoke_tokens)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(RemovePublicKeyResponse {}))
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteClientResponse>, Status> {
        let actor = actor(&request)?;
        let DeleteClientRequest { organization_id, client_id } = request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        self.access
            .delete_client(&actor, &organization, &client_id)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(DeleteClientResponse {}))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        let actor = actor(&request)?;
        require_operator(&actor).map_err(status::from_service)?;
        let RotateSigningKeyRequest { revoke } = request.into_inner();
        let (tokens, audit, now) =
            (Arc::clone(&self.tokens), Arc::clone(&self.audit), self.clock.now());
        let rotating =
            tokio::task::spawn_blocking(move || rotate(&tokens, &audit, &actor, now, revoke));
        let rotated = rotating.await.unwrap_or_else(|error| Err(internal(&error)));
        let mut ids = rotated.map_err(status::from_service)?.into_iter();
        Ok(Response::new(RotateSigningKeyResponse {
            key_id: ids.next().unwrap_or_default(),
            previous_key_ids: ids.collect(),
        }))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let actor = actor(&request)?;
        let ListAuditEventsRequest { organization_id, page_size, page_token } =
            request.into_inner();
        let organization =
            self.access.reach(&actor, &organization_id).map_err(status::from_service)?;
        let page = page_from_proto(page_size, page_token);
        let events = self.audit.list(&self.reads, &actor.caller, &organization, &page).await;
        let page = events.map_err(status::from_service)?;
        Ok(Response::new(ListAuditEventsResponse {
            events: page.items.into_iter().map(convert::event_to_proto).collect(),
            next_page_token: page.next_page_token,
        }))
    }
}

/// Signs tokens with a new key, and puts that on record; answers the ids of all keys, the new one first. The event is written
/// once nothing but the disk can refuse the rotation, and before it takes effect; see
/// [`Rotation`](crate::auth::access_token::Rotation).
fn rotate(
    tokens: &AccessTokens,
    audit: &Arc<AuditTrail>,
    actor: &Actor,
    now: Timestamp,
    revoke: bool,
) -> Result<Vec<String>, ServiceError> {
    let refused = |error: SigningKeyError| match error {
        SigningKeyError::TooMany | SigningKeyError::Unfinished => {
            ServiceError::FailedPrecondition(error.to_string())
        }
        error => internal(&error),
    };
    let rotation = tokens.rotate(now, revoke).map_err(refused)?;
    let ids: Vec<String> = rotation.key_ids().map(ToOwned::to_owned).collect();
    let revoked = if revoke { ", the keys before revoked" } else { "" };
    let detail = format!("key {}{revoked}", ids.first().map_or("", String::as_str));
    let event = audit.prepare(actor, AuditAction::SigningKeyRotated, "signing keys", &detail)?;
    rotation.stage(event.name()).map_err(refused)?;
    event.write()?;
    rotation.complete().map_err(refused)?;
    Ok(ids)
}

fn internal(error: &dyn std::error::Error) -> ServiceError {
    ServiceError::Internal(error.to_string().into())
}
