//! Where every request comes in: gRPC, gRPC-Web, REST, documents and the token endpoints, told apart and taken through the same
//! layers.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use tonic::Status;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::{
    CompressionLevel,
    compression::{
        Compression,
        predicate::{DefaultPredicate, Predicate as _},
    },
    decompression::RequestDecompression,
};

use super::{
    documents::{Documents, Found},
    layers::{self, Call, HoldsNothing, Layers, WireVersion},
    oauth::TokenEndpoint,
    request_bytes::{Held, RequestBytes},
    rest::{Failure, Matched, Rest, dialect::Dialect},
    self_metering::Protocol,
    status,
    zstd_window::ZstdChecked,
};
use crate::auth::rpc_permissions;

/// How the messages of a gRPC request are compressed.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Answers are for those who asked.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// What requests are led to.
pub(super) struct Front {
    layers: Layers,
    requests: RequestBytes,
    handlers: Router,
    rest: Arc<Rest>,
    documents: Documents,
    tokens: TokenEndpoint,
}

impl Front {
    pub(super) fn new(
        layers: Layers,
        requests: RequestBytes,
        handlers: Router,
        rest: Rest,
        documents: Documents,
        tokens: TokenEndpoint,
    ) -> Self {
        Self { layers, requests, handlers, rest: Arc::new(rest), documents, tokens }
    }

    async fn grpc(&self, protocol: Protocol, request: Request) -> Response {
        let path = request.uri().path();
        let call = Call::of_method(path, protocol);
        let mismatch = (!call.is_method()).then(|| status::no_such_method(path).into());
        let refuse = |failure: Failure, _: &HeaderValue| failure.into_status().into_http();
        let run = |request| Box::pin(self.handle(call, request));
        layers::around(&self.layers, call, mismatch, request, refuse, run).await
    }

    /// Has a gRPC request handled.
    async fn handle(&self, call: Call, request: Request) -> Response {
        let (parts, mut body) = request.into_parts();
        if parts.headers.get(GRPC_ENCODING).is_some_and(|encoding| encoding == "zstd") {
            body = ZstdChecked::messages(body);
        }
        let mut _held = Held::default();
        if !call.streams_in() {
            (body, _held) = match self.requests.read_grpc(body).await {
                Ok(read) => read,
                Err(unread) => return Status::from(unread).into_http(),
            };
        }
        infallible(self.handlers.clone().oneshot(Request::from_parts(parts, body)).await)
    }

    async fn grpc_web(&self, request: Request) -> Response {
        let grpc = service_fn(|request: http::Request<tonic::body::Body>| async {
            Ok::<_, Infallible>(self.grpc(Protocol::GrpcWeb, request.map(Body::new)).await)
        });
        infallible(GrpcWebLayer::new().layer(grpc).oneshot(request).await).map(Body::new)
    }

    async fn rest(&self, request: Request) -> Response {
        let path = request.uri().path();
        let failure = match self.rest.route(request.method(), path) {
            Ok(matched) => return self.method(matched, request).await,
            Err(Some(failure)) => failure,
            Err(None) => match self.documents.find(request.method(), path) {
                Ok(Some(document)) => return self.document(document, request).await,
                Ok(None) if TokenEndpoint::has(path) => return self.token(request).await,
                Ok(None) => self.nothing_at(path, request.headers()),
                Err(failure) => failure,
            },
        };
        let dialect = self.rest.dialect_of_path(path);
        let refuse = |failure, id: &HeaderValue| self.rest.refuse(failure, dialect, Some(id));
        let run = async |_| Response::default();
        layers::around(&self.layers, Call::unknown(), Some(failure), request, refuse, run).await
    }

    /// Why a path leads nowhere.
    fn nothing_at(&self, path: &str, headers: &HeaderMap) -> Failure {
        if rpc_permissions::find(path).is_none() {
            return Failure::not_found(path);
        }
        let given = headers.get(header::CONTENT_TYPE);
        Failure::grpc_only(given.and_then(|value| value.to_str().ok()).unwrap_or_default())
    }

    async fn method(&self, matched: Matched, request: Request) -> Response {
        let call = Call::of_method(matched.grpc_path(), Protocol::Rest);
        let dialect = matched.dialect();
        let refuse = |failure, id: &HeaderValue| self.rest.refuse(failure, &dialect, Some(id));
        let run = |request| Box::pin(Arc::clone(&self.rest).serve(matched, request));
        layers::around(&self.layers, call, None, request, refuse, run).await
    }

    async fn document(&self, document: Found<'_>, request: Request) -> Response {
        let refuse =
            |failure, id: &HeaderValue| self.rest.refuse(failure, &Dialect::OURS, Some(id));
        let run = async |_| document.answer();
        layers::around(&self.layers, Call::document(), None, request, refuse, run).await
    }

    async fn token(&self, request: Request) -> Response {
        let methods = TokenEndpoint::methods(request.uri().path());
        let mismatch =
            (!methods.contains(request.method())).then(|| Failure::method_not_allowed(methods));
        let refuse =
            |failure, id: &HeaderValue| self.rest.refuse(failure, &Dialect::OURS, Some(id));
        let run = |request| Box::pin(self.tokens.answer(request));
        layers::around(&self.layers, Call::token(), mismatch, request, refuse, run).await
    }
}

/// Takes a request to where it belongs.
pub(super) async fn dispatch(State(front): State<Arc<Front>>, mut request: Request) -> Response {
    let version = WireVersion(request.version());
    request.extensions_mut().insert(version);
    let content_type =
        request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let mut response = if content_type.starts_with(b"application/grpc-web") {
        Box::pin(front.grpc_web(request)).await
    } else if content_type.starts_with(b"application/grpc") {
        return front.grpc(Protocol::Grpc, request).await;
    } else {
        compressed(&front, request).await
    };
    // Documents say themselves how long they stay good.
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(NO_SNIFF);
    response
}

/// Compression of bodies is HTTP's affair here; gRPC has its own. Requests without any are spared the way
/// through the machinery.
async fn compressed(front: &Front, request: Request) -> Response {
    let compresses = request.headers().contains_key(header::ACCEPT_ENCODING);
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    let is_zstd = encoding.is_some_and(|encoding| encoding == "zstd");
    let is_compressed = is_zstd || encoding.is_some_and(|encoding| encoding == "gzip");
    if !is_compressed && !compresses {
        return front.rest(request).await;
    }
    let request = if is_zstd { request.map(ZstdChecked::whole) } else { request };
    let rest = service_fn(|request: http::Request<_>| async {
        Ok::<_, Infallible>(front.rest(request.map(Body::new)).await)
    });
    let service = Compression::new(RequestDecompression::new(rest))
        .quality(CompressionLevel::Fastest)
        .compress_when(DefaultPredicate::new().and(has_permit));
    infallible(Box::pin(service.oneshot(request)).await).map(Body::new)
}

/// A compressor takes up to a MiB until its last byte is taken, so that it takes a permit among the calls as well. Answers
/// to unauthenticated callers have none: documents, and what was refused.
fn has_permit(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<HoldsNothing>().is_none()
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
