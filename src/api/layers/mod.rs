//! What every call passes on its way to a handler and back, in this order: request id, span and
//! metrics, the limit on calls in flight, authentication and permission, the deadline.

mod answer;
mod deadline;
mod request_id;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tracing::Instrument as _;

use self::answer::CallGuard;
use super::{metrics::Metrics, status};
use crate::auth::{
    AuthError, Authentication,
    rpc_permissions::{self, Access},
};

/// Suggested to callers that are refused because too many calls are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Stands for all paths that are no method, in metrics and logs.
const UNKNOWN_METHOD: &str = "unknown";

/// Limits of single calls. Those of connections are the server's.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Calls under way in the whole process; health checks do not count. Default 1024.
    pub calls_in_flight_max: usize,
    /// Bytes of one message, after decompression. Default 4 MiB.
    pub message_bytes_max: usize,
    /// Messages of one usage stream under way. Default 8.
    pub stream_messages_in_flight_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls_in_flight_max: 1024,
            message_bytes_max: 4 << 20,
            stream_messages_in_flight_max: 8,
        }
    }
}

/// What the layers share.
#[derive(Clone)]
pub(super) struct Layers {
    authentication: Arc<Authentication>,
    metrics: Arc<Metrics>,
    in_flight: Arc<Semaphore>,
    calls_max: usize,
}

impl Layers {
    pub(super) fn new(
        authentication: Authentication,
        metrics: Arc<Metrics>,
        limits: &CallLimits,
    ) -> Self {
        Self {
            authentication: Arc::new(authentication),
            metrics,
            in_flight: Arc::new(Semaphore::new(limits.calls_in_flight_max)),
            calls_max: limits.calls_in_flight_max,
        }
    }
}

/// Takes one call through all layers.
pub(super) async fn around(
    State(layers): State<Layers>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = request_id::take(request.headers_mut());
    let row = rpc_permissions::find(request.uri().path());
    let method = row.map_or(UNKNOWN_METHOD, |(path, _)| path);
    let span =
        tracing::info_span!("call", method, request_id = request_id.to_str().unwrap_or_default());
    let guard = CallGuard::begin(Arc::clone(&layers.metrics), method, Instant::now());
    let access = row.map(|(_, access)| *access);
    let mut response = admit(layers, access, request, next, guard).instrument(span).await;
    response.headers_mut().insert(request_id::HEADER, request_id);
    response
}

async fn admit(
    layers: Layers,
    access: Option<Access>,
    mut request: Request,
    next: Next,
    mut guard: CallGuard,
) -> Response {
    let is_grpc = is_grpc(request.headers());
    if access.is_some_and(|access| access != Access::Open) || access.is_none() {
        match Arc::clone(&layers.in_flight).try_acquire_owned() {
            Ok(permit) => guard.hold(permit),
            Err(_) => {
                return refuse(
                    status::too_many_calls(layers.calls_max, RETRY_AFTER),
                    is_grpc,
                    guard,
                );
            }
        }
    }
    if let Some(Access::AnyOf(permissions)) = access {
        let authorization =
            request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let principal = match layers.authentication.authenticate(authorization) {
            Ok(principal) if principal.has_any(permissions) => principal.clone(),
            Ok(_) => {
                return refuse(
                    status::from_auth(AuthError::Forbidden(permissions)),
                    is_grpc,
                    guard,
                );
            }
            Err(error) => return refuse(status::from_auth(error), is_grpc, guard),
        };
        request.extensions_mut().insert(principal);
    }
    let deadline = match deadline::of(request.headers()) {
        Ok(deadline) => deadline,
        Err(violation) => {
            return refuse(status::invalid_argument("", vec![violation]), is_grpc, guard);
        }
    };
    let response = match deadline {
        None => next.run(request).await,
        Some(deadline) => match tokio::time::timeout_at(deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => return refuse(status::deadline_exceeded(), is_grpc, guard),
        },
    };
    guard.answer(response, deadline)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers without a handler, in the protocol of the request.
fn refuse(status: Status, is_grpc: bool, guard: CallGuard) -> Response {
    let response = if is_grpc {
        status.into_http::<Body>()
    } else {
        json_error(&status, http_status(status.code()))
    };
    guard.answer(response, None)
}

/// A `google.rpc.Status` as JSON.
pub(super) fn json_error(status: &Status, http_status: StatusCode) -> Response {
    let body = serde_json::json!({
        "code": i32::from(status.code()),
        "message": status.message(),
        "details": [],
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = http_status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// The usual mapping of gRPC codes to HTTP, for refusals of calls that are not gRPC.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
