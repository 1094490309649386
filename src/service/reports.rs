//! Answering how much was used, and listing records.

use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    FieldViolation, Page, PageRequest, ServiceError, committer::Committer, page::PageTokens,
    product_usage::parse_uuid,
};
use crate::{
    domain::{
        calendar::{Buckets, Granularity},
        caller::Caller,
        id::{ClientId, IdError, ProductId, ProductInstanceId, SkuId},
        interval::HalfOpenInterval,
        limits::FILTER_VALUES_MAX,
        quantity::Total,
        record_scan::{RecordPosition, RecordScan},
        report::{Group, Grouping, ReportBuilder, ReportRow, RowOrder},
        totals::{TotalsQuery, UsageFilter},
        usage::{LogSequence, StoredRecord},
    },
    store::{StoreError, UsageStore},
};

/// A filter as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RawFilter {
    /// Should be product ids.
    pub product_ids: Vec<String>,
    /// Should be product instance ids.
    pub product_instance_ids: Vec<String>,
    /// Should be SKU ids.
    pub sku_ids: Vec<String>,
    /// Should be client ids.
    pub client_ids: Vec<String>,
}

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
    /// Everything up to here is included.
    pub as_of: LogSequence,
}

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsQuery {
    /// Should be an ISO 8601 interval of usage time; empty for all.
    pub usage_interval: String,
    /// Should be an ISO 8601 interval of stored time; empty for all.
    pub stored_interval: String,
    /// Which records.
    pub filter: RawFilter,
    /// Which page.
    pub page: PageRequest,
}

/// The use cases.
pub struct Reports {
    store: Arc<dyn UsageStore>,
    committer: Arc<Committer>,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl Reports {
    /// Puts the use cases together. Reads run on the committer's few threads that may block.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, committer: Arc<Committer>) -> Self {
        Self { store, committer }
    }

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
        let filter = filter(&query.filter, "filter.", &mut violations);
        let size = query.page.size();
        if let Err(ServiceError::InvalidArgument(more)) = &size {
            violations.extend_from_slice(more);
        }
        let (Some(buckets), true) = (buckets, violations.is_empty()) else {
            return Err(ServiceError::InvalidArgument(violations));
        };
        let tokens = PageTokens::new(self.store.token_key(), &fingerprint(caller, &query))?;
        let after: Option<RowPosition> = tokens.decode(&query.page.page_token)?;
        let (rows, sum, as_of) =
            self.add_up(caller, &buckets, filter, query.grouping, query.order).await?;
        let start = after.map_or(0, |after| after.start_in(&rows, query.order));
        let rest = rows.get(start..).unwrap_or_default();
        let (page, more) = rest.split_at(rest.len().min(size?));
        let next_page_token = match page.last() {
            Some(last) if !more.is_empty() => tokens.encode(&RowPosition::of(last))?,
            _ => String::new(),
        };
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
    ) -> Result<(Vec<ReportRow>, Total, LogSequence), ServiceError> {
        let totals = TotalsQuery {
            organization: caller.organization.clone(),
            range: buckets.range(),
            filter,
        };
        let mut report = ReportBuilder::new(buckets.clone(), grouping);
        let read = move |store: &dyn UsageStore| {
            let as_of = store.totals(&totals, &mut |series, quarter, total| {
                report.add(series, quarter, total).map_err(StoreError::from)
            })?;
            let (rows, sum) = report.finish(order);
            Ok((rows, sum, as_of))
        };
        self.committer.read(read).await
    }

    /// Lists records in the order of arrival.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule.
    pub async fn records(
        &self,
        caller: &Caller,
        query: RecordsQuery,
    ) -> Result<Page<StoredRecord>, ServiceError> {
        let mut violations = Vec::new();
        let usage_interval =
            optional_interval("usage_interval", &query.usage_interval, &mut violations);
        let stored_interval =
            optional_interval("stored_interval", &query.stored_interval, &mut violations);
        let filter = filter(&query.filter, "", &mut violations);
        let size = query.page.size();
        if let Err(ServiceError::InvalidArgument(more)) = &size {
            violations.extend_from_slice(more);
        }
        if !violations.is_empty() {
            return Err(ServiceError::InvalidArgument(violations));
        }
        let described = (
            "records",
            caller.organization.as_str(),
            &query.usage_interval,
            &query.stored_interval,
            &query.filter,
        );
        let tokens = PageTokens::new(self.store.token_key(), &described)?;
        let from = tokens.decode(&query.page.page_token)?.map_or(
            RecordPosition::START,
            |(sequence, index)| RecordPosition { sequence: LogSequence(sequence), index },
        );
        let scan = RecordScan {
            organization: caller.organization.clone(),
            filter,
            usage_interval,
            stored_interval,
            from,
            records_max: size?,
        };
        let page = self.committer.read(move |store| store.scan(&scan)).await?;
        let next_page_token = match page.next {
            Some(next) => tokens.encode(&(next.sequence.0, next.index))?,
            None => String::new(),
        };
        Ok(Page { items: page.records, next_page_token })
    }

    /// The record accepted under a uuid.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if the text is no UUID, [`ServiceError::NotFound`].
    pub async fn record(&self, caller: &Caller, uuid: &str) -> Result<StoredRecord, ServiceError> {
        let parsed = parse_uuid(uuid).ok_or_else(|| {
            ServiceError::invalid("uuid", "must be a UUID in its hyphenated form")
        })?;
        let organization = caller.organization.clone();
        let found = self.committer.read(move |store| store.find(&organization, parsed)).await?;
        found.ok_or_else(|| ServiceError::not_found("usage record", uuid))
    }
}

/// Where a page of totals ended: the last row's place in any of the orders.
#[derive(Debug, Serialize, Deserialize)]
struct RowPosition {
    bucket: usize,
    // As text: JSON numbers end at 64 bits.
    quantity: String,
    group: [Option<String>; 4],
}

impl RowPosition {
    fn of(row: &ReportRow) -> Self {
        let Group { product, instance, sku, client } = &row.group;
        Self {
            bucket: row.bucket,
            quantity: row.total.quantity.to_string(),
            group: [
                product.as_ref().map(ToString::to_string),
                instance.as_ref().map(ToString::to_string),
                sku.as_ref().map(ToString::to_string),
                client.as_ref().map(ToString::to_string),
            ],
        }
    }

    /// The first of `rows`, which are in `order`, that comes after this position.
    fn start_in(&self, rows: &[ReportRow], order: RowOrder) -> usize {
        let quantity: u128 = self.quantity.parse().unwrap_or_default();
        rows.partition_point(|row| {
            let Group { product, instance, sku, client } = &row.group;
            let text = |id: Option<&str>| id.map(str::to_owned);
            let group = [
                text(product.as_ref().map(ProductId::as_str)),
                text(instance.as_ref().map(ProductInstanceId::as_str)),
                text(sku.as_ref().map(SkuId::as_str)),
                text(client.as_ref().map(ClientId::as_str)),
            ];
            let first = match order {
                RowOrder::TimeAscending => std::cmp::Ordering::Equal,
                RowOrder::TimeDescending => self.bucket.cmp(&row.bucket),
                RowOrder::QuantityDescending => quantity.cmp(&row.total.quantity),
                RowOrder::QuantityAscending => row.total.quantity.cmp(&quantity),
            };
            first
                .then_with(|| row.bucket.cmp(&self.bucket))
                .then_with(|| group.cmp(&self.group))
                .is_le()
        })
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

fn time_zone(name: &str, violations: &mut Vec<FieldViolation>) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    // "Etc/Unknown" is a name, but says that the zone is not known; it must not pass for UTC.
    let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    if zone.is_none() {
        violations.push(FieldViolation::new(
            "time_zone",
            "is not an IANA time zone such as Europe/Berlin",
        ));
    }
    zone
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

fn optional_interval(
    field: &str,
    text: &str,
    violations: &mut Vec<FieldViolation>,
) -> Option<HalfOpenInterval> {
    if text.is_empty() {
        return None;
    }
    HalfOpenInterval::parse(text, &TimeZone::UTC)
        .map_err(|error| violations.push(FieldViolation::new(field, error.to_string())))
        .ok()
}

fn filter(raw: &RawFilter, prefix: &str, violations: &mut Vec<FieldViolation>) -> UsageFilter {
    UsageFilter {
        products: ids(format!("{prefix}product_ids"), &raw.product_ids, ProductId::new, violations),
        instances: ids(
            format!("{prefix}product_instance_ids"),
            &raw.product_instance_ids,
            ProductInstanceId::new,
            violations,
        ),
        skus: ids(format!("{prefix}sku_ids"), &raw.sku_ids, SkuId::new, violations),
        clients: ids(format!("{prefix}client_ids"), &raw.client_ids, ClientId::new, violations),
    }
}

fn ids<T>(
    field: String,
    texts: &[String],
    new: impl Fn(&str) -> Result<T, IdError>,
    violations: &mut Vec<FieldViolation>,
) -> Vec<T> {
    if texts.len() > FILTER_VALUES_MAX {
        let description =
            format!("has {} values, at most {FILTER_VALUES_MAX} are allowed", texts.len());
        violations.push(FieldViolation::new(field, description));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        match new(text) {
            Ok(id) => ids.push(id),
            Err(error) => {
                violations.push(FieldViolation::new(format!("{field}[{place}]"), error.to_string()))
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests;
