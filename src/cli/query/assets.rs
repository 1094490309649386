//! `meterd query assets`.

use std::io;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use super::{Granularity, Order, Page, QueryForm, Report};
use crate::{
    api::pb::meterd::v1::{
        AssetUsageDimension, AssetUsageFilter, AssetUsageRow, QueryAssetUsageRequest,
        usage_report_service_client::UsageReportServiceClient,
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, ServerOptions, call_failed},
    },
    domain::{calendar::Buckets, interval::HalfOpenInterval, limits::PAGE_SIZE_MAX},
};

/// Add asset usage up by day, week or month and by asset or client
#[derive(Debug, Args)]
pub(super) struct AssetsQuery {
    /// ISO 8601 interval of dates, such as 2026-11-01/P1M [default: the last 30 days, today included]
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<String>,
    /// How fine, not finer than days [default: total, for a chart day]
    #[arg(long, value_enum)]
    granularity: Option<Granularity>,
    /// What to keep apart, separated by commas; "none" adds everything up
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["asset"])]
    group_by: Vec<Dimension>,
    /// Order of the rows
    #[arg(long, value_enum, default_value_t)]
    order_by: Order,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: QueryForm,
    /// Only this asset (repeatable)
    #[arg(long, value_name = "ID")]
    asset: Vec<String>,
    /// Only usage reported by this client (repeatable)
    #[arg(long, value_name = "ID")]
    client: Vec<String>,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dimension {
    Asset,
    Client,
    None,
}

impl Dimension {
    fn to_wire(self) -> Option<AssetUsageDimension> {
        match self {
            Self::Asset => Some(AssetUsageDimension::Asset),
            Self::Client => Some(AssetUsageDimension::Client),
            Self::None => None,
        }
    }
}

impl AssetsQuery {
    pub(super) async fn run(self) -> CommandResult {
        let interval = self.interval.clone().unwrap_or_else(super::last_days);
        let granularity = self.granularity.unwrap_or(match self.output {
            QueryForm::Chart => Granularity::Day,
            QueryForm::Table | QueryForm::Json | QueryForm::Csv => Granularity::Total,
        });
        let wrong =
            |error: String| CommandError::usage(format!("--interval {interval:?}: {error}"));
        let parsed = HalfOpenInterval::parse(&interval, &TimeZone::UTC)
            .map_err(|error| wrong(error.to_string()))?;
        let buckets = Buckets::divide(&parsed, granularity.in_domain(), &TimeZone::UTC)
            .map_err(|error| wrong(error.to_string()))?;
        let request = QueryAssetUsageRequest {
            interval: interval.clone(),
            granularity: granularity.to_wire().into(),
            filter: Some(AssetUsageFilter { asset_ids: self.asset, client_ids: self.client }),
            group_by: self.group_by.iter().filter_map(|one| Some(one.to_wire()?.into())).collect(),
            order_by: self.order_by.to_wire().into(),
            ..QueryAssetUsageRequest::default()
        };
        let report = fetch(self.server.connect().await?, request).await?;
        let out = io::stdout().lock();
        match self.output {
            QueryForm::Table => report.write_table(out, &TimeZone::UTC),
            QueryForm::Json => report.write_json(out),
            QueryForm::Csv => report.write_csv(out),
            QueryForm::Chart => report.write_chart(out, &buckets, &TimeZone::UTC),
        }
    }
}

/// Reads every page of a query.
async fn fetch(
    connection: Connection,
    mut request: QueryAssetUsageRequest,
) -> CommandResult<Report<AssetUsageRow>> {
    let mut client = UsageReportServiceClient::new(connection);
    request.page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX);
    let dimensions = request.group_by().collect();
    let mut report = Report::new(dimensions, request.granularity(), request.interval.clone());
    loop {
        let page = client
            .query_asset_usage(request.clone())
            .await
            .map_err(|error| call_failed(&error))?
            .into_inner();
        request.page_token = page.next_page_token;
        report.add(Page {
            rows: page.rows,
            total_quantity: page.total_quantity,
            total_count: page.total_usage_count,
            as_of: page.as_of,
        });
        if request.page_token.is_empty() {
            return Ok(report);
        }
    }
}
