//! Totals of asset usage.

use jiff::{civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{Reports, arguments::page_size, rows};
use crate::{
    domain::{
        asset_usage::{AssetFilter, AssetTotalsQuery, DayRange, UsageDay},
        calendar::{Buckets, Granularity},
        caller::Caller,
        id::{AssetId, ClientId},
        interval::HalfOpenInterval,
        quantity::Total,
        report::{AssetGroup, AssetGrouping, ReportBuilder, RowOrder},
    },
    service::arguments::ids,
    service::{
        FieldViolation, PageRequest, ServiceError, as_of, committer::Admission, page::PageTokens,
    },
    store::{StoreError, UsageStore},
};

/// A filter as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RawAssetFilter {
    /// Should be asset ids.
    pub asset_ids: Vec<String>,
    /// Should be client ids.
    pub client_ids: Vec<String>,
}

/// Asks for totals of asset usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetUsageQuery {
    /// Should be an ISO 8601 interval of dates.
    pub interval: String,
    /// How fine the buckets are; not by the hour, for usage dates have none.
    pub granularity: Granularity,
    /// Which usage.
    pub filter: RawAssetFilter,
    /// Which dimensions to keep apart.
    pub grouping: AssetGrouping,
    /// The order of the rows.
    pub order: RowOrder,
    /// Which page.
    pub page: PageRequest,
}

/// One bucket and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetUsageRow {
    /// The bucket's first day.
    pub start: Date,
    /// The first day after it.
    pub end: Date,
    /// What the row stands for.
    pub group: AssetGroup,
    /// The sums.
    pub total: Total,
}

/// A page of totals of asset usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetUsagePage {
    /// The rows.
    pub rows: Vec<AssetUsageRow>,
    /// How to ask for the next page; empty at the end.
    pub next_page_token: String,
    /// Sum over all pages.
    pub sum: Total,
    /// The moment that the answer is of.
    pub as_of: String,
}

impl Reports {
    /// Adds asset usage up by bucket and group.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub async fn asset_usage(
        &self,
        caller: &Caller,
        query: AssetUsageQuery,
    ) -> Result<AssetUsagePage, ServiceError> {
        let mut violations = Vec::new();
        let divided = divide(&query, &mut violations);
        let RawAssetFilter { asset_ids, client_ids } = &query.filter;
        let filter = AssetFilter {
            assets: ids("filter.asset_ids".into(), asset_ids, AssetId::new, &mut violations),
            clients: ids("filter.client_ids".into(), client_ids, ClientId::new, &mut violations),
        };
        page_size(&query.page, &mut violations);
        let (Some((days, buckets)), true) = (divided, violations.is_empty()) else {
            return Err(ServiceError::InvalidArgument(violations));
        };
        let tokens = PageTokens::new(self.store.token_key(), &fingerprint(caller, &query))?;
        tokens.check(&query.page.page_token)?;
        let totals = AssetTotalsQuery { organization: caller.organization.clone(), days, filter };
        let mut report = ReportBuilder::new(buckets.clone());
        let (grouping, order) = (query.grouping, query.order);
        let read = move |store: &dyn UsageStore| {
            let as_of = store.asset_totals(&totals, &mut |series, day, total| {
                let group = grouping.group_of(series);
                report.add(group, day.first_quarter(), total).map_err(StoreError::from)
            })?;
            let (rows, sum) = report.finish(order);
            Ok((rows, sum, as_of))
        };
        let (rows, sum, as_of) = self.committer.read(caller, Admission::Refuse, read).await?;
        let as_of = as_of::text(&*self.store, &caller.organization, as_of)?;
        let (page, next_page_token) = rows::page(&rows, order, &tokens, &query.page)?;
        let date = |instant: jiff::Timestamp| instant.to_zoned(TimeZone::UTC).date();
        let rows = page.iter().filter_map(|row| {
            let (start, end) = buckets.bounds(row.bucket)?;
            let (start, end) = (date(start), date(end));
            Some(AssetUsageRow { start, end, group: row.group.clone(), total: row.total })
        });
        Ok(AssetUsagePage { rows: rows.collect(), next_page_token, sum, as_of })
    }
}

/// The days of a query, and its buckets.
fn divide(
    query: &AssetUsageQuery,
    violations: &mut Vec<FieldViolation>,
) -> Option<(DayRange, Buckets)> {
    if query.granularity == Granularity::Hour {
        let description = "must not be finer than days: usage dates have no time";
        violations.push(FieldViolation::new("granularity", description));
    }
    let divided = HalfOpenInterval::parse(&query.interval, &TimeZone::UTC)
        .map_err(|error| error.to_string())
        .and_then(|interval| {
            let days = DayRange { start: day(interval.start())?, end: day(interval.end())? };
            let buckets = Buckets::divide(&interval, query.granularity, &TimeZone::UTC)
                .map_err(|error| error.to_string())?;
            Ok((days, buckets))
        });
    divided
        .map_err(|description| violations.push(FieldViolation::new("interval", description)))
        .ok()
}

fn day(instant: jiff::Timestamp) -> Result<UsageDay, String> {
    let zoned = instant.to_zoned(TimeZone::UTC);
    let day = UsageDay::of(zoned.date());
    if day.first_quarter().start() == Some(instant) {
        Ok(day)
    } else {
        Err(format!("{instant} is no date: usage dates have no time"))
    }
}

/// Everything of a query that its pages must have in common.
fn fingerprint<'a>(caller: &'a Caller, query: &'a AssetUsageQuery) -> impl Serialize + 'a {
    let AssetGrouping { asset, client } = query.grouping;
    let granularity = format!("{:?} {:?}", query.granularity, query.order);
    let organization = caller.organization.as_str();
    ("asset usage", organization, &query.interval, granularity, &query.filter, [asset, client])
}
