//! The token endpoints (RFC 6749, sections 2.3, 4.4, 5 and 6): a client's secret, or an earlier token, for a
//! token. Each vendor has its own path for them.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod request;
mod slowdown;

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tonic::Code;

use self::{
    request::{Asked, Grant, TokenRequest},
    slowdown::Slowdown,
};
use super::{layers::Outcome, request_bytes::read_small, yandex_sign_in::ReachedAs};
use crate::{
    auth::{
        access_token::{AccessTokens, TokenKind},
        assertion,
    },
    domain::{
        access::{Client, ClientDirectory},
        credential::CredentialHash,
    },
    service::clock::Clock,
};

/// Where tokens are to be had, and whether a refresh token comes along: RFC 6749 advises against one for
/// this grant, and Getty's SDKs read one.
const TOKEN_PATHS: [(&str, bool); 3] =
    [("/oauth/token", false), ("/oauth2/token", true), ("/v4/oauth2/token", true)];
/// Where the public keys are (RFC 8414 leaves the path to us; this one is customary).
const KEYS_PATH: &str = "/.well-known/jwks.json";

/// One in so many permits of unauthenticated calls may be held by a failure that waits for its answer.
const SHARE_OF_FAILURES: usize = 4;

/// An error of RFC 6749, section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenError {
    /// The request is not of the right form.
    Request(&'static str),
    /// The client is not known, or its secret is wrong.
    Client,
    /// The refresh token is not valid, or of another client.
    Grant,
    /// There is no such grant here.
    GrantType,
    /// No token can be signed.
    Server,
}

/// Everything that is needed to give a token out.
pub(super) struct TokenEndpoint {
    clients: Arc<dyn ClientDirectory>,
    tokens: Arc<AccessTokens>,
    clock: Arc<dyn Clock>,
    slowdown: Slowdown,
}

impl TokenEndpoint {
    pub(super) fn new(
        clients: Arc<dyn ClientDirectory>,
        tokens: Arc<AccessTokens>,
        clock: Arc<dyn Clock>,
        unauthenticated_in_flight_max: usize,
    ) -> Self {
        // Each wait holds a permit of an unauthenticated call; right secrets need some of those.
        let slowdown = Slowdown::new(unauthenticated_in_flight_max / SHARE_OF_FAILURES);
        Self { clients, tokens, clock, slowdown }
    }

    /// Whether a path is one of its.
    pub(super) fn has(path: &str) -> bool {
        path == KEYS_PATH || TOKEN_PATHS.iter().any(|(known, _)| *known == path)
    }

    /// Which methods a path has.
    pub(super) fn methods(path: &str) -> &'static [Method] {
        if path == KEYS_PATH { &[Method::GET, Method::HEAD] } else { &[Method::POST] }
    }

    /// Answers a request to one of its paths, with one of its methods.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == KEYS_PATH {
            return respond(StatusCode::OK, Code::Ok, &self.tokens.jwks());
        }
        let with_refresh =
            TOKEN_PATHS.iter().any(|(path, refresh)| *path == parts.uri.path() && *refresh);
        let audiences = ReachedAs::of(&parts.uri, &parts.headers)
            .map(|reached| reached.audiences(parts.uri.path()))
            .unwrap_or_default();
        match self.token(&parts.headers, body, &audiences, with_refresh).await {
            Ok(answer) => respond(StatusCode::OK, Code::Ok, &answer),
            Err(error) => refuse(error),
        }
    }

    async fn token(
        &self,
        headers: &HeaderMap,
        body: Body,
        audiences: &[String],
        with_refresh: bool,
    ) -> Result<Value, TokenError> {
        let unreadable = TokenError::Request("the body cannot be read");
        let body = read_small(body).await.map_err(|_| unreadable)?;
        let now = self.clock.now();
        let (client, grant) = match TokenRequest::read(headers, &body)? {
            Asked::WithSecret(request) => (self.client(&request).await?, request.grant),
            Asked::WithAssertion(text) => {
                let client = assertion::verify(&text, &*self.clients, audiences, now);
                (client.ok_or(TokenError::Grant)?, Grant::ClientCredentials)
            }
        };
        if let Grant::Refresh(token) = &grant {
            let issued_to = self.tokens.verify(token.as_bytes(), TokenKind::Refresh, now);
            if !issued_to.is_some_and(|subject| client.accepts_token_of(&subject)) {
                return Err(TokenError::Grant);
            }
        }
        self.clients.used(&client);
        let subject = client.token_subject();
        let issue = |kind| self.tokens.issue(&subject, kind, now).map_err(|_| TokenError::Server);
        let mut answer = json!({
            "access_token": issue(TokenKind::Access)?,
            "token_type": "Bearer",
            "expires_in": TokenKind::Access.lifetime().as_secs(),
        });
        if with_refresh && let Some(members) = answer.as_object_mut() {
            members.insert("refresh_token".into(), issue(TokenKind::Refresh)?.into());
        }
        Ok(answer)
    }

    /// The client that a request comes from. Who is wrong waits for the answer, longer each time.
    async fn client(&self, request: &TokenRequest) -> Result<Arc<Client>, TokenError> {
        let hash = CredentialHash::of(request.secret.as_bytes());
        let named = |client: &Arc<Client>| {
            // An API key is accepted for the id: that is what Getty's SDKs send.
            let key = CredentialHash::of(request.client_id.as_bytes());
            client.id.as_str() == request.client_id || client.has_api_key(&key, self.clock.now())
        };
        match self.clients.with_secret(&hash).filter(named) {
            Some(client) => {
                self.slowdown.succeeded(&request.client_id);
                Ok(client)
            }
            None => {
                self.slowdown.failed(&request.client_id, self.clock.now()).await;
                Err(TokenError::Client)
            }
        }
    }
}

fn refuse(error: TokenError) -> Response {
    let (status, code, word, text) = match error {
        TokenError::Request(text) => {
            (StatusCode::BAD_REQUEST, Code::InvalidArgument, "invalid_request", text)
        }
        TokenError::Client => (
            StatusCode::UNAUTHORIZED,
            Code::Unauthenticated,
            "invalid_client",
            "the client is not known, or its secret is wrong",
        ),
        TokenError::Grant => (
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            "invalid_grant",
            "the refresh token, or the assertion, is not valid",
        ),
        TokenError::GrantType => (
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            "unsupported_grant_type",
            "grant_type must be client_credentials, refresh_token or urn:ietf:params:oauth:grant-type:jwt-bearer",
        ),
        TokenError::Server => {
            tracing::error!("no token can be signed");
            (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "server_error", "internal error")
        }
    };
    let mut response = respond(status, code, &json!({"error": word, "error_description": text}));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"meterd\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn respond(status: StatusCode, code: Code, answer: &Value) -> Response {
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    response.extensions_mut().insert(Outcome::new(code));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749, section 5.1.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
