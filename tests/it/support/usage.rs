//! Usage to test with.

use std::sync::Arc;

use jiff::Timestamp;
use meterd::{
    domain::{
        api_usage::{
            ApiEvent, ApiReport, ApiSeries, ApiTotalsQuery, HttpMethod, HttpStatus, NewSeries,
            StatusClass,
        },
        asset_usage::{AssetSeries, AssetTotalsQuery, UsageDay},
        calendar::{QuarterHour, QuarterRange},
        caller::Caller,
        id::{
            ClientId, OrganizationId, PlatformName, ProductId, ProductInstanceId, SkuId,
            TemplateUri, UserId,
        },
        quantity::{Quantity, Total},
        record_scan::{DroppedThrough, RecordPage, RecordPosition, RecordScan},
        totals::{Series, TotalsQuery, UsageFilter},
        usage::{StoredRecord, Submission, UsageRecord, UsageTarget},
        verdict::Decision,
    },
    store::{Probe, Probed, Reported, StoreError, UsageStore},
};
use uuid::Uuid;

pub fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

pub fn caller(organization_name: &str, client: &str) -> Caller {
    Caller { organization: organization(organization_name), client: ClientId::new(client).unwrap() }
}

pub fn target(product: &str, instance: Option<&str>) -> UsageTarget {
    UsageTarget {
        product: ProductId::new(product).unwrap(),
        instance: instance.map(|id| ProductInstanceId::new(id).unwrap()),
    }
}

pub fn record(uuid: u128, sku: &str, quantity: i64, usage_time: Timestamp) -> UsageRecord {
    UsageRecord {
        uuid: Uuid::from_u128(uuid),
        sku: SkuId::new(sku).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        usage_time,
    }
}

pub fn submission(organization: &str, records: Vec<UsageRecord>) -> Submission {
    Submission {
        caller: caller(organization, "client"),
        target: target("product", None),
        records,
        validate_only: false,
    }
}

/// What a caller does: looks first, reads if it must.
pub fn probed<T>(store: &dyn UsageStore, report: T) -> Probed<T>
where
    for<'a> &'a T: Into<Reported<'a>>,
{
    let probe = match store.probe((&report).into()) {
        Probe::Settled(result) => result,
        Probe::NeedsRead => store.settle((&report).into()).unwrap(),
    };
    Probed { report, probe }
}

pub fn commit(
    store: &dyn UsageStore,
    submission: Submission,
    now: Timestamp,
) -> Result<Vec<Decision>, StoreError> {
    let group = vec![probed(store, Arc::new(submission))].into();
    let decided = store.commit(&group, now)?.submissions.remove(0);
    Ok(decided.expect("series are not limited"))
}

/// Every total of an organization, in order.
pub fn all_totals(store: &dyn UsageStore, name: &str) -> Vec<(Series, QuarterHour, Total)> {
    let range = QuarterRange { start: QuarterHour(-4_000_000), end: QuarterHour(8_000_000) };
    totals(store, name, range, UsageFilter::default())
}

pub fn totals(
    store: &dyn UsageStore,
    name: &str,
    range: QuarterRange,
    filter: UsageFilter,
) -> Vec<(Series, QuarterHour, Total)> {
    let mut found = Vec::new();
    let query = TotalsQuery { organization: organization(name), range, filter };
    store
        .totals(&query, &mut |series, quarter, total| {
            found.push((series.clone(), quarter, total));
            Ok(())
        })
        .unwrap();
    found.sort();
    found
}

/// Every record of an organization, page by page.
pub fn all_records(store: &dyn UsageStore, name: &str, records_max: usize) -> Vec<StoredRecord> {
    let scan = RecordScan {
        organization: organization(name),
        filter: UsageFilter::default(),
        usage_interval: None,
        stored_interval: None,
        from: RecordPosition::START,
        records_max,
    };
    scanned(store, scan)
}

/// Every record that a scan wants, in order.
pub fn scanned(store: &dyn UsageStore, mut scan: RecordScan) -> Vec<StoredRecord> {
    let mut found = Vec::new();
    loop {
        let page = store.scan(&scan).unwrap();
        found.extend(page.records);
        match page.next {
            Some(next) => scan.from = next,
            None => return found,
        }
    }
}

/// Totals of asset usage, in order.
pub fn asset_totals(
    store: &dyn UsageStore,
    query: &AssetTotalsQuery,
) -> Vec<(AssetSeries, UsageDay, Total)> {
    let mut found = Vec::new();
    store
        .asset_totals(query, &mut |series, day, total| {
            found.push((series.clone(), day, total));
            Ok(())
        })
        .unwrap();
    found.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    found
}

/// Calls of an API. Empty texts stand for what is not known.
pub struct Calls<'a> {
    pub client: &'a str,
    pub user: &'a str,
    pub template: &'a str,
    pub method: HttpMethod,
    pub platform: &'a str,
    pub status: u16,
    pub count: i64,
}

impl Default for Calls<'_> {
    fn default() -> Self {
        Self {
            client: "client",
            user: "",
            template: "/v1/things/{id}",
            method: HttpMethod::Get,
            platform: "",
            status: 200,
            count: 1,
        }
    }
}

pub fn event(uuid: u128, calls: &Calls<'_>, time: Timestamp) -> ApiEvent {
    ApiEvent {
        uuid: Uuid::from_u128(uuid),
        series: ApiSeries {
            template_uri: TemplateUri::new(calls.template).unwrap(),
            method: calls.method,
            client: ClientId::new(calls.client).unwrap(),
            user: UserId::new(calls.user).ok(),
            platform: PlatformName::new(calls.platform).ok(),
        },
        status: HttpStatus::new(calls.status).unwrap(),
        time,
        count: Quantity::new(calls.count).unwrap(),
    }
}

pub fn commit_events(
    store: &dyn UsageStore,
    organization: &str,
    events: Vec<ApiEvent>,
    now: Timestamp,
) -> Result<Vec<Decision>, StoreError> {
    let report = ApiReport {
        caller: caller(organization, "reporter"),
        events,
        new_series: NewSeries::Refused,
    };
    let group = vec![probed(store, report)].into();
    let decided = store.commit(&group, now)?.api_reports.remove(0);
    Ok(decided.expect("series are not limited"))
}

/// Totals of API usage, in order.
pub fn api_totals(
    store: &dyn UsageStore,
    query: &ApiTotalsQuery,
) -> Vec<(ApiSeries, UsageDay, StatusClass, Total)> {
    let mut found = Vec::new();
    store
        .api_totals(query, &mut |series, day, class, total| {
            found.push((series.clone(), day, class, total));
            Ok(())
        })
        .unwrap();
    found.sort();
    found
}

/// How far the oldest records of all organizations are gone.
pub fn dropped(store: &dyn UsageStore, name: &str) -> Option<DroppedThrough> {
    first_page(store, name).dropped
}

/// From when on the records of an organization are kept.
pub fn kept_from(store: &dyn UsageStore, name: &str) -> Option<Timestamp> {
    first_page(store, name).kept_from
}

fn first_page(store: &dyn UsageStore, name: &str) -> RecordPage {
    let scan = RecordScan {
        organization: organization(name),
        filter: UsageFilter::default(),
        usage_interval: None,
        stored_interval: None,
        from: RecordPosition::START,
        records_max: 1,
    };
    store.scan(&scan).unwrap()
}
