//! REST for every method with a `google.api.http` rule, and no handler of its own: rule → table →
//! request → in-process call through the routes that serve gRPC → answer.
//!
//! What the JSON of a service looks like is its [`dialect`]. Everything that cannot be routed or read as
//! the rules say stops the start of the server.

mod answer;
mod body;
mod call;
pub mod dialect;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod json;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod made_up;
pub mod openapi;
mod query;
mod quick;
mod rule;
mod stream;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod well_known;

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::Status;

use self::{
    call::Calls,
    dialect::{Dialect, UnknownMembers},
    failure::FailureWriter,
    rule::{Binding, BodyRule},
    table::{RouteTable, Routed},
};
use super::{
    layers::{Deadline, REQUEST_ID},
    request_bytes::{Held, RequestBytes, discard},
    status,
};
use crate::service::FieldViolation;

pub(super) use self::{
    call::OverRest,
    failure::{Failure, http_status},
};

/// Why the REST side cannot be put together: a mistake in the protos or in the table of dialects.
#[derive(Debug, thiserror::Error)]
#[error("REST: {subject}: {problem}")]
pub struct RestError {
    subject: String,
    problem: String,
}

impl RestError {
    fn new(subject: &str, problem: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), problem: problem.into() }
    }
}

/// The REST side.
#[derive(Debug)]
pub struct Rest {
    table: RouteTable,
    // Dialects of paths that lead to no method.
    by_prefix: Vec<(&'static str, Dialect)>,
    // gRPC path, method and template of every binding.
    templates: Vec<(PathAndQuery, Method, String)>,
    calls: Calls,
    failures: FailureWriter,
    requests: RequestBytes,
}

/// A request that has found its method.
#[derive(Debug)]
pub(super) struct Matched {
    binding: Arc<Binding>,
    path_values: Vec<String>,
}

impl Matched {
    /// The gRPC method, `/package.Service/Method`.
    pub(super) fn grpc_path(&self) -> &str {
        self.binding.grpc_path.as_str()
    }

    /// How its service speaks.
    pub(super) fn dialect(&self) -> Arc<Dialect> {
        Arc::clone(&self.binding.dialect)
    }
}

impl Rest {
    /// Reads the rules of all methods in `pool`. Calls go to `routes`; bodies are read by `requests`.
    ///
    /// # Errors
    /// [`RestError`] if a rule is not supported or two claim the same method and path.
    pub(super) fn build(
        pool: &DescriptorPool,
        dialects: &[(&str, Dialect)],
        routes: Router,
        requests: RequestBytes,
    ) -> Result<Self, RestError> {
        let bindings = rule::bindings(pool, dialects)?;
        let templates = bindings.iter().map(|binding| {
            (binding.grpc_path.clone(), binding.http_method.clone(), binding.documented_path())
        });
        let templates = templates.collect();
        let table = RouteTable::build(bindings)?;
        let status = pool
            .get_message_by_name("google.rpc.Status")
            .ok_or_else(|| RestError::new("google.rpc.Status", "is not among the descriptors"))?;
        Ok(Self {
            table,
            by_prefix: dialects
                .iter()
                .filter_map(|(_, dialect)| Some((dialect.path_prefix?, dialect.clone())))
                .collect(),
            templates,
            calls: Calls::new(routes, requests.bytes_max()),
            failures: FailureWriter { status },
            requests,
        })
    }

    /// How a failure is written of a path that leads to no method, or not by the request's method of HTTP.
    pub(super) fn dialect_of_path(&self, path: &str) -> &Dialect {
        let found = self.by_prefix.iter().find(|(prefix, _)| path.starts_with(prefix));
        found.map_or(&Dialect::OURS, |(_, dialect)| dialect)
    }

    /// Every binding: gRPC path, method of HTTP, template of the path.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&str, &Method, String)> {
        let templates = self.templates.iter();
        templates.map(|(path, method, template)| (path.as_str(), method, template.clone()))
    }

    /// Finds the method that a request is for.
    ///
    /// # Errors
    /// `None` if the path leads nowhere, a failure if only other methods of HTTP lead somewhere.
    pub(super) fn route(&self, method: &Method, path: &str) -> Result<Matched, Option<Failure>> {
        match self.table.route(method, path) {
            Routed::Found(binding, path_values) => Ok(Matched { binding, path_values }),
            Routed::OtherMethod(methods) => Err(Some(Failure::method_not_allowed(&methods))),
            Routed::Nothing => Err(None),
        }
    }

    /// Carries a request out.
    pub(super) async fn serve(self: Arc<Self>, matched: Matched, request: Request) -> Response {
        let request_id = request.headers().get(REQUEST_ID).cloned();
        let dialect = Arc::clone(&matched.binding.dialect);
        match Arc::clone(&self).try_serve(matched, request).await {
            Ok(response) => response,
            Err(failure) => self.failures.respond(failure, &dialect, request_id.as_ref()),
        }
    }

    async fn try_serve(
        self: Arc<Self>,
        matched: Matched,
        request: Request,
    ) -> Result<Response, Failure> {
        let Matched { binding, path_values } = matched;
        let (parts, body) = request.into_parts();
        let (body, _held) = self.body(&binding, &parts.headers, body).await?;
        let query = parts.uri.query().unwrap_or_default();
        let message = message(&binding, &path_values, query, &body)?;
        drop(body);
        let deadline = parts.extensions.get::<Deadline>().map(|deadline| deadline.0);
        let framing = stream::Framing::of(&parts.headers);
        let request_id = parts.headers.get(REQUEST_ID).cloned();
        let call = call::request(message, parts.headers, parts.extensions);
        let path = binding.grpc_path.clone();
        if binding.method.is_server_streaming() {
            let answer = self.calls.server_streaming(path, call).await;
            let answer = answer.map_err(Failure::of_call)?;
            return Ok(stream::respond(self, binding, framing, answer, deadline, request_id));
        }
        let answer = self.calls.unary(path, call).await.map_err(Failure::of_call)?;
        Ok(answer::unary(&binding, answer)?)
    }

    async fn body(
        &self,
        binding: &Binding,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, Held), Failure> {
        if !matches!(binding.body, BodyRule::Nothing) {
            if let Err(failure) = body::check_type(headers) {
                let ended = discard(body).await;
                return Err(if ended { failure } else { failure.close() });
            }
            let (body, held) = self.requests.read(body).await?;
            if !headers.contains_key(header::CONTENT_TYPE) && !is_blank(&body) {
                return Err(body::without_type());
            }
            return Ok((body, held));
        }
        // What somebody says there and we would not read, they may rely on.
        if binding.dialect.unknown_members == UnknownMembers::Refuse
            && !http_body::Body::is_end_stream(&body)
            && !is_blank(&self.requests.read(body).await?.0)
        {
            let violation = FieldViolation::new("body", "this path takes none");
            return Err(status::invalid_argument("", vec![violation]).into());
        }
        Ok((Bytes::new(), Held::default()))
    }

    /// Answers without a call.
    pub(super) fn refuse(
        &self,
        failure: Failure,
        dialect: &Dialect,
        request_id: Option<&HeaderValue>,
    ) -> Response {
        self.failures.respond(failure, dialect, request_id)
    }

    fn failure_json(
        &self,
        status: &Status,
        dialect: &Dialect,
        request_id: Option<&HeaderValue>,
    ) -> serde_json::Value {
        self.failures.body(&Failure::of_call(status.clone()), dialect, request_id)
    }
}

impl Failure {
    /// There is nothing at that path.
    pub(super) fn not_found(path: &str) -> Self {
        Self::with(status::no_such_path(path), StatusCode::NOT_FOUND)
    }

    /// There is something, for other methods.
    pub(super) fn method_not_allowed(methods: &[Method]) -> Self {
        Self::with(status::method_not_allowed(), StatusCode::METHOD_NOT_ALLOWED).allow(methods)
    }

    /// There is a gRPC method at that path, which does not speak JSON.
    pub(super) fn grpc_only(content_type: &str) -> Self {
        Self::with(status::grpc_only(content_type), StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }
}

/// The request as the method takes it. What the path says stands above the rest.
fn message(
    binding: &Binding,
    path_values: &[String],
    query: &str,
    body: &[u8],
) -> Result<Bytes, Failure> {
    if query.is_empty()
        && let Some(plan) = &binding.quick_request
        && let Some(message) = quick::request::bytes(plan, body)
    {
        return Ok(message.into());
    }
    let unknown = binding.dialect.unknown_members;
    let mut message = match &binding.body {
        // An empty body is an empty message, as grpc-gateway takes it.
        BodyRule::Whole if !is_blank(body) => {
            json::message(body, &binding.method.input(), unknown).map_err(malformed)?
        }
        BodyRule::Field(field) if !is_blank(body) => {
            let mut message = DynamicMessage::new(binding.method.input());
            if let Some(value) = json::field(body, field, unknown).map_err(malformed)? {
                message.set_field(field, value);
            }
            message
        }
        BodyRule::Nothing | BodyRule::Whole | BodyRule::Field(_) => {
            DynamicMessage::new(binding.method.input())
        }
    };
    query::apply(query, binding, &mut message)
        .map_err(|violations| status::invalid_argument("", violations))?;
    for (fields, value) in binding.path_fields.iter().zip(path_values) {
        query::set_from_path(&mut message, fields, value)
            .map_err(|violation| status::invalid_argument("", vec![violation]))?;
    }
    Ok(message.encode_to_vec().into())
}

fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// After a body that was cut, or is two requests in one, nothing that follows on the connection is to be
/// trusted.
fn malformed(unreadable: json::Unreadable) -> Failure {
    let failure = Failure::from(status::invalid_argument("", vec![unreadable.violation]));
    if unreadable.is_broken { failure.close() } else { failure }
}
