//! `meterd query`: how much was used, by whom, when.

mod api;
mod assets;
mod rows;

use std::io;

use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    CommandError, CommandResult,
    connection::{Connection, ServerOptions, call_failed},
    filters::FilterOptions,
};
use crate::{
    api::pb::meterd::v1::{
        self as pb, ProductUsageRow, QueryProductUsageRequest,
        usage_report_service_client::UsageReportServiceClient,
    },
    domain::{
        calendar::{self, Buckets},
        interval::HalfOpenInterval,
        limits::PAGE_SIZE_MAX,
    },
    service::clock::{Clock as _, SystemClock},
};

use rows::Page;
pub(super) use rows::{Report, quantity};

/// Days that are asked for where days are the finest and none are named, today included.
const DAYS_DEFAULT: i64 = 30;

/// Add usage up by time and by product, instance, SKU or client
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct QueryCommand {
    #[command(subcommand)]
    other: Option<OtherUsage>,
    #[command(flatten)]
    products: ProductsQuery,
}

#[derive(Debug, Subcommand)]
enum OtherUsage {
    Assets(assets::AssetsQuery),
    // By far the largest.
    Api(Box<api::ApiQuery>),
}

#[derive(Debug, Args)]
struct ProductsQuery {
    /// ISO 8601 interval, such as 2026-11-01/P1M; ends on quarters of an hour [default: the last 24
    /// hours, the current one included]
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<String>,
    /// How fine [default: total, for a chart hour]
    #[arg(long, value_enum)]
    granularity: Option<Granularity>,
    /// IANA time zone for days and for ends without an offset
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// What to keep apart, separated by commas; "none" adds everything up
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["product", "sku"])]
    group_by: Vec<Dimension>,
    /// Order of the rows
    #[arg(long, value_enum, default_value_t)]
    order_by: Order,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: QueryForm,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Granularity {
    Hour,
    Day,
    Week,
    Month,
    Total,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dimension {
    Product,
    Instance,
    Sku,
    Client,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Order {
    /// Earliest first
    #[default]
    Time,
    /// Latest first
    TimeDesc,
    /// Smallest quantity first
    Quantity,
    /// Largest quantity first
    QuantityDesc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum QueryForm {
    #[default]
    Table,
    /// One document; quantities are decimal strings, since they may exceed 64 bits, counts are numbers
    Json,
    /// With a header, for spreadsheets: a cell that could be a formula (=, +, -, @, tab or line break in front) gets a ' in
    /// front. For programs there is JSON
    Csv,
    /// A bar for every bucket
    Chart,
}

impl QueryCommand {
    pub(super) async fn run(self) -> CommandResult {
        match self.other {
            Some(OtherUsage::Assets(query)) => query.run().await,
            Some(OtherUsage::Api(query)) => query.run().await,
            None => self.products.run().await,
        }
    }
}

impl ProductsQuery {
    async fn run(self) -> CommandResult {
        let zone = TimeZone::get(&self.time_zone).map_err(|_| {
            CommandError::usage(format!(
                "--time-zone {:?} is not an IANA time zone",
                self.time_zone
            ))
        })?;
        let interval = match &self.interval {
            Some(text) => HalfOpenInterval::parse(text, &zone)
                .map_err(|error| CommandError::usage(format!("--interval {text:?} {error}")))?,
            None => last_day(SystemClock.now()),
        };
        let granularity = self.granularity.unwrap_or(match self.output {
            QueryForm::Chart => Granularity::Hour,
            QueryForm::Table | QueryForm::Json | QueryForm::Csv => Granularity::Total,
        });
        let buckets = Buckets::divide(&interval, granularity.in_domain(), &zone)
            .map_err(|error| CommandError::usage(format!("--interval: {error}")))?;
        let request = QueryProductUsageRequest {
            interval: interval.to_string(),
            granularity: granularity.to_wire().into(),
            time_zone: self.time_zone.clone(),
            filter: Some(self.filter.to_wire()),
            group_by: self.group_by.iter().filter_map(|one| Some(one.to_wire()?.into())).collect(),
            order_by: self.order_by.to_wire().into(),
            ..QueryProductUsageRequest::default()
        };
        let report = fetch(self.server.connect().await?, request).await?;
        let out = io::stdout().lock();
        match self.output {
            QueryForm::Table => report.write_table(out, &zone),
            QueryForm::Json => report.write_json(out),
            QueryForm::Csv => report.write_csv(out),
            QueryForm::Chart => report.write_chart(out, &buckets, &zone),
        }
    }
}

/// Reads every page of a query.
pub(super) async fn fetch(
    connection: Connection,
    mut request: QueryProductUsageRequest,
) -> CommandResult<Report<ProductUsageRow>> {
    let mut client = UsageReportServiceClient::new(connection);
    request.page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX);
    let dimensions = request.group_by().collect();
    let mut report = Report::new(dimensions, request.granularity(), request.interval.clone());
    loop {
        let page = client
            .query_product_usage(request.clone())
            .await
            .map_err(|error| call_failed(&error))?
            .into_inner();
        request.page_token.clone_from(&page.next_page_token);
        report.add(Page {
            rows: page.rows,
            total_quantity: page.total_quantity,
            total_count: page.total_record_count,
            as_of: page.as_of,
        });
        if request.page_token.is_empty() {
            return Ok(report);
        }
    }
}

/// The 24 hours that end with the current one.
pub(super) fn last_day(now: Timestamp) -> HalfOpenInterval {
    let hour = now.as_second().div_euclid(3600) * 3600;
    let start = Timestamp::from_second(hour).unwrap_or(now);
    let end = start.saturating_add(SignedDuration::from_hours(1)).unwrap_or(now);
    let start = end.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(start);
    HalfOpenInterval::new(start, end).expect("24 hours end after they start")
}

/// The last days in UTC, the current one included.
fn last_days() -> String {
    let today = SystemClock.now().to_zoned(TimeZone::UTC).date();
    let tomorrow = today.tomorrow().unwrap_or(today);
    let first = tomorrow.saturating_sub(SignedDuration::from_hours(24 * DAYS_DEFAULT));
    format!("{first}/{tomorrow}")
}

impl Granularity {
    fn to_wire(self) -> pb::Granularity {
        match self {
            Self::Hour => pb::Granularity::Hour,
            Self::Day => pb::Granularity::Day,
            Self::Week => pb::Granularity::Week,
            Self::Month => pb::Granularity::Month,
            Self::Total => pb::Granularity::Total,
        }
    }

    fn in_domain(self) -> calendar::Granularity {
        match self {
            Self::Hour => calendar::Granularity::Hour,
            Self::Day => calendar::Granularity::Day,
            Self::Week => calendar::Granularity::Week,
            Self::Month => calendar::Granularity::Month,
            Self::Total => calendar::Granularity::Total,
        }
    }
}

impl Dimension {
    fn to_wire(self) -> Option<pb::UsageDimension> {
        match self {
            Self::Product => Some(pb::UsageDimension::Product),
            Self::Instance => Some(pb::UsageDimension::ProductInstance),
            Self::Sku => Some(pb::UsageDimension::Sku),
            Self::Client => Some(pb::UsageDimension::Client),
            Self::None => None,
        }
    }
}

impl Order {
    fn to_wire(self) -> pb::UsageOrder {
        match self {
            Self::Time => pb::UsageOrder::TimeAsc,
            Self::TimeDesc => pb::UsageOrder::TimeDesc,
            Self::Quantity => pb::UsageOrder::QuantityAsc,
            Self::QuantityDesc => pb::UsageOrder::QuantityDesc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_ends_with_the_current_hour() {
        let now = "2026-11-21T13:59:59.9Z".parse().unwrap();
        assert_eq!(last_day(now).to_string(), "2026-11-20T14:00:00Z/2026-11-21T14:00:00Z");
        let now = "2026-11-21T13:00:00Z".parse().unwrap();
        assert_eq!(last_day(now).to_string(), "2026-11-20T14:00:00Z/2026-11-21T14:00:00Z");
    }
}
