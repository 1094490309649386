//! Reports and records.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    actor::principal,
    convert::report,
    pb::meterd::v1::{
        ExportUsageRecordsRequest, ExportUsageRecordsResponse, GetUsageRecordRequest,
        GetUsageRecordResponse, ListUsageRecordsRequest, ListUsageRecordsResponse,
        QueryAssetUsageRequest, QueryAssetUsageResponse, QueryProductUsageRequest,
        QueryProductUsageResponse, usage_report_service_server::UsageReportService,
    },
    status,
};
use crate::service::{ServiceError, reports::Reports};

/// Response metadata: the moment up to which an export has everything.
const AS_OF_METADATA: &str = "meterd-as-of";

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

    async fn query_asset_usage(
        &self,
        request: Request<QueryAssetUsageRequest>,
    ) -> Result<Response<QueryAssetUsageResponse>, Status> {
        let principal = principal(&request)?;
        let query =
            report::asset_query_from_proto(request.into_inner()).map_err(status::from_service)?;
        let page = self
            .reports
            .asset_usage(&principal.caller, query)
            .await
            .map_err(status::from_service)?;
        Ok(Response::new(report::asset_page_to_proto(page)))
    }

    type ExportUsageRecordsStream = BoxStream<'static, Result<ExportUsageRecordsResponse, Status>>;

    async fn export_usage_records(
        &self,
        request: Request<ExportUsageRecordsRequest>,
    ) -> Result<Response<Self::ExportUsageRecordsStream>, Status> {
        let principal = principal(&request)?;
        let query = report::export_query_from_proto(request.into_inner());
        let export =
            self.reports.export(&principal.caller, query).await.map_err(status::from_service)?;
        let as_of: MetadataValue<_> = export.as_of().parse().map_err(|_| {
            status::from_service(ServiceError::Internal("an as_of that is no header".into()))
        })?;
        let pages = stream::try_unfold(export, |mut export| async {
            let page = export.next().await.map_err(status::from_service)?;
            Ok::<_, Status>(page.map(|page| (page, export)))
        });
        let records = pages.map_ok(|page| {
            stream::iter(page.into_iter().map(|record| Ok(report::exported_to_proto(&record))))
        });
        let mut response = Response::new(records.try_flatten().boxed());
        response.metadata_mut().insert(AS_OF_METADATA, as_of);
        Ok(response)
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
