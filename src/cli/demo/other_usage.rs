//! The other kinds of usage: a batch of assets, and the demo's own calls as the server has counted them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::tally::Tally;
use crate::{
    api::pb::meterd::v1::{
        ApplyAssetsRequest, Asset, AssetUsage, CreateOrganizationAggregatesJobRequest,
        GetOrganizationAggregatesJobRequest, OrganizationUsage, ReportUsageBatchRequest,
        UsageQuerySortBy, catalog_service_client::CatalogServiceClient,
        usage_batch_service_client::UsageBatchServiceClient,
        usage_query_service_client::UsageQueryServiceClient,
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, call_failed},
        output::{grouped, table},
        report_batch::says_the_same,
    },
};

const ASSETS: [&str; 3] = ["skyline-4k", "forest-loop", "city-rain"];

/// The three methods through which single calls write, as they are counted.
const WRITES: [&str; 3] = [
    "/marketplace/metering/v1/imageProductUsage/write",
    "/marketplace/metering/v1/productUsage/write",
    "/marketplace/v1/metering/imageProductUsage/write",
];

/// Between one look at a job and the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Reports a batch twice; answers what is to be said about it.
pub(super) async fn batch(connection: Connection, now: Timestamp) -> CommandResult<String> {
    let assets = ASSETS.map(|id| Asset { id: id.to_owned(), ..Asset::default() });
    CatalogServiceClient::new(connection.clone())
        .apply_assets(ApplyAssetsRequest { assets: assets.into(), ..ApplyAssetsRequest::default() })
        .await
        .map_err(|error| call_failed(&error))?;
    let usage = |(quantity, asset): (i32, &str)| AssetUsage {
        asset_id: asset.to_owned(),
        quantity,
        usage_date: now.strftime("%Y-%m-%d").to_string(),
    };
    let request = ReportUsageBatchRequest {
        id: "demo-batch".to_owned(),
        asset_usages: (1..).zip(ASSETS).map(usage).collect(),
    };
    let mut client = UsageBatchServiceClient::new(connection);
    let first = client.report_usage_batch(request.clone()).await;
    let recorded = first.map_err(|error| call_failed(&error))?.into_inner();
    let again = client.report_usage_batch(request).await;
    if !again.as_ref().is_err_and(says_the_same) {
        return Err(CommandError::failed("a batch that was sent again was not told apart"));
    }
    Ok(format!(
        "Reported a batch of {} asset usages; sent again, it is told to have been recorded before\n",
        recorded.total_asset_usages_processed
    ))
}

/// What the server counted of the calls that it answered, which must be those that were made.
pub(super) async fn own_calls(
    connection: Connection,
    now: Timestamp,
    tally: &mut Tally,
) -> CommandResult<String> {
    let rows = api_usage(connection, now).await?;
    let mut table =
        table::table(&["api", "method", "calls", "2xx", "4xx"], &["calls", "2xx", "4xx"]);
    let count = |count: Option<i64>| u64::try_from(count.unwrap_or_default()).unwrap_or_default();
    let mut writes = 0;
    for row in &rows {
        let template = row.template_uri.clone().unwrap_or_default();
        if WRITES.contains(&template.as_str()) {
            writes += count(row.request_count);
        }
        table.add_row([
            template,
            row.http_method.clone().unwrap_or_default(),
            grouped(count(row.request_count)),
            grouped(count(row.status200)),
            grouped(count(row.status400)),
        ]);
    }
    let made = tally.calls.len() as u64;
    if writes != made {
        tally.differ(format!("{made} calls of the write methods, the server counted {writes}"));
    }
    Ok(format!("What the server counted of its own calls\n{}", table::render(&table)))
}

/// Asks as the vendor's clients do: a job, and then its rows.
async fn api_usage(
    connection: Connection,
    now: Timestamp,
) -> CommandResult<Vec<OrganizationUsage>> {
    let yesterday = now - SignedDuration::from_hours(24);
    let request = CreateOrganizationAggregatesJobRequest {
        interval: format!("{yesterday}/{now}"),
        granularity: "Month".to_owned(),
        metrics: ["Requests", "Status200", "Status400"].map(str::to_owned).into(),
        group_by: ["TemplateUri", "HttpMethod"].map(str::to_owned).into(),
        sort_by: vec![UsageQuerySortBy {
            field_name: "Requests".to_owned(),
            order: "Desc".to_owned(),
        }],
        ..CreateOrganizationAggregatesJobRequest::default()
    };
    let mut client = UsageQueryServiceClient::new(connection);
    let job = client.create_organization_aggregates_job(request).await;
    let job_id = job.map_err(|error| call_failed(&error))?.into_inner().id;
    loop {
        let request = GetOrganizationAggregatesJobRequest {
            job_id: job_id.clone(),
            page_size: 1000,
            after: String::new(),
        };
        let result = client.get_organization_aggregates_job(request).await;
        let result = result.map_err(|error| call_failed(&error))?.into_inner();
        match result.query_status.as_str() {
            "Queued" | "Running" => sleep(PAUSE).await,
            "Succeeded" => return Ok(result.entities),
            other => return Err(CommandError::failed(format!("the usage query: {other}"))),
        }
    }
}
