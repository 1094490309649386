//! The vendor's unary method.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::{Request, client::Grpc};

use super::{
    super::{
        verdict::{Failure, Malformed, Verdict},
        wire,
        workload::{Message, Plan},
    },
    Transport,
};
use crate::{api::bytes_codec::BytesCodec, cli::connection::Connection};

const METHOD: PathAndQuery = PathAndQuery::from_static(
    "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write",
);
/// Names the uuids of duplicates that say something else.
const CONFLICTS_METADATA: &str = "meterd-duplicate-conflicts";

/// Calls over a connection that others may share.
#[derive(Debug)]
pub(in crate::cli::bench) struct UnaryCalls {
    client: Grpc<Connection>,
    plan: Arc<Plan>,
    /// Bytes of the longest request so far.
    request_bytes: usize,
}

impl UnaryCalls {
    pub(in crate::cli::bench) fn new(connection: Connection, plan: Arc<Plan>) -> Self {
        Self { client: Grpc::new(connection), plan, request_bytes: 0 }
    }
}

impl Transport for UnaryCalls {
    async fn call(
        &mut self,
        message: &Message,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<Result<(), Malformed>, Failure> {
        let mut request = Vec::with_capacity(self.request_bytes);
        wire::write_request(&self.plan, message, &mut request);
        self.request_bytes = self.request_bytes.max(request.len());
        self.client.ready().await.map_err(|error| Failure {
            code: "UNAVAILABLE".to_owned(),
            message: error.to_string(),
            nothing_stored: true,
        })?;
        let request = Request::new(Bytes::from(request));
        let response = self.client.unary(request, METHOD, BytesCodec).await?;
        let conflicts = response.metadata().contains_key(CONFLICTS_METADATA);
        let read = wire::read_write_response(response.get_ref(), message, verdicts);
        if conflicts {
            note_conflicts(verdicts);
        }
        Ok(read)
    }
}

/// What the bench repeats, it repeats unchanged: one conflict is too many, whichever record it is.
pub(super) fn note_conflicts(verdicts: &mut [Verdict]) {
    for verdict in verdicts {
        if *verdict == Verdict::Identical {
            *verdict = Verdict::Conflicting;
        }
    }
}
