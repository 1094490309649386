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
use super::{
    assertions::{AssertionRefusal, AssertionSignIn},
    layers::Outcome,
    request_bytes::read_small,
};
use crate::{
    auth::{
        access_token::{AccessTokens, TokenKind},
        server_names::TOKEN_PATHS,
    },
    domain::{access::Client, credential::CredentialHash},
};

/// Where no refresh token comes along: RFC 6749 advises against one for this grant, and Getty's SDKs read one.
const WITHOUT_REFRESH: &str = "/oauth/token";
/// Where the public keys are (RFC 8414 leaves the path to us; this one is customary).
const KEYS_PATH: &str = "/.well-known/jwks.json";

/// One in so many permits of unauthenticated calls may be held by a failure that waits for its answer.
const SHARE_OF_FAILURES: usize = 4;

/// An error of RFC 6749, section 5.2.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TokenError {
    /// The request is not of the right form.
    Request(&'static str),
    /// The client is not known, or its secret is wrong.
    Client,
    /// The refresh token is not valid, or of another client.
    Grant,
    /// There is no such grant here.
    GrantType,
    /// The client has used too many assertions.
    TooManyAssertions(String),
    /// No token can be signed.
    Server,
}

/// Everything that is needed to give a token out.
pub(super) struct TokenEndpoint {
    sign_in: AssertionSignIn,
    tokens: Arc<AccessTokens>,
    slowdown: Slowdown,
}

impl TokenEndpoint {
    pub(super) fn new(
        sign_in: AssertionSignIn,
        tokens: Arc<AccessTokens>,
        unauthenticated_in_flight_max: usize,
    ) -> Self {
        // Each wait holds a permit of an unauthenticated call; right secrets need some of those.
        let slowdown = Slowdown::new(unauthenticated_in_flight_max / SHARE_OF_FAILURES);
        Self { sign_in, tokens, slowdown }
    }

    /// Whether a path is one of its.
    pub(super) fn has(path: &str) -> bool {
        path == KEYS_PATH || TOKEN_PATHS.contains(&path)
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
        let with_refresh = parts.uri.path() != WITHOUT_REFRESH;
        match self.token(&parts.headers, body, with_refresh).await {
            Ok(answer) => respond(StatusCode::OK, Code::Ok, &answer),
            Err(error) => refuse(error),
        }
    }

    async fn token(
        &self,
        headers: &HeaderMap,
        body: Body,
        with_refresh: bool,
    ) -> Result<Value, TokenError> {
        let unreadable = TokenError::Request("the body cannot be read");
        let body = read_small(body).await.map_err(|_| unreadable)?;
        let now = self.sign_in.clock.now();
        let (client, grant) = match TokenRequest::read(headers, &body)? {
            Asked::WithSecret(request) => (self.client(&request).await?, request.grant),
            Asked::WithAssertion(text) => {
                let client = self.sign_in.client(&text).map_err(|refusal| match refusal {
                    AssertionRefusal::ProvesNothing => TokenError::Grant,
                    AssertionRefusal::TooMany(text) => TokenError::TooManyAssertions(text),
                })?;
                (client, Grant::ClientCredentials)
            }
        };
        if let Grant::Refresh(token) = &grant {
            let issued_to = self.tokens.verify(token.as_bytes(), TokenKind::Refresh, now);
            if !issued_to.is_some_and(|subject| client.accepts_token_of(&subject)) {
                return Err(TokenError::Grant);
            }
        }
        self.sign_in.clients.used(&client);
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
            client.id.as_str() == request.client_id
                || client.has_api_key(&key, self.sign_in.clock.now())
        };
        match self.sign_in.clients.with_secret(&hash).filter(named) {
            Some(client) => {
                self.slowdown.succeeded(&request.client_id);
                Ok(client)
            }
            None => {
                self.slowdown.failed(&request.client_id, self.sign_in.clock.now()).await;
                Err(TokenError::Client)
            }
        }
    }
}

fn refuse(error: TokenError) -> Response {
    let too_many;
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
            "the refresh token, or the assertion, is not valid; why an assertion was refused is in the log of the server",
        ),
        TokenError::GrantType => (
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            "unsupported_grant_type",
            "grant_type must be client_credentials, refresh_token or urn:ietf:params:oauth:grant-type:jwt-bearer",
        ),
        TokenError::TooManyAssertions(text) => {
            too_many = text;
            // RFC 6749 has no word for it at this endpoint; the one of section 4.1.2.1 is what clients know.
            let (status, code) = (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted);
            (status, code, "temporarily_unavailable", too_many.as_str())
        }
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
