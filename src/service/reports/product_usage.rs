//! Totals of product usage.

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    RawFilter, Reports,
    arguments::{page_size, time_zone, usage_filter},
    rows,
};
use crate::{
    domain::{
        calendar::{Buckets, Granularity},
        caller::Caller,
        interval::HalfOpenInterval,
        quantity::Total,
        report::{Group, Grouping, ReportBuilder, ReportRow, RowOrder},
        totals::{TotalsQuery, UsageFilter},
        usage::LogSequence,
    },
    service::{
        FieldViolation, PageRequest, ServiceError, as_of, committer::Admission, page::PageTokens,
    },
    store::{StoreError, UsageStore},
};

/// Asks for totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductUsageQuery {
    /// Should be an ISO 8601 interval.
    pub interval: String,
    /// How fine the buckets are.
    pub granularity: Granularity,
    /// Should be an IANA time zone; empty for UTC.
    pub time_zone: String,
    /// Which usage.
    pub filter: RawFilter,
    /// Which dimensions to keep apart.
    pub grouping: Grouping,
    /// The order of the rows.
    pub order: RowOrder,
    /// Which page.
    pub page: PageRequest,
}

/// One bucket and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The bucket's first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
    /// What the row stands for.
    pub group: Group,
    /// The sums.
    pub total: Total,
}

/// A page of totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductUsagePage {
    /// The rows.
    pub rows: Vec<UsageRow>,
    /// How to ask for the next page; empty at the end.
    pub next_page_token: String,
    /// Sum over all pages.
    pub sum: Total,
    /// The moment that the answer is of, for [`super::ExportQuery::through`].
    pub as_of: String,
}

impl Reports {
    /// Adds usage up by bucket and group.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub async fn product_usage(
        &self,
        caller: &Caller,
        query: ProductUsageQuery,
    ) -> Result<ProductUsagePage, ServiceError> {
        let mut violations = Vec::new();
        let zone = time_zone(&query.time_zone, &mut violations);
        let buckets = zone.as_ref().and_then(|zone| buckets(&query, zone, &mut violations));
        let filter = usage_filter(&query.filter, "filter.", &mut violations);
        page_size(&query.page, &mut violations);
        let (Some(buckets), true) = (buckets, violations.is_empty()) else {
            return Err(ServiceError::InvalidArgument(violations));
        };
        let tokens = PageTokens::new(self.store.token_key(), &fingerprint(caller, &query))?;
        tokens.check(&query.page.page_token)?;
        let (rows, sum, as_of) =
            self.add_up(caller, &buckets, filter, query.grouping, query.order).await?;
        let as_of = as_of::text(&*self.store, &caller.organization, as_of)?;
        let (page, next_page_token) = rows::page(&rows, query.order, &tokens, &query.page)?;
        let rows = page.iter().filter_map(|row| {
            let (start, end) = buckets.bounds(row.bucket)?;
            Some(UsageRow { start, end, group: row.group.clone(), total: row.total })
        });
        Ok(ProductUsagePage { rows: rows.collect(), next_page_token, sum, as_of })
    }

    async fn add_up(
        &self,
        caller: &Caller,
        buckets: &Buckets,
        filter: UsageFilter,
        grouping: Grouping,
        order: RowOrder,
    ) -> Result<(Vec<ReportRow<Group>>, Total, LogSequence), ServiceError> {
        let totals = TotalsQuery {
            organization: caller.organization.clone(),
            range: buckets.range(),
            filter,
        };
        let mut report = ReportBuilder::new(buckets.clone());
        let read = move |store: &dyn UsageStore| {
            let as_of = store.totals(&totals, &mut |series, quarter, total| {
                report.add(grouping.group_of(series), quarter, total).map_err(StoreError::from)
            })?;
            let (rows, sum) = report.finish(order);
            Ok((rows, sum, as_of))
        };
        self.committer.read(caller, Admission::Refuse, read).await
    }
}

/// Everything of a query that its pages must have in common.
fn fingerprint<'a>(caller: &'a Caller, query: &'a ProductUsageQuery) -> impl Serialize + 'a {
    let Grouping { product, instance, sku, client } = query.grouping;
    let granularity = format!("{:?} {:?}", query.granularity, query.order);
    let grouping = [product, instance, sku, client];
    (
        "product usage",
        caller.organization.as_str(),
        &query.interval,
        granularity,
        &query.time_zone,
        &query.filter,
        grouping,
    )
}

fn buckets(
    query: &ProductUsageQuery,
    zone: &TimeZone,
    violations: &mut Vec<FieldViolation>,
) -> Option<Buckets> {
    let divided = HalfOpenInterval::parse(&query.interval, zone)
        .map_err(|error| error.to_string())
        .and_then(|interval| {
            Buckets::divide(&interval, query.granularity, zone).map_err(|error| error.to_string())
        });
    divided
        .map_err(|description| violations.push(FieldViolation::new("interval", description)))
        .ok()
}
