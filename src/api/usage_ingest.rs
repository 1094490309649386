//! Reporting usage in volume.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    actor::principal,
    client_rates::ClientRates,
    convert::api_usage as convert,
    metrics::Metrics,
    pb::meterd::v1::{
        RecordApiUsageRequest, RecordApiUsageResponse, StreamProductUsageRequest,
        StreamProductUsageResponse, usage_ingest_service_server::UsageIngestService,
    },
    status,
    usage_stream::UsageStream,
};
use crate::service::api_usage::ApiUsage;

/// Serves `meterd.v1.UsageIngestService`.
#[derive(Debug, Clone)]
pub(super) struct UsageIngestHandler {
    pub(super) stream: UsageStream,
    pub(super) api_usage: Arc<ApiUsage>,
    pub(super) rates: Arc<ClientRates>,
    pub(super) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl UsageIngestService for UsageIngestHandler {
    type StreamProductUsageStream =
        Pin<Box<dyn Stream<Item = Result<StreamProductUsageResponse, Status>> + Send + 'static>>;

    async fn stream_product_usage(
        &self,
        request: Request<Streaming<StreamProductUsageRequest>>,
    ) -> Result<Response<Self::StreamProductUsageStream>, Status> {
        let principal = principal(&request)?;
        let answers = self.stream.clone().answers(principal, request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn record_api_usage(
        &self,
        request: Request<RecordApiUsageRequest>,
    ) -> Result<Response<RecordApiUsageResponse>, Status> {
        let principal = principal(&request)?;
        let events = request.into_inner().events;
        self.rates.charge(&principal.caller, events.len())?;
        let uuids: Vec<String> = events.iter().map(|event| event.uuid.clone()).collect();
        let events = events.into_iter().map(convert::event_from_proto).collect();
        let recorded = self.api_usage.record(&principal.caller, events).await;
        let verdicts = recorded.map_err(status::from_service)?;
        self.metrics.count_events(&verdicts);
        Ok(Response::new(convert::verdicts_to_proto(uuids, &verdicts)))
    }
}
