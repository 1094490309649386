//! The generic layer, against a proto of every form and a service that answers with what it was asked.

mod failures;
mod properties;
mod quick;
mod requests;
mod rules;
mod spelling;

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    Rest,
    dialect::{Dialect, ErrorShape, Int64, UnknownMembers},
};
use crate::api::{layers::CallLimits, request_bytes::RequestBytes};

const DIALECTS: &[(&str, Dialect)] = &[(
    "rest.test.VendorEcho",
    Dialect {
        unknown_members: UnknownMembers::Ignore,
        int64: Int64::Number,
        errors: ErrorShape::ErrorBody,
        path_prefix: None,
        hoisted_details: &["rest.test.Refused"],
        success: &[("Create", StatusCode::CREATED)],
    },
)];

fn proto_path(below: &str) -> String {
    format!("{}/{below}", env!("CARGO_MANIFEST_DIR"))
}

/// The test proto, and the error model.
fn pool() -> DescriptorPool {
    let mut compiler =
        protox::Compiler::new([proto_path("proto"), proto_path("src/api/rest/tests")]).unwrap();
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files([
            "everything.proto",
            "google/rpc/status.proto",
            "google/rpc/error_details.proto",
        ])
        .unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

/// Reads bodies up to this size.
fn requests(message_bytes_max: usize) -> RequestBytes {
    RequestBytes::new(&CallLimits { message_bytes_max, ..CallLimits::default() })
}

fn rest() -> Arc<Rest> {
    let routes = Router::new().fallback(answer);
    Arc::new(Rest::build(&pool(), DIALECTS, routes, requests(64 << 10)).unwrap())
}

/// The gRPC side of the test services.
async fn answer(request: Request) -> Response {
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/grpc");
    let path = request.uri().path().to_owned();
    let frame = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    let mut times = 1;
    match path.as_str() {
        "/rest.test.Echo/Get" | "/rest.test.VendorEcho/Create" => {
            Status::ok("").add_header(&mut trailers).unwrap();
        }
        "/rest.test.Echo/Repeat" => {
            times = 3;
            let status = if frame.len() > 5 { Status::ok("") } else { refused() };
            status.add_header(&mut trailers).unwrap();
        }
        _ => return refused().into_http(),
    }
    let frames = (0..times)
        .map(move |_| http_body::Frame::data(frame.clone()))
        .chain([http_body::Frame::trailers(trailers)])
        .map(Ok::<_, std::convert::Infallible>);
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
    headers.insert("meterd-note", "ours".parse().unwrap());
    headers.insert("other", "theirs".parse().unwrap());
    response
}

/// What is said of it, with the field as the proto calls it.
const REFUSAL: &str = "inner.some_texts[0]: is too long";

/// A failure with typed details: one of Google's, and one of the test's own.
fn refused() -> Status {
    use prost::Message as _;

    // rest.test.Refused { invalid_things: ["a"] }
    let own = prost_types::Any {
        type_url: "type.googleapis.com/rest.test.Refused".into(),
        value: vec![0x0A, 1, b'a'],
    };
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("inner.some_texts[0]", "is too long");
    details.set_retry_info(Some(std::time::Duration::from_millis(1200)));
    let standard = Status::with_error_details(Code::ResourceExhausted, REFUSAL, details);
    let mut whole = tonic_types::pb::Status::decode(standard.details()).unwrap();
    whole.details.push(own);
    Status::with_details(Code::ResourceExhausted, REFUSAL, whole.encode_to_vec().into())
}

/// Sends a request through the layer; `None` where nothing is at the path.
async fn send(method: Method, target: &str, body: &str) -> Option<(StatusCode, HeaderMap, Bytes)> {
    send_with(method, target, body, HeaderMap::new()).await
}

async fn send_with(
    method: Method,
    target: &str,
    body: &str,
    mut headers: HeaderMap,
) -> Option<(StatusCode, HeaderMap, Bytes)> {
    let rest = rest();
    let mut request = Request::new(Body::new(Full::new(Bytes::from(body.to_owned()))));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    headers.insert("x-request-id", "the-request".parse().unwrap());
    if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    }
    *request.headers_mut() = headers;
    let path = request.uri().path().to_owned();
    let response = match rest.route(request.method(), &path) {
        Ok(matched) => Arc::clone(&rest).serve(matched, request).await,
        Err(failure) => {
            let id = request.headers().get("x-request-id");
            rest.refuse(failure?, &Dialect::OURS, id)
        }
    };
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Some((parts.status, parts.headers, bytes))
}

/// The JSON of an answer that must be a success.
async fn ok(method: Method, target: &str, body: &str) -> Value {
    let (status, _, bytes) = send(method, target, body).await.expect(target);
    let text = String::from_utf8_lossy(&bytes);
    assert!(status.is_success(), "{target} {body}: {status} {text}");
    serde_json::from_slice(&bytes).unwrap()
}

/// The message of an answer that must be a 400.
async fn bad(method: Method, target: &str, body: &str) -> String {
    let (status, _, bytes) = send(method, target, body).await.expect(target);
    assert_eq!(status, StatusCode::BAD_REQUEST, "{target} {body}: {bytes:?}");
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["code"], 3);
    json["message"].as_str().unwrap().to_owned()
}
