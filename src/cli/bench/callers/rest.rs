//! The vendor's method over HTTP/1.1 and JSON. A connection carries one call at a time, so there are as many
//! connections as calls under way; they are kept alive.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;

use super::{
    super::{
        verdict::{Failure, Malformed, Verdict},
        wire,
        workload::{Message, Plan},
    },
    Transport,
    unary::note_conflicts,
};
use crate::https::HttpsClient;

pub(in crate::cli::bench) const PATH: &str = "/marketplace/metering/v1/imageProductUsage/write";
const CONFLICTS_HEADER: &str = "meterd-duplicate-conflicts";

/// Calls over connections of its own.
#[derive(Debug)]
pub(in crate::cli::bench) struct RestCalls {
    client: HttpsClient,
    uri: Uri,
    headers: HeaderMap,
    plan: Arc<Plan>,
    request_bytes: usize,
}

impl RestCalls {
    /// `credentials` are the headers that say who calls.
    pub(in crate::cli::bench) fn new(
        client: HttpsClient,
        uri: Uri,
        credentials: HeaderMap,
        plan: Arc<Plan>,
    ) -> Self {
        let mut headers = credentials;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { client, uri, headers, plan, request_bytes: 0 }
    }
}

impl Transport for RestCalls {
    async fn call(
        &mut self,
        message: &Message,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<Result<(), Malformed>, Failure> {
        let mut body = Vec::with_capacity(self.request_bytes);
        wire::json_request(&self.plan, message, &mut body);
        self.request_bytes = self.request_bytes.max(body.len());
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self.client.exchange(request).await.map_err(|error| Failure {
            code: "UNAVAILABLE".to_owned(),
            message: error.to_string(),
            nothing_stored: false,
        })?;
        if response.status() != StatusCode::OK {
            return Err(failure(response.status(), response.body()));
        }
        let read = wire::read_json_response(response.body(), message, verdicts);
        if response.headers().contains_key(CONFLICTS_HEADER) {
            note_conflicts(verdicts);
        }
        Ok(read)
    }
}

/// The part of `google.rpc.Status` that is told.
#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: i32,
    #[serde(default)]
    message: String,
}

fn failure(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) if error.code != 0 => tonic::Status::new(error.code.into(), error.message).into(),
        _ => Failure {
            code: format!("HTTP {}", status.as_u16()),
            message: status.canonical_reason().unwrap_or_default().to_owned(),
            nothing_stored: false,
        },
    }
}
