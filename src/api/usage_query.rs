//! Questions about API usage.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    actor::principal,
    convert::usage_query as convert,
    pb::meterd::v1::{
        AggregatesJob, CancelJobRequest, ClientAggregatesResult, CreateClientAggregatesJobRequest,
        CreateOrganizationAggregatesJobRequest, DeleteJobRequest, DeleteJobResponse,
        GetClientAggregatesJobRequest, GetClientQueryResultRequest, GetJobRequest,
        GetOrganizationAggregatesJobRequest, GetOrganizationQueryResultRequest,
        GetSimpleSearchResultRequest, Job, OrganizationAggregatesResult, QueryResult,
        StartClientQueryRequest, StartClientSummaryRequest, StartOrganizationQueryRequest,
        StartSimpleSearchRequest, StartedQuery, usage_job_service_server::UsageJobService,
        usage_query_service_server::UsageQueryService,
    },
    status,
};
use crate::{
    auth::{
        AuthError, Principal,
        rpc_permissions::{self, Access},
    },
    domain::caller::Caller,
    service::usage_queries::{JobView, Operation, QueryRequest, RowsPage, UsageQueries},
};

/// Rows of a result that has no pages: as many as a query may have.
const ALL_ROWS: usize = 20_000;

/// Serves `meterd.v1.UsageQueryService` and `meterd.v1.UsageJobService`.
#[derive(Debug, Clone)]
pub(super) struct UsageQueryHandler {
    pub(super) queries: Arc<UsageQueries>,
}

impl UsageQueryHandler {
    /// Starts a query; answers its id.
    async fn start(
        &self,
        caller: &Caller,
        operation: Operation,
        client: Option<&str>,
        request: QueryRequest,
    ) -> Result<String, Status> {
        let started = self.queries.query(caller, operation, client, &request).await;
        started.map_err(status::from_service)
    }

    async fn result(
        &self,
        caller: &Caller,
        operations: &[Operation],
        client: Option<&str>,
        id: &str,
        page: (&str, usize),
    ) -> Result<RowsPage, Status> {
        let (after, size) = page;
        let result = self.queries.result(caller, operations, client, id, after, size).await;
        result.map_err(status::from_service)
    }

    /// A query that the principal may see: it takes one of the permissions that its operation takes.
    fn job(&self, principal: &Principal, id: &str) -> Result<JobView, Status> {
        let job = self.queries.job(&principal.caller, id).map_err(status::from_service)?;
        let path = format!("/meterd.v1.UsageQueryService/{}", job.operation.method());
        match rpc_permissions::find(&path) {
            Some((_, Access::AnyOf(permissions))) if !principal.has_any(permissions) => {
                Err(status::from_auth(AuthError::Forbidden(permissions)))
            }
            _ => Ok(job),
        }
    }
}

#[tonic::async_trait]
impl UsageQueryService for UsageQueryHandler {
    async fn start_organization_query(
        &self,
        request: Request<StartOrganizationQueryRequest>,
    ) -> Result<Response<StartedQuery>, Status> {
        let caller = principal(&request)?.caller;
        let operation = Operation::OrganizationQuery;
        let id = self.start(&caller, operation, None, request.into_inner().into()).await?;
        let results_uri = format!("/api/v2/usage/query/{id}/results");
        Ok(Response::new(StartedQuery { execution_id: id, results_uri }))
    }

    async fn get_organization_query_result(
        &self,
        request: Request<GetOrganizationQueryResultRequest>,
    ) -> Result<Response<QueryResult>, Status> {
        let caller = principal(&request)?.caller;
        let id = request.into_inner().execution_id;
        let operations = [Operation::OrganizationQuery];
        let page = self.result(&caller, &operations, None, &id, ("", ALL_ROWS)).await?;
        Ok(Response::new(convert::query_result(page)))
    }

    async fn start_client_query(
        &self,
        request: Request<StartClientQueryRequest>,
    ) -> Result<Response<StartedQuery>, Status> {
        let caller = principal(&request)?.caller;
        let mut request = request.into_inner();
        let client = std::mem::take(&mut request.client_id);
        let operation = Operation::ClientQuery;
        let id = self.start(&caller, operation, Some(&client), request.into()).await?;
        Ok(Response::new(convert::started_client_query(&client, id)))
    }

    async fn start_client_summary(
        &self,
        request: Request<StartClientSummaryRequest>,
    ) -> Result<Response<StartedQuery>, Status> {
        let caller = principal(&request)?.caller;
        let StartClientSummaryRequest { client_id: client, days } = request.into_inner();
        let request = QueryRequest { days, ..QueryRequest::default() };
        let operation = Operation::ClientSummary;
        let id = self.start(&caller, operation, Some(&client), request).await?;
        Ok(Response::new(convert::started_client_query(&client, id)))
    }

    async fn get_client_query_result(
        &self,
        request: Request<GetClientQueryResultRequest>,
    ) -> Result<Response<QueryResult>, Status> {
        let caller = principal(&request)?.caller;
        let GetClientQueryResultRequest { client_id, execution_id } = request.into_inner();
        let operations = [Operation::ClientQuery, Operation::ClientSummary];
        let client = Some(client_id.as_str());
        let page = self.result(&caller, &operations, client, &execution_id, ("", ALL_ROWS)).await?;
        Ok(Response::new(convert::query_result(page)))
    }

    async fn start_simple_search(
        &self,
        request: Request<StartSimpleSearchRequest>,
    ) -> Result<Response<StartedQuery>, Status> {
        let caller = principal(&request)?.caller;
        let operation = Operation::SimpleSearch;
        let id = self.start(&caller, operation, None, request.into_inner().into()).await?;
        let results_uri = format!("/api/v2/usage/simplesearch/{id}/results");
        Ok(Response::new(StartedQuery { execution_id: id, results_uri }))
    }

    async fn get_simple_search_result(
        &self,
        request: Request<GetSimpleSearchResultRequest>,
    ) -> Result<Response<QueryResult>, Status> {
        let caller = principal(&request)?.caller;
        let GetSimpleSearchResultRequest { execution_id, after, page_size } = request.into_inner();
        let size = convert::page_size(page_size).map_err(status::from_service)?;
        let operations = [Operation::SimpleSearch];
        let page = self.result(&caller, &operations, None, &execution_id, (&after, size)).await?;
        Ok(Response::new(convert::query_result(page)))
    }

    async fn create_organization_aggregates_job(
        &self,
        request: Request<CreateOrganizationAggregatesJobRequest>,
    ) -> Result<Response<AggregatesJob>, Status> {
        let caller = principal(&request)?.caller;
        let operation = Operation::OrganizationJob;
        let id = self.start(&caller, operation, None, request.into_inner().into()).await?;
        let uri = convert::organization_job_uri(&id);
        Ok(Response::new(AggregatesJob { id, results_uri: uri.clone(), self_uri: uri }))
    }

    async fn get_organization_aggregates_job(
        &self,
        request: Request<GetOrganizationAggregatesJobRequest>,
    ) -> Result<Response<OrganizationAggregatesResult>, Status> {
        let caller = principal(&request)?.caller;
        let GetOrganizationAggregatesJobRequest { job_id, page_size, after } = request.into_inner();
        let size = convert::page_size(page_size).map_err(status::from_service)?;
        let operations = [Operation::OrganizationJob];
        let page = self.result(&caller, &operations, None, &job_id, (&after, size)).await?;
        Ok(Response::new(convert::organization_result(&job_id, page_size, page)))
    }

    async fn create_client_aggregates_job(
        &self,
        request: Request<CreateClientAggregatesJobRequest>,
    ) -> Result<Response<AggregatesJob>, Status> {
        let caller = principal(&request)?.caller;
        let mut request = request.into_inner();
        let client = std::mem::take(&mut request.client_id);
        let operation = Operation::ClientJob;
        let id = self.start(&caller, operation, Some(&client), request.into()).await?;
        let uri = convert::client_job_uri(&client, &id);
        Ok(Response::new(AggregatesJob { id, results_uri: uri.clone(), self_uri: uri }))
    }

    async fn get_client_aggregates_job(
        &self,
        request: Request<GetClientAggregatesJobRequest>,
    ) -> Result<Response<ClientAggregatesResult>, Status> {
        let caller = principal(&request)?.caller;
        let GetClientAggregatesJobRequest { client_id, job_id, page_size, after } =
            request.into_inner();
        let size = convert::page_size(page_size).map_err(status::from_service)?;
        let operations = [Operation::ClientJob];
        let client = Some(client_id.as_str());
        let page = self.result(&caller, &operations, client, &job_id, (&after, size)).await?;
        Ok(Response::new(convert::client_result(&client_id, &job_id, page_size, page)))
    }
}

#[tonic::async_trait]
impl UsageJobService for UsageQueryHandler {
    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<Job>, Status> {
        let principal = principal(&request)?;
        let job = self.job(&principal, &request.into_inner().job_id)?;
        Ok(Response::new(convert::job(job)))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<Job>, Status> {
        let principal = principal(&request)?;
        let job = self.job(&principal, &request.into_inner().job_id)?;
        let cancelled = self.queries.cancel(&principal.caller, &job.id).await;
        Ok(Response::new(convert::job(cancelled.map_err(status::from_service)?)))
    }

    async fn delete_job(
        &self,
        request: Request<DeleteJobRequest>,
    ) -> Result<Response<DeleteJobResponse>, Status> {
        let principal = principal(&request)?;
        let job = self.job(&principal, &request.into_inner().job_id)?;
        let deleted = self.queries.delete(&principal.caller, &job.id).await;
        deleted.map_err(status::from_service)?;
        Ok(Response::new(DeleteJobResponse {}))
    }
}
