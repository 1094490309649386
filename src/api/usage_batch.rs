//! Batches of asset usage.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    actor::principal,
    client_rates::ClientRates,
    convert::usage_batch as convert,
    metrics::Metrics,
    pb::meterd::v1::{
        GetUsageBatchRequest, GetUsageBatchResponse, ReportUsageBatchRequest,
        ReportUsageBatchResponse, usage_batch_service_server::UsageBatchService,
    },
    rest::OverRest,
    status,
};
use crate::service::{ServiceError, usage_batches::UsageBatches};

/// Serves `meterd.v1.UsageBatchService`.
#[derive(Debug, Clone)]
pub(super) struct UsageBatchHandler {
    pub(super) batches: Arc<UsageBatches>,
    pub(super) rates: Arc<ClientRates>,
    pub(super) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl UsageBatchService for UsageBatchHandler {
    async fn report_usage_batch(
        &self,
        request: Request<ReportUsageBatchRequest>,
    ) -> Result<Response<ReportUsageBatchResponse>, Status> {
        let principal = principal(&request)?;
        let is_over_rest = request.extensions().get::<OverRest>().is_some();
        let ReportUsageBatchRequest { id, asset_usages } = request.into_inner();
        self.rates.charge(&principal.caller, asset_usages.len())?;
        let usages = asset_usages.into_iter().map(convert::usage_from_proto).collect();
        let reported = self.batches.report(&principal.caller, &id, usages).await;
        self.metrics.count_batch(reported.as_ref().copied());
        match reported {
            Ok(recorded) => Ok(Response::new(convert::recorded_to_proto(recorded))),
            // A body has room for all of them.
            Err(ServiceError::InvalidBatch { violations, unknown_assets }) if is_over_rest => {
                Err(status::invalid_batch(violations, unknown_assets, usize::MAX))
            }
            Err(error) => Err(status::from_service(error)),
        }
    }

    async fn get_usage_batch(
        &self,
        request: Request<GetUsageBatchRequest>,
    ) -> Result<Response<GetUsageBatchResponse>, Status> {
        let principal = principal(&request)?;
        let id = request.into_inner().id;
        let stored =
            self.batches.batch(&principal.caller, &id).await.map_err(status::from_service)?;
        Ok(Response::new(convert::batch_to_proto(stored)))
    }
}
