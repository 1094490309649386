//! Calling a method in process, bytes in and bytes out, through the same routes that serve gRPC.

use axum::Router;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, header, uri::PathAndQuery};
use tonic::{Request, Response, Status, Streaming, client::Grpc, metadata::MetadataMap};

use crate::api::bytes_codec::BytesCodec;

/// Headers that speak of the HTTP request, not of the call.
const OF_THE_REQUEST: [HeaderName; 11] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
];

/// The routes, as a client sees them.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    routes: Router,
    message_bytes_max: usize,
}

impl Calls {
    pub(super) fn new(routes: Router, message_bytes_max: usize) -> Self {
        Self { routes, message_bytes_max }
    }

    /// One message, one answer.
    pub(super) async fn unary(
        &self,
        path: PathAndQuery,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        self.client().await?.unary(request, path, BytesCodec).await
    }

    /// One message, a stream of answers.
    pub(super) async fn server_streaming(
        &self,
        path: PathAndQuery,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.client().await?.server_streaming(request, path, BytesCodec).await
    }

    async fn client(&self) -> Result<Grpc<Router>, Status> {
        let mut client = Grpc::new(self.routes.clone())
            .max_encoding_message_size(self.message_bytes_max)
            .max_decoding_message_size(self.message_bytes_max);
        match client.ready().await {
            Ok(()) => Ok(client),
            Err(never) => match never {},
        }
    }
}

/// In the extensions of a call: its answer will be a body of JSON, and its error, too.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct OverRest;

/// A call with what the HTTP request says of it: metadata from its headers, and what the layers have
/// found out.
pub(super) fn request(
    message: Bytes,
    mut headers: HeaderMap,
    mut known: Extensions,
) -> Request<Bytes> {
    known.insert(OverRest);
    for name in OF_THE_REQUEST {
        headers.remove(name);
    }
    Request::from_parts(MetadataMap::from_headers(headers), known, message)
}
