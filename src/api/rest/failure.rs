//! Failures as an HTTP client sees them.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    answer::{JSON, pass_on},
    dialect::{Dialect, ErrorShape},
};
use crate::api::layers::Outcome;

/// What the request lacked, for clients that can fetch a token (RFC 6750, section 3).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"meterd\"");

/// A gRPC status, and what HTTP adds to it.
#[derive(Debug)]
pub(in crate::api) struct Failure {
    status: Status,
    http: StatusCode,
    headers: HeaderMap,
    // The method itself refused: it calls fields as its proto does, and not as the caller did.
    is_of_call: bool,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let http = http_status(status.code());
        Self::with(status, http)
    }
}

impl Failure {
    /// With another HTTP status than the usual one.
    pub(in crate::api) fn with(status: Status, http: StatusCode) -> Self {
        Self { status, http, headers: HeaderMap::new(), is_of_call: false }
    }

    /// What a method answered.
    pub(super) fn of_call(status: Status) -> Self {
        Self { is_of_call: true, ..Self::from(status) }
    }

    /// Says which methods the path has, as RFC 9110 wants it of a 405.
    pub(super) fn allow(mut self, methods: &[Method]) -> Self {
        let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        if let Ok(value) = HeaderValue::from_str(&methods) {
            self.headers.insert(header::ALLOW, value);
        }
        self
    }

    /// Ends the connection after the answer, where that is a thing (HTTP/1.1): what is left of the body, or
    /// what follows it, shall not be taken for a request.
    pub(in crate::api) fn close(mut self) -> Self {
        self.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        self
    }

    /// What is answered over gRPC.
    pub(in crate::api) fn into_status(self) -> Status {
        self.status
    }
}

/// Writes failures, in every dialect.
#[derive(Debug)]
pub(super) struct FailureWriter {
    /// `google.rpc.Status`.
    pub(super) status: MessageDescriptor,
}

impl FailureWriter {
    /// The whole answer. `request_id` becomes the `contextId` of those dialects that have one.
    pub(super) fn respond(
        &self,
        failure: Failure,
        dialect: &Dialect,
        request_id: Option<&HeaderValue>,
    ) -> Response {
        let body = self.body(&failure, dialect, request_id);
        let Failure { status, http, headers, is_of_call: _ } = failure;
        let mut response = Response::new(Body::from(Bytes::from(body.to_string())));
        *response.status_mut() = http;
        response.extensions_mut().insert(Outcome::new(status.code()));
        let to = response.headers_mut();
        pass_on(status.metadata().as_ref(), to);
        to.extend(headers);
        to.insert(header::CONTENT_TYPE, JSON);
        if http == StatusCode::UNAUTHORIZED {
            to.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
            // Whole seconds, and rather too late than too early.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            to.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The JSON alone.
    pub(super) fn body(
        &self,
        failure: &Failure,
        dialect: &Dialect,
        request_id: Option<&HeaderValue>,
    ) -> Value {
        let status = &failure.status;
        let details = self.details(status, &dialect.serialize_options());
        let mut members = match dialect.errors {
            ErrorShape::Status => {
                let Value::Object(members) = json!({
                    "code": i32::from(status.code()),
                    "message": status.message(),
                    "details": details,
                }) else {
                    return Value::Null;
                };
                members
            }
            ErrorShape::ErrorBody => error_body(failure, request_id),
        };
        for detail in details.iter().filter_map(Value::as_object) {
            let hoisted = detail.get("@type").and_then(Value::as_str).is_some_and(|of| {
                dialect.hoisted_details.iter().any(|name| of.rsplit('/').next() == Some(name))
            });
            if hoisted {
                let extra = detail.iter().filter(|(name, _)| *name != "@type");
                members.extend(extra.map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        Value::Object(members)
    }

    /// The typed details; none if they cannot be read, for an error must get through in any case.
    fn details(&self, status: &Status, options: &SerializeOptions) -> Vec<Value> {
        if status.details().is_empty() {
            return Vec::new();
        }
        let written = DynamicMessage::decode(self.status.clone(), status.details())
            .ok()
            .and_then(|message| {
                message.serialize_with_options(serde_json::value::Serializer, options).ok()
            })
            .and_then(|mut value| value.get_mut("details").map(Value::take));
        match written {
            Some(Value::Array(details)) => details,
            _ => {
                tracing::warn!("the details of an error cannot be written as JSON");
                Vec::new()
            }
        }
    }
}

/// Genesys' shape, with the words of its vocabulary (the list on all operations of its API definition).
fn error_body(failure: &Failure, request_id: Option<&HeaderValue>) -> Map<String, Value> {
    let Failure { status, http, headers: _, is_of_call } = failure;
    let code = match http.as_u16() {
        400 => "bad.request",
        401 => "authentication.required",
        403 => "missing.any.permissions",
        404 => "not.found",
        405 => "method.not.allowed",
        409 => "conflict",
        413 => "request.entity.too.large",
        415 => "unsupported.media.type",
        429 => "too.many.requests",
        503 => "service.unavailable",
        504 => "request.timeout",
        _ => "internal.server.error",
    };
    let mut message = status.message().to_owned();
    let mut details = Vec::new();
    for violation in
        status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations)
    {
        let name = if *is_of_call { json_names(&violation.field) } else { violation.field.clone() };
        let said = |name: &str| format!("{name}: {}", violation.description);
        message = message.replace(&said(&violation.field), &said(&name));
        details.push(json!({"errorCode": "invalid.value", "fieldName": name}));
    }
    let mut members = Map::new();
    members.insert("message".into(), message.into());
    members.insert("code".into(), code.into());
    members.insert("status".into(), http.as_u16().into());
    if let Some(id) = request_id.and_then(|id| id.to_str().ok()) {
        members.insert("contextId".into(), id.into());
    }
    members.insert("details".into(), details.into());
    members.insert("errors".into(), Value::Array(Vec::new()));
    members
}

/// A path of fields in the names that they have in JSON: `sort_by[0].field_name` is `sortBy[0].fieldName`.
fn json_names(path: &str) -> String {
    let mut names = String::with_capacity(path.len());
    let mut begins_word = false;
    for letter in path.chars() {
        match letter {
            '_' => begins_word = true,
            _ if begins_word => {
                names.push(letter.to_ascii_uppercase());
                begins_word = false;
            }
            _ => names.push(letter),
        }
    }
    names
}

/// The mapping of `google/rpc/code.proto`.
pub(in crate::api) fn http_status(code: Code) -> StatusCode {
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
        // 499, "client closed request", is nginx's and has no name in the standard.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Every HTTP status that a failure may have by its gRPC code, for documentation.
pub(super) fn documented_statuses() -> [(StatusCode, &'static str); 8] {
    [
        (
            StatusCode::BAD_REQUEST,
            "The request is not valid; the details name every member at fault",
        ),
        (StatusCode::UNAUTHORIZED, "No credentials, or none that are valid"),
        (StatusCode::FORBIDDEN, "The caller lacks the permission"),
        (StatusCode::NOT_FOUND, "There is no such thing in the caller's organization"),
        (StatusCode::PAYLOAD_TOO_LARGE, "The body is over the limit"),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not JSON"),
        (StatusCode::TOO_MANY_REQUESTS, "Too much at once; `Retry-After` says when to try again"),
        (StatusCode::SERVICE_UNAVAILABLE, "The storage is not available; send the request again"),
    ]
}
