//! The vendor's three write methods.

use std::sync::Arc;

use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    actor::principal,
    client_rates::ClientRates,
    convert::product_usage::Verdicts,
    metrics::Metrics,
    pb::yandex::cloud::marketplace::{
        metering::v1::{
            WriteImageProductUsageRequest, WriteImageProductUsageResponse, WriteUsageRequest,
            WriteUsageResponse, image_product_usage_service_server::ImageProductUsageService,
            product_usage_service_server::ProductUsageService,
        },
        v1::metering as older,
    },
    status,
};
use crate::{
    auth::Principal,
    domain::limits::WRITE_RECORDS_MAX,
    service::{
        committer::Admission,
        product_usage::{ProductUsage, UsageReport},
    },
};

/// Lists the uuids of duplicates that say something else than what was first accepted under them.
const CONFLICTS_METADATA: &str = "meterd-duplicate-conflicts";

/// Serves all three.
#[derive(Debug, Clone)]
pub(super) struct ProductUsageHandler {
    pub(super) usage: Arc<ProductUsage>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rates: Arc<ClientRates>,
}

impl ProductUsageHandler {
    async fn write(&self, principal: &Principal, report: UsageReport) -> Result<Verdicts, Status> {
        self.rates.charge(&principal.caller, report.records.len())?;
        let written =
            self.usage.write(&principal.caller, report, WRITE_RECORDS_MAX, Admission::Refuse).await;
        let judged = written.map_err(status::from_service)?;
        self.metrics.count_records(&judged.verdicts);
        Ok(Verdicts::new(judged))
    }
}

fn respond<T: From<Verdicts>>(verdicts: Verdicts) -> Response<T> {
    let conflicts = verdicts.conflicts.join(",");
    let mut response = Response::new(T::from(verdicts));
    // They are UUIDs, or they could not be duplicates: always valid in a header.
    if !conflicts.is_empty()
        && let Ok(value) = MetadataValue::try_from(conflicts)
    {
        response.metadata_mut().insert(CONFLICTS_METADATA, value);
    }
    response
}

#[tonic::async_trait]
impl ImageProductUsageService for ProductUsageHandler {
    async fn write(
        &self,
        request: Request<WriteImageProductUsageRequest>,
    ) -> Result<Response<WriteImageProductUsageResponse>, Status> {
        let principal = principal(&request)?;
        self.write(&principal, request.into_inner().into()).await.map(respond)
    }
}

#[tonic::async_trait]
impl ProductUsageService for ProductUsageHandler {
    async fn write(
        &self,
        request: Request<WriteUsageRequest>,
    ) -> Result<Response<WriteUsageResponse>, Status> {
        let principal = principal(&request)?;
        self.write(&principal, request.into_inner().into()).await.map(respond)
    }
}

#[tonic::async_trait]
impl older::image_product_usage_service_server::ImageProductUsageService for ProductUsageHandler {
    async fn write(
        &self,
        request: Request<older::WriteImageProductUsageRequest>,
    ) -> Result<Response<older::WriteImageProductUsageResponse>, Status> {
        let principal = principal(&request)?;
        self.write(&principal, request.into_inner().into()).await.map(respond)
    }
}
