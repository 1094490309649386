//! How the vendor's SDKs sign in: they ask where services are, and exchange a signed assertion for a token.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    assertions::{AssertionRefusal, AssertionSignIn},
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
        assertion::Assertions,
    },
    service::ServiceError,
};

/// The services that an SDK may look for, all of them here.
const SERVICES: [&str; 2] = ["iam", "marketplace"];

/// Serves `yandex.cloud.endpoint.ApiEndpointService`.
#[derive(Debug, Clone)]
pub(super) struct EndpointHandler {
    pub(super) assertions: Arc<Assertions>,
}

impl EndpointHandler {
    fn address(&self) -> Result<String, Status> {
        let name = self.assertions.names().first();
        name.map(|url| url.authority()).ok_or_else(status::no_name)
    }
}

#[tonic::async_trait]
impl ApiEndpointService for EndpointHandler {
    async fn get(
        &self,
        request: Request<GetApiEndpointRequest>,
    ) -> Result<Response<ApiEndpoint>, Status> {
        let id = request.into_inner().api_endpoint_id;
        if !SERVICES.contains(&id.as_str()) {
            return Err(status::no_such_endpoint(&SERVICES));
        }
        Ok(Response::new(ApiEndpoint { id, address: self.address()? }))
    }

    async fn list(
        &self,
        _: Request<ListApiEndpointsRequest>,
    ) -> Result<Response<ListApiEndpointsResponse>, Status> {
        let address = self.address()?;
        let endpoint =
            |service: &str| ApiEndpoint { id: service.to_owned(), address: address.clone() };
        let endpoints = SERVICES.map(endpoint).into();
        Ok(Response::new(ListApiEndpointsResponse { endpoints, next_page_token: String::new() }))
    }
}

/// Serves `yandex.cloud.iam.v1.IamTokenService`.
#[derive(Clone)]
pub(super) struct IamTokenHandler {
    pub(super) sign_in: AssertionSignIn,
    pub(super) tokens: Arc<AccessTokens>,
}

#[tonic::async_trait]
impl IamTokenService for IamTokenHandler {
    async fn create(
        &self,
        request: Request<CreateIamTokenRequest>,
    ) -> Result<Response<CreateIamTokenResponse>, Status> {
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
        let client = self.sign_in.client(&text).map_err(|refusal| match refusal {
            AssertionRefusal::ProvesNothing => status::unproven_identity(),
            AssertionRefusal::TooMany(text) => status::too_many_assertions(text),
        })?;
        self.sign_in.clients.used(&client);
        let now = self.sign_in.clock.now();
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
