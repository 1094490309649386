use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::domain::{
    calendar::QuarterRange,
    caller::Caller,
    id::{ClientId, ProductId, SkuId},
    quantity::Quantity,
    totals::UsageFilter,
    usage::{UsageRecord, UsageTarget},
};
use crate::store::Probed;

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_100).unwrap()
}

fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

fn record(uuid: u128, quantity: i64) -> UsageRecord {
    UsageRecord {
        uuid: Uuid::from_u128(uuid),
        sku: SkuId::new("sku").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        usage_time: now(),
    }
}

fn submission(name: &str, records: Vec<UsageRecord>) -> Submission {
    Submission {
        caller: Caller {
            organization: organization(name),
            client: ClientId::new("client").unwrap(),
        },
        target: UsageTarget { product: ProductId::new("product").unwrap(), instance: None },
        records,
        validate_only: false,
    }
}

fn commit(store: &MemoryStore, group: Vec<Submission>, now: Timestamp) -> Vec<Vec<Decision>> {
    let probed = |report| Probed { report: Arc::new(report), probe: ProbeResult::default() };
    let group: Vec<_> = group.into_iter().map(probed).collect();
    let decided = store.commit(&group.into(), now).unwrap().submissions;
    decided.into_iter().map(Result::unwrap).collect()
}

fn stored(sequence: u64) -> Decision {
    Decision::Duplicate(Original::Stored(LogSequence(sequence)))
}

fn totals(store: &MemoryStore, name: &str, range: QuarterRange) -> Vec<(QuarterHour, Total)> {
    let query =
        TotalsQuery { organization: organization(name), range, filter: UsageFilter::default() };
    let mut found = Vec::new();
    store
        .totals(&query, &mut |_, quarter, total| {
            found.push((quarter, total));
            Ok(())
        })
        .unwrap();
    found
}

fn everything() -> QuarterRange {
    QuarterRange { start: QuarterHour(0), end: QuarterHour(i64::MAX) }
}

#[test]
fn a_uuid_is_accepted_once_per_organization() {
    let store = MemoryStore::new();
    let group = vec![
        submission("acme", vec![record(1, 1), record(1, 2), record(2, 3)]),
        submission("acme", vec![record(2, 9)]),
        submission("other", vec![record(1, 4)]),
    ];
    let accepted = Decision::Accepted;
    assert_eq!(
        commit(&store, group, now()),
        [vec![accepted, stored(1), accepted], vec![stored(2)], vec![accepted]]
    );
    assert_eq!(commit(&store, vec![submission("other", vec![record(1, 1)])], now()), [[stored(3)]]);
    assert_eq!(store.statistics().records, 3);
    let uuid = Uuid::from_u128(2);
    let found = store.find(&organization("acme"), uuid).unwrap().unwrap();
    assert_eq!(found.record, record(2, 3), "the first one stays");
    assert_eq!(store.original(&organization("acme"), uuid, LogSequence(2)).unwrap(), found);
    assert!(store.original(&organization("acme"), uuid, LogSequence(1)).is_err());
    assert!(store.original(&organization("other"), uuid, LogSequence(2)).is_err());
    assert_eq!(store.find(&organization("other"), uuid).unwrap(), None);
}

#[test]
fn validating_decides_and_stores_nothing() {
    let store = MemoryStore::new();
    commit(&store, vec![submission("acme", vec![record(1, 1)])], now());
    let validate = Submission {
        validate_only: true,
        ..submission("acme", vec![record(1, 1), record(2, 1), record(2, 1), record(2, 1)])
    };
    let again = Decision::Duplicate(Original::InSubmission(1));
    let expected = [[stored(1), Decision::Accepted, again, again]];
    assert_eq!(commit(&store, vec![validate.clone()], now()), expected);
    assert_eq!(commit(&store, vec![validate], now()), expected);
    assert_eq!(store.records().len(), 1);
}

#[test]
fn stored_times_never_decrease() {
    let store = MemoryStore::new();
    for (uuid, seconds) in [(1, 10), (2, -500), (3, 20)] {
        let at = now() + SignedDuration::from_secs(seconds);
        commit(&store, vec![submission("acme", vec![record(uuid, 1)])], at);
    }
    let times: Vec<_> = store.records().iter().map(|stored| stored.stored_time).collect();
    let second = |seconds| now() + SignedDuration::from_secs(seconds);
    assert_eq!(times, [second(10), second(10), second(20)]);
}

#[test]
fn totals_are_added_up_by_quarter_hour_of_the_organization() {
    let store = MemoryStore::new();
    let later = now() + SignedDuration::from_mins(15);
    let group = vec![
        submission(
            "acme",
            vec![record(1, 1), record(2, 2), UsageRecord { usage_time: later, ..record(3, 4) }],
        ),
        submission("other", vec![record(1, 100)]),
    ];
    commit(&store, group, now());
    let (first, second) = (QuarterHour::of(now()), QuarterHour::of(later));
    let (sum, rest) = (Total { records: 2, quantity: 3 }, Total { records: 1, quantity: 4 });
    assert_eq!(totals(&store, "acme", everything()), [(first, sum), (second, rest)]);
    assert_eq!(totals(&store, "acme", QuarterRange { start: first, end: second }), [(first, sum)]);
    assert_eq!(totals(&store, "nobody", everything()), []);
}

#[test]
fn a_scan_goes_on_where_it_stopped() {
    let store = MemoryStore::new();
    for uuid in 1..=7 {
        let name = if uuid == 4 { "other" } else { "acme" };
        commit(&store, vec![submission(name, vec![record(uuid, 1)])], now());
    }
    let mut scan = RecordScan {
        organization: organization("acme"),
        filter: UsageFilter::default(),
        usage_interval: None,
        stored_interval: None,
        from: RecordPosition::START,
        records_max: 2,
    };
    let mut pages = Vec::new();
    loop {
        let page = store.scan(&scan).unwrap();
        let uuids = page.records.iter().map(|stored| stored.record.uuid.as_u128());
        pages.push(uuids.collect::<Vec<_>>());
        let Some(next) = page.next else { break };
        scan.from = next;
    }
    assert_eq!(pages, [[1, 2], [3, 5], [6, 7]]);
}

#[test]
fn a_catalog_is_changed_for_one_organization() {
    let store = MemoryStore::new();
    let acme = organization("acme");
    store.change_catalog(&acme, &CatalogDifference::default(), &[]).unwrap();
    assert_eq!(store.catalogs().unwrap(), [(acme, Catalog::default())]);
    assert_eq!(store.status(), StoreStatus::Ready);
}
