//! The usage stream: many messages under way at once, answered in their order.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{
    convert::product_usage::{from_stream, to_stream},
    metrics::Metrics,
    pb::meterd::v1::{
        StreamProductUsageRequest, StreamProductUsageResponse,
        usage_ingest_service_server::UsageIngestService,
    },
    router::principal,
    status,
};
use crate::{
    auth::Principal,
    domain::limits::STREAM_RECORDS_MAX,
    service::{committer::Admission, product_usage::ProductUsage},
};

/// Serves `meterd.v1.UsageIngestService`.
#[derive(Debug, Clone)]
pub(super) struct UsageStreamHandler {
    pub(super) usage: Arc<ProductUsage>,
    pub(super) metrics: Arc<Metrics>,
    /// Messages of one stream that may be under way.
    pub(super) messages_in_flight_max: usize,
}

impl UsageStreamHandler {
    /// Stores one message. Runs as a task of its own: a caller that hangs up does not stop it.
    async fn answer(
        self,
        principal: Principal,
        message: StreamProductUsageRequest,
    ) -> Result<StreamProductUsageResponse, Status> {
        let sequence = message.sequence;
        let reported = from_stream(message).map_err(|error| status::in_message(sequence, error))?;
        let written = self
            .usage
            .write(&principal.caller, reported.report, STREAM_RECORDS_MAX, Admission::Wait)
            .await;
        let verdicts = written.map_err(|error| status::in_message(sequence, error))?;
        self.metrics.count_records(&verdicts);
        Ok(to_stream(sequence, reported.uuids, &verdicts))
    }
}

#[tonic::async_trait]
impl UsageIngestService for UsageStreamHandler {
    type StreamProductUsageStream =
        Pin<Box<dyn Stream<Item = Result<StreamProductUsageResponse, Status>> + Send + 'static>>;

    async fn stream_product_usage(
        &self,
        request: Request<Streaming<StreamProductUsageRequest>>,
    ) -> Result<Response<Self::StreamProductUsageStream>, Status> {
        let principal = principal(&request)?;
        let handler = self.clone();
        let messages = request.into_inner();
        let answers = messages
            .map(move |message| {
                let task = message.map(|message| {
                    let answer = handler.clone().answer(principal.clone(), message);
                    tokio::spawn(answer.in_current_span())
                });
                async move {
                    match task?.await {
                        Ok(answer) => answer,
                        Err(_) => Err(Status::internal("internal error")),
                    }
                }
            })
            // Reads ahead this far and no further: that is the back-pressure.
            .buffered(self.messages_in_flight_max.max(1));
        Ok(Response::new(Box::pin(answers)))
    }
}
