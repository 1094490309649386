//! How the vendor's SDKs sign in: they ask where services are, and exchange a signed assertion for a token.

use std::sync::Arc;

use http::{HeaderMap, Uri, header, uri::Authority};
use tonic::{Request, Response, Status};

use super::{
    convert::time,
    pb::yandex::cloud::{
        endpoint::{
            ApiEndpoint, GetApiEndpointRequest, ListApiEndpointsRequest, ListApiEndpointsResponse,
            api_endpoint_service_server::ApiEndpointService,
        },
        iam::v1::{
            CreateIamTokenForServiceAccountRequest, CreateIamTokenRequest, CreateIamTokenResponse,
            RevokeIamTokenRequest, RevokeIamTokenResponse, create_iam_token_request::Identity,
            iam_token_service_server::IamTokenService,
        },
    },
    status,
};
use crate::{
    auth::{
        access_token::{AccessTokens, TokenKind},
        assertion,
    },
    domain::access::ClientDirectory,
    service::{ServiceError, clock::Clock},
};

/// The services that an SDK may look for, all of them here.
const SERVICES: [&str; 2] = ["iam", "marketplace"];

/// The name and port by which a caller reached this server, in the extensions of its request.
#[derive(Debug, Clone)]
pub(super) struct ReachedAs(Authority);

impl ReachedAs {
    /// From the request line, or the header `host`.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let from_header = || headers.get(header::HOST)?.to_str().ok()?.parse().ok();
        uri.authority().cloned().or_else(from_header).map(Self)
    }

    /// The audiences that an assertion for this server may name.
    pub(super) fn audiences(&self, path: &str) -> Vec<String> {
        ["https://iam.", "https://", "http://"]
            .iter()
            .map(|scheme| format!("{scheme}{}{path}", self.0))
            .collect()
    }
}

fn reached_as<T>(request: &Request<T>) -> Result<ReachedAs, Status> {
    let named = request.extensions().get::<ReachedAs>().cloned();
    named.ok_or_else(|| {
        let error =
            ServiceError::invalid("host", "the request does not say which server it is for");
        status::from_service(error)
    })
}

/// Serves `yandex.cloud.endpoint.ApiEndpointService`.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointHandler;

fn endpoint(service: &str, reached: &ReachedAs) -> ApiEndpoint {
    ApiEndpoint { id: service.to_owned(), address: reached.0.to_string() }
}

#[tonic::async_trait]
impl ApiEndpointService for EndpointHandler {
    async fn get(
        &self,
        request: Request<GetApiEndpointRequest>,
    ) -> Result<Response<ApiEndpoint>, Status> {
        let reached = reached_as(&request)?;
        let id = request.into_inner().api_endpoint_id;
        match SERVICES.iter().find(|service| **service == id) {
            Some(service) => Ok(Response::new(endpoint(service, &reached))),
            None => Err(status::no_such_endpoint(&SERVICES)),
        }
    }

    async fn list(
        &self,
        request: Request<ListApiEndpointsRequest>,
    ) -> Result<Response<ListApiEndpointsResponse>, Status> {
        let reached = reached_as(&request)?;
        let endpoints = SERVICES.iter().map(|service| endpoint(service, &reached)).collect();
        Ok(Response::new(ListApiEndpointsResponse { endpoints, next_page_token: String::new() }))
    }
}

/// Serves `yandex.cloud.iam.v1.IamTokenService`.
#[derive(Clone)]
pub(super) struct IamTokenHandler {
    pub(super) clients: Arc<dyn ClientDirectory>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl IamTokenService for IamTokenHandler {
    async fn create(
        &self,
        request: Request<CreateIamTokenRequest>,
    ) -> Result<Response<CreateIamTokenResponse>, Status> {
        let audiences = reached_as(&request)?.audiences("/iam/v1/tokens");
        let text = match request.into_inner().identity {
            Some(Identity::Jwt(text)) => text,
            Some(Identity::YandexPassportOauthToken(_)) | None => {
                let error = ServiceError::invalid(
                    "jwt",
                    "is required: this server knows no other proof of identity",
                );
                return Err(status::from_service(error));
            }
        };
        let now = self.clock.now();
        let client = assertion::verify(&text, &*self.clients, &audiences, now)
            .ok_or_else(status::unproven_identity)?;
        self.clients.used(&client);
        let token = self.tokens.issue(&client.token_subject(), TokenKind::Access, now).map_err(
            |error| status::from_service(ServiceError::Internal(error.to_string().into())),
        )?;
        Ok(Response::new(CreateIamTokenResponse {
            iam_token: token,
            expires_at: Some(time::to_proto(now + TokenKind::Access.lifetime())),
        }))
    }

    async fn create_for_service_account(
        &self,
        _: Request<CreateIamTokenForServiceAccountRequest>,
    ) -> Result<Response<CreateIamTokenResponse>, Status> {
        Err(status::not_offered("a client gets tokens for itself only"))
    }

    async fn revoke(
        &self,
        _: Request<RevokeIamTokenRequest>,
    ) -> Result<Response<RevokeIamTokenResponse>, Status> {
        Err(status::not_offered(
            "tokens end with their hour; rotating the client's secret without an overlap, or deleting the client, ends all of its tokens at once",
        ))
    }
}
