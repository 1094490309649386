//! Usage queries and their rows, in the vendor's words.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    api::pb::meterd::v1 as pb,
    domain::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX},
    service::{
        ServiceError,
        usage_queries::{Failure, JobState, JobView, Metric, QueryRequest, QueryRow, RowsPage},
    },
};

use super::time;

/// What a path segment or a query value may hold as it is (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

impl From<pb::StartOrganizationQueryRequest> for QueryRequest {
    fn from(request: pb::StartOrganizationQueryRequest) -> Self {
        let pb::StartOrganizationQueryRequest { interval, granularity, metrics, group_by } =
            request;
        Self { interval, granularity, metrics, group_by, ..Self::default() }
    }
}

impl From<pb::StartClientQueryRequest> for QueryRequest {
    fn from(request: pb::StartClientQueryRequest) -> Self {
        let pb::StartClientQueryRequest { client_id: _, interval, granularity, metrics, group_by } =
            request;
        Self { interval, granularity, metrics, group_by, ..Self::default() }
    }
}

impl From<pb::StartSimpleSearchRequest> for QueryRequest {
    fn from(request: pb::StartSimpleSearchRequest) -> Self {
        let pb::StartSimpleSearchRequest {
            interval,
            metrics,
            oauth_client_names,
            http_methods,
            template_uris,
        } = request;
        Self {
            interval,
            metrics,
            client_names: oauth_client_names,
            http_methods,
            template_uris,
            ..Self::default()
        }
    }
}

impl From<pb::CreateOrganizationAggregatesJobRequest> for QueryRequest {
    fn from(request: pb::CreateOrganizationAggregatesJobRequest) -> Self {
        Self {
            interval: request.interval,
            granularity: request.granularity,
            metrics: request.metrics,
            group_by: request.group_by,
            sort_by: sort_by(request.sort_by),
            client_ids: request.oauth_client_ids,
            user_ids: request.user_ids,
            http_methods: request.http_methods,
            template_uris: request.template_uris,
            platforms: request.platforms,
            ..Self::default()
        }
    }
}

impl From<pb::CreateClientAggregatesJobRequest> for QueryRequest {
    fn from(request: pb::CreateClientAggregatesJobRequest) -> Self {
        Self {
            interval: request.interval,
            granularity: request.granularity,
            metrics: request.metrics,
            group_by: request.group_by,
            sort_by: sort_by(request.sort_by),
            http_methods: request.http_methods,
            template_uris: request.template_uris,
            platforms: request.platforms,
            organization_ids: request.organization_ids,
            ..Self::default()
        }
    }
}

fn sort_by(fields: Vec<pb::UsageQuerySortBy>) -> Vec<(String, String)> {
    fields.into_iter().map(|field| (field.field_name, field.order)).collect()
}

/// The size of a page as the vendor's operations have it.
pub(in crate::api) fn page_size(size: i32) -> Result<usize, ServiceError> {
    match usize::try_from(size) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
        _ => Err(ServiceError::invalid(
            "page_size",
            format!("must be between 1 and {PAGE_SIZE_MAX}"),
        )),
    }
}

/// A query about a client was started.
pub(in crate::api) fn started_client_query(client: &str, id: String) -> pb::StartedQuery {
    let client = escaped(client);
    let results_uri = format!("/api/v2/oauth/clients/{client}/usage/query/results/{id}");
    pb::StartedQuery { execution_id: id, results_uri }
}

/// Where a job of the organization is.
pub(in crate::api) fn organization_job_uri(id: &str) -> String {
    format!("/api/v2/usage/aggregates/query/jobs/{id}")
}

/// Where a job about a client is.
pub(in crate::api) fn client_job_uri(client: &str, id: &str) -> String {
    format!("/api/v2/usage/client/{}/aggregates/query/jobs/{id}", escaped(client))
}

fn next_uri(uri: &str, page_size: i32, cursor: &str) -> String {
    let after = escaped(cursor);
    match page_size {
        0 => format!("{uri}?after={after}"),
        size => format!("{uri}?pageSize={size}&after={after}"),
    }
}

/// The older operations know three states.
pub(in crate::api) fn query_result(page: RowsPage) -> pb::QueryResult {
    let (query_status, failure) = match page.state {
        JobState::Queued | JobState::Running => ("Running", None),
        JobState::Succeeded { .. } => ("Complete", None),
        JobState::Failed(failure) => ("Failed", Some(failure.to_string())),
        JobState::Cancelled => ("Failed", Some("the query was cancelled".to_owned())),
    };
    pb::QueryResult {
        results: page.rows.into_iter().map(usage_row).collect(),
        query_status: query_status.to_owned(),
        cursors: page.next.map(|after| pb::Cursors { before: None, after: Some(after) }),
        failure,
    }
}

fn usage_row(row: QueryRow) -> pb::UsageRow {
    let count = |metric| count(&row, metric);
    pb::UsageRow {
        status200: count(Metric::Status200),
        status300: count(Metric::Status300),
        status400: count(Metric::Status400),
        status500: count(Metric::Status500),
        status429: count(Metric::Status429),
        requests: count(Metric::Requests),
        counts_saturated: counts_saturated(&row),
        date: row.date.map(|date| format!("{date}T00:00:00.000Z")),
        client_id: row.client_id,
        client_name: row.client_name,
        organization_id: row.organization,
        user_id: row.user,
        template_uri: row.template_uri,
        http_method: row.http_method,
    }
}

/// Largest count that is told: the largest whole number that every reader of JSON holds exactly, and the same over gRPC.
const COUNT_MAX: i64 = (1 << 53) - 1;

fn count(row: &QueryRow, metric: Metric) -> Option<i64> {
    row.count(metric).map(|count| i64::try_from(count).unwrap_or(COUNT_MAX).min(COUNT_MAX))
}

/// Says if a count is told as less than it is.
fn counts_saturated(row: &QueryRow) -> Option<bool> {
    let is_larger = |(_, count): &(Metric, u128)| *count > u128::from(COUNT_MAX.unsigned_abs());
    row.counts.iter().any(is_larger).then_some(true)
}

/// The state of a job in the vendor's words, and why it failed.
fn job_status(state: &JobState) -> (String, Option<pb::ErrorBody>) {
    let (status, failure) = match state {
        JobState::Queued => ("Queued", None),
        JobState::Running => ("Running", None),
        JobState::Succeeded { .. } => ("Succeeded", None),
        JobState::Failed(failure) => ("Failed", Some(failure)),
        JobState::Cancelled => ("Cancelled", None),
    };
    let error_body = failure.map(|failure| {
        let (code, status) = match failure {
            Failure::OfRequest(_) => ("bad.request", 400),
            Failure::Unavailable(_) => ("service.unavailable", 503),
            Failure::OfServer => ("internal.server.error", 500),
        };
        pb::ErrorBody { message: failure.to_string(), code: code.to_owned(), status }
    });
    (status.to_owned(), error_body)
}

pub(in crate::api) fn organization_result(
    id: &str,
    page_size: i32,
    page: RowsPage,
) -> pb::OrganizationAggregatesResult {
    let self_uri = organization_job_uri(id);
    let (query_status, error_body) = job_status(&page.state);
    pb::OrganizationAggregatesResult {
        query_status,
        error_body,
        next_uri: page.next.map(|cursor| next_uri(&self_uri, page_size, &cursor)),
        entities: page.rows.into_iter().map(organization_usage).collect(),
        self_uri,
    }
}

fn organization_usage(row: QueryRow) -> pb::OrganizationUsage {
    let count = |metric| count(&row, metric);
    let client = (row.client_id.is_some() || row.client_name.is_some()).then(|| pb::UsageClient {
        self_uri: row
            .client_id
            .as_deref()
            .map(|id| format!("/api/v2/oauth/clients/{}", escaped(id))),
        id: row.client_id.clone(),
        name: row.client_name.clone(),
    });
    let user = row.user.as_deref().filter(|user| !user.is_empty()).map(|user| pb::UsageUser {
        id: user.to_owned(),
        self_uri: format!("/api/v2/users/{}", escaped(user)),
    });
    pb::OrganizationUsage {
        date: row.date.map(|date| date.to_string()).unwrap_or_default(),
        request_count: count(Metric::Requests),
        status200: count(Metric::Status200),
        status300: count(Metric::Status300),
        status400: count(Metric::Status400),
        status429: count(Metric::Status429),
        status500: count(Metric::Status500),
        counts_saturated: counts_saturated(&row),
        oauth_client: client,
        user,
        platform: row.platform,
        http_method: row.http_method,
        template_uri: row.template_uri,
    }
}

pub(in crate::api) fn client_result(
    client: &str,
    id: &str,
    page_size: i32,
    page: RowsPage,
) -> pb::ClientAggregatesResult {
    let self_uri = client_job_uri(client, id);
    let (query_status, error_body) = job_status(&page.state);
    pb::ClientAggregatesResult {
        query_status,
        error_body,
        next_uri: page.next.map(|cursor| next_uri(&self_uri, page_size, &cursor)),
        entities: page.rows.into_iter().map(client_usage).collect(),
        self_uri,
    }
}

fn client_usage(row: QueryRow) -> pb::ClientUsage {
    let count = |metric| count(&row, metric);
    pb::ClientUsage {
        date: row.date.map(|date| date.to_string()).unwrap_or_default(),
        request_count: count(Metric::Requests),
        status200: count(Metric::Status200),
        status300: count(Metric::Status300),
        status400: count(Metric::Status400),
        status429: count(Metric::Status429),
        status500: count(Metric::Status500),
        counts_saturated: counts_saturated(&row),
        organization_id: row.organization,
        platform: row.platform,
        http_method: row.http_method,
        template_uri: row.template_uri,
    }
}

/// How far a query has come.
pub(in crate::api) fn job(view: JobView) -> pb::Job {
    let (state, failure) = match view.state {
        JobState::Queued => (pb::JobState::Queued, String::new()),
        JobState::Running => (pb::JobState::Running, String::new()),
        JobState::Succeeded { .. } => (pb::JobState::Succeeded, String::new()),
        JobState::Failed(failure) => (pb::JobState::Failed, failure.to_string()),
        JobState::Cancelled => (pb::JobState::Cancelled, String::new()),
    };
    pb::Job {
        id: view.id,
        operation: view.operation.method().to_owned(),
        state: state.into(),
        totals_read: view.totals_read,
        rows_written: view.rows_written,
        create_time: Some(time::to_proto(view.created)),
        finish_time: view.finished.map(time::to_proto),
        expire_time: view.expires.map(time::to_proto),
        failure,
    }
}
