//! Messages → JSON answers.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost_reflect::DynamicMessage;
use tonic::{Code, Status};

use super::{quick, rule::Binding};
use crate::api::{layers::Outcome, status};

/// The media type of every answer that is no stream.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Metadata of ours goes out under its own name.
const OURS_PREFIX: &str = "meterd-";
/// All other metadata, as grpc-gateway does it.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The JSON of one answered message.
pub(super) fn json(binding: &Binding, message: &[u8]) -> Result<Vec<u8>, Status> {
    let quick = binding.quick_answer.as_ref().and_then(|plan| quick::answer::json(plan, message));
    quick.map_or_else(|| by_reflection(binding, message), Ok)
}

/// The same for every message that there can be.
pub(super) fn by_reflection(binding: &Binding, message: &[u8]) -> Result<Vec<u8>, Status> {
    let failed = |error: &dyn std::fmt::Display| {
        status::unreadable_answer(binding.method.full_name(), &error.to_string())
    };
    let message =
        DynamicMessage::decode(binding.method.output(), message).map_err(|error| failed(&error))?;
    let options = binding.dialect.serialize_options();
    let Some(field) = &binding.response_body else {
        let mut text = Vec::with_capacity(256);
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
            .map_err(|error| failed(&error))?;
        return Ok(text);
    };
    let mut whole = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| failed(&error))?;
    let part = whole.get_mut(field.json_name()).map(serde_json::Value::take);
    serde_json::to_vec(&part.unwrap_or_default()).map_err(|error| failed(&error))
}

/// The answer to a unary call.
pub(super) fn unary(binding: &Binding, answer: tonic::Response<Bytes>) -> Result<Response, Status> {
    let (metadata, message, _) = answer.into_parts();
    let mut response = Response::new(Body::from(json(binding, &message)?));
    *response.status_mut() = binding.success;
    response.extensions_mut().insert(Outcome::new(Code::Ok));
    pass_on(metadata.as_ref(), response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    Ok(response)
}

/// Answered metadata as headers. Binary values travel as base64, as they do in gRPC.
pub(super) fn pass_on(metadata: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in metadata {
        let text = name.as_str();
        // What gRPC itself needs says nothing to an HTTP client, or the answer says it in its own way.
        if text.starts_with("grpc-") || *name == header::CONTENT_TYPE || *name == header::DATE {
            continue;
        }
        let name = if text.starts_with(OURS_PREFIX) {
            Some(name.clone())
        } else {
            HeaderName::from_bytes(format!("{METADATA_PREFIX}{text}").as_bytes()).ok()
        };
        if let Some(name) = name {
            to.append(name, value.clone());
        }
    }
}
