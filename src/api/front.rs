//! Where every request comes in: gRPC, gRPC-Web, REST, documents and the token endpoints, told apart and taken through the same
//! layers.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
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
    documents::Documents,
    layers::{self, Call, HoldsNothing, Intake, Layers},
    oauth::TokenEndpoint,
    request_bytes::{RequestBytes, discard},
    rest::{Failure, Matched, Rest, dialect::Dialect},
    self_metering::Protocol,
};
use crate::auth::rpc_permissions;

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
        let call = Call::of_method(request.uri().path(), protocol);
        let refuse = async |status: Status, unread: Option<Body>, _: &HeaderValue| {
            // A stream of messages does not end before it is answered.
            if let Some(unread) = unread.filter(|_| call.intake() != Intake::AsItComes) {
                discard(unread).await;
            }
            status.into_http()
        };
        layers::around(&self.layers, call, request, refuse, |request| async {
            let (parts, body) = request.into_parts();
            match self.requests.read_grpc(body, call.intake()).await {
                Ok((body, _held)) => {
                    let request = Request::from_parts(parts, body);
                    infallible(self.handlers.clone().oneshot(request).await)
                }
                Err(unread) => Status::from(unread).into_http(),
            }
        })
        .await
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
            Err(None) if self.documents.has(path) => return self.document(request).await,
            Err(None) if TokenEndpoint::has(path) => return self.token(request).await,
            Err(None) if rpc_permissions::find(path).is_some() => {
                let given = request.headers().get(header::CONTENT_TYPE);
                let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
                Failure::grpc_only(given)
            }
            Err(None) => Failure::not_found(path),
        };
        let dialect = self.rest.dialect_of_path(path).clone();
        let refuse = async |status, unread, id: &HeaderValue| {
            self.rest.refuse(status, &dialect, unread, Some(id)).await
        };
        layers::around(&self.layers, Call::unknown(), request, refuse, |request| {
            self.without_method(failure, &dialect, request)
        })
        .await
    }

    async fn method(&self, matched: Matched, request: Request) -> Response {
        let call = Call::of_method(matched.grpc_path(), Protocol::Rest);
        let dialect = matched.dialect();
        let refuse = async |status, unread, id: &HeaderValue| {
            self.rest.refuse(status, &dialect, unread, Some(id)).await
        };
        layers::around(&self.layers, call, request, refuse, |request| {
            Arc::clone(&self.rest).serve(matched, request, call.intake())
        })
        .await
    }

    async fn document(&self, request: Request) -> Response {
        let refuse = async |status, unread, id: &HeaderValue| {
            self.rest.refuse(status, &Dialect::OURS, unread, Some(id)).await
        };
        layers::around(&self.layers, Call::document(), request, refuse, |request| async move {
            match self.documents.answer(request.method(), request.uri().path()) {
                Ok(response) => response,
                Err(failure) => self.without_method(failure, &Dialect::OURS, request).await,
            }
        })
        .await
    }

    async fn token(&self, request: Request) -> Response {
        let refuse = async |status, unread, id: &HeaderValue| {
            self.rest.refuse(status, &Dialect::OURS, unread, Some(id)).await
        };
        layers::around(&self.layers, Call::token(), request, refuse, |request| async move {
            let methods = TokenEndpoint::methods(request.uri().path());
            if methods.contains(request.method()) {
                self.tokens.answer(request).await
            } else {
                let failure = Failure::method_not_allowed(methods);
                self.without_method(failure, &Dialect::OURS, request).await
            }
        })
        .await
    }

    /// Answers what leads to no method.
    async fn without_method(
        &self,
        failure: Failure,
        dialect: &Dialect,
        request: Request,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let id = parts.headers.get(layers::REQUEST_ID);
        self.rest.refuse(failure, dialect, Some(body), id).await
    }
}

/// Takes a request to where it belongs.
pub(super) async fn dispatch(State(front): State<Arc<Front>>, request: Request) -> Response {
    let content_type =
        request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if content_type.starts_with(b"application/grpc-web") {
        front.grpc_web(request).await
    } else if content_type.starts_with(b"application/grpc") {
        front.grpc(Protocol::Grpc, request).await
    } else {
        compressed(&front, request).await
    }
}

/// Compression of bodies is HTTP's affair here; gRPC has its own. Requests without any are spared the way
/// through the machinery.
async fn compressed(front: &Front, request: Request) -> Response {
    let compresses = request.headers().contains_key(header::ACCEPT_ENCODING);
    let is_compressed = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding == "gzip" || encoding == "zstd");
    if !is_compressed && !compresses {
        return front.rest(request).await;
    }
    let rest = service_fn(|request: http::Request<_>| async {
        Ok::<_, Infallible>(front.rest(request.map(Body::new)).await)
    });
    let service = Compression::new(RequestDecompression::new(rest))
        .quality(CompressionLevel::Fastest)
        .compress_when(DefaultPredicate::new().and(has_place));
    infallible(service.oneshot(request).await).map(Body::new)
}

/// A compressor takes up to a MiB until its last byte is taken, so that it takes a place among the calls as well. Answers
/// to strangers have none: documents, and what was refused.
fn has_place(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<HoldsNothing>().is_none()
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
