//! Reports and records.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    actor::principal,
    convert::report,
    pb::meterd::v1::{
        GetUsageRecordRequest, GetUsageRecordResponse, ListUsageRecordsRequest,
        ListUsageRecordsResponse, QueryProductUsageRequest, QueryProductUsageResponse,
        usage_report_service_server::UsageReportService,
    },
    status,
};
use crate::service::reports::Reports;

/// Serves `meterd.v1.UsageReportService`.
#[derive(Debug, Clone)]
pub(super) struct UsageReportHandler {
    pub(super) reports: Arc<Reports>,
}

#[tonic::async_trait]
impl UsageReportService for UsageReportHandler {
    async fn query_product_usage(
        &self,
        request: Request<QueryProductUsageRequest>,
    ) -> Result<Response<QueryProductUsageResponse>, Status> {
        let principal = principal(&request)?;
        let query = report::query_from_proto(request.into_inner()).map_err(status::from_service)?;
        let page = self
            .reports
            .product_usage(&principal.caller, query)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(report::page_to_proto(page)))
    }

    async fn list_usage_records(
        &self,
        request: Request<ListUsageRecordsRequest>,
    ) -> Result<Response<ListUsageRecordsResponse>, Status> {
        let principal = principal(&request)?;
        let query = report::records_query_from_proto(request.into_inner());
        let page =
            self.reports.records(&principal.caller, query).await.map_err(status::from_service)?;
        Ok(Response::new(report::records_to_proto(page)))
    }

    async fn get_usage_record(
        &self,
        request: Request<GetUsageRecordRequest>,
    ) -> Result<Response<GetUsageRecordResponse>, Status> {
        let principal = principal(&request)?;
        let uuid = request.into_inner().uuid;
        let stored =
            self.reports.record(&principal.caller, &uuid).await.map_err(status::from_service)?;
        Ok(Response::new(GetUsageRecordResponse { record: Some(report::record_to_proto(&stored)) }))
    }
}
