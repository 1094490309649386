use std::{collections::BTreeSet, sync::atomic::Ordering};

use jiff::{SignedDuration, tz::TimeZone};

use super::*;
use crate::{
    domain::{
        calendar::Granularity,
        id::{ClientId, OrganizationId, ProductId, ProductInstanceId, SkuId},
        interval::HalfOpenInterval,
        quantity::{Quantity, Total},
        report::{Group, Grouping, RowOrder},
        usage::{StoredRecord, Submission, UsageRecord, UsageTarget},
        verdict::Decision,
    },
    service::{
        PageRequest, ServiceError,
        clock::ManualClock,
        committer::{Admission, CommitterLimits},
        testing::{TestStore, caller, now, submission, uuid},
    },
    store::Probed,
};

fn committer(store: &Arc<TestStore>) -> Arc<Committer> {
    let clock = Arc::new(ManualClock::new(now()));
    Committer::start(Arc::clone(store) as _, clock, CommitterLimits::default()).unwrap()
}

fn reports(store: &Arc<TestStore>) -> Reports {
    Reports::new(Arc::clone(store) as _, committer(store))
}

fn store_one(store: &TestStore, name: &str, number: usize, sku: &str, quantity: i64, hours: i64) {
    let instance = number.is_multiple_of(3).then(|| ProductInstanceId::new("instance").unwrap());
    let mut caller = caller(name);
    caller.client = ClientId::new(&format!("client-{}", number % 2)).unwrap();
    let submission = Submission {
        caller,
        target: UsageTarget { product: ProductId::new("product").unwrap(), instance },
        records: vec![UsageRecord {
            uuid: uuid(number),
            sku: SkuId::new(sku).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            usage_time: now() + SignedDuration::from_hours(hours),
        }],
        validate_only: false,
    };
    let probe = crate::store::ProbeResult::default();
    let stored_at = now() + SignedDuration::from_mins(number as i64);
    store.commit(&vec![Probed { report: Arc::new(submission), probe }].into(), stored_at).unwrap();
}

/// 60 records of `acme` over three days, with many equal quantities; one of `other`.
fn filled() -> Arc<TestStore> {
    let store = TestStore::new();
    for number in 0..60 {
        let quantity = 1 + number as i64 % 4;
        let sku = format!("sku-{}", number % 5);
        store_one(&store, "acme", number, &sku, quantity, (number as i64 * 7) % 72);
    }
    store_one(&store, "other", 0, "sku-0", 1000, 0);
    store
}

fn query(granularity: Granularity, order: RowOrder) -> ProductUsageQuery {
    ProductUsageQuery {
        interval: "2026-11-20/P4D".into(),
        granularity,
        time_zone: String::new(),
        filter: RawFilter::default(),
        grouping: Grouping { product: true, instance: true, sku: true, client: true },
        order,
        page: PageRequest { page_size: 1000, page_token: String::new() },
    }
}

const ORDERS: [RowOrder; 4] = [
    RowOrder::TimeAscending,
    RowOrder::TimeDescending,
    RowOrder::QuantityDescending,
    RowOrder::QuantityAscending,
];

fn fields<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> Vec<String> {
    let Err(ServiceError::InvalidArgument(violations)) = result else { panic!("{result:?}") };
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn pages_stitched_together_are_the_unpaged_report() {
    let store = filled();
    let reports = reports(&store);
    let acme = caller("acme");
    for order in ORDERS {
        for granularity in [Granularity::Hour, Granularity::Day, Granularity::Total] {
            let whole = query(granularity, order);
            let unpaged = reports.product_usage(&acme, whole.clone()).await.unwrap();
            assert!(unpaged.rows.len() > 10 && unpaged.next_page_token.is_empty());
            for page_size in [1, 3, 7] {
                let mut rows = Vec::new();
                let mut page = PageRequest { page_size, page_token: String::new() };
                loop {
                    let asked = ProductUsageQuery { page: page.clone(), ..whole.clone() };
                    let answer = reports.product_usage(&acme, asked).await.unwrap();
                    assert_eq!(answer.sum, unpaged.sum);
                    rows.extend(answer.rows);
                    page.page_token = answer.next_page_token;
                    if page.page_token.is_empty() {
                        break;
                    }
                }
                assert_eq!(rows, unpaged.rows, "{order:?} {granularity:?} {page_size}");
            }
        }
    }
}

#[tokio::test]
async fn rows_come_in_the_order_asked_for() {
    let reports = reports(&filled());
    for order in ORDERS {
        let rows =
            reports.product_usage(&caller("acme"), query(Granularity::Day, order)).await.unwrap();
        let sorted = rows.rows.is_sorted_by(|a, b| {
            let ties = (a.start, &a.group) < (b.start, &b.group);
            match order {
                RowOrder::TimeAscending => ties,
                RowOrder::TimeDescending => {
                    a.start > b.start || (a.start == b.start && a.group < b.group)
                }
                RowOrder::QuantityDescending => {
                    a.total.quantity > b.total.quantity
                        || (a.total.quantity == b.total.quantity && ties)
                }
                RowOrder::QuantityAscending => {
                    a.total.quantity < b.total.quantity
                        || (a.total.quantity == b.total.quantity && ties)
                }
            }
        });
        assert!(sorted, "{order:?}");
    }
}

/// What is reported between two pages neither repeats nor hides a row of the time orders.
#[tokio::test]
async fn time_orders_skip_and_repeat_nothing_while_usage_arrives() {
    for order in [RowOrder::TimeAscending, RowOrder::TimeDescending] {
        let store = filled();
        let reports = reports(&store);
        let acme = caller("acme");
        let before = reports.product_usage(&acme, query(Granularity::Hour, order)).await.unwrap();
        let expected: BTreeSet<_> =
            before.rows.iter().map(|row| (row.start, row.group.clone())).collect();
        let mut seen = Vec::new();
        let mut page = PageRequest { page_size: 4, page_token: String::new() };
        for number in 1000.. {
            let asked = ProductUsageQuery { page: page.clone(), ..query(Granularity::Hour, order) };
            let answer = reports.product_usage(&acme, asked).await.unwrap();
            seen.extend(answer.rows.into_iter().map(|row| (row.start, row.group)));
            page.page_token = answer.next_page_token;
            if page.page_token.is_empty() {
                break;
            }
            store_one(&store, "acme", number, "sku-0", 1, (number as i64 * 31) % 72);
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "{order:?} repeats a row");
        assert!(distinct.is_superset(&expected), "{order:?} hides a row");
    }
}

#[tokio::test]
async fn a_report_is_exact_and_of_the_callers_organization_alone() {
    let store = TestStore::new();
    for number in 0..5 {
        store_one(&store, "acme", number, "sku", i64::MAX, 0);
    }
    store_one(&store, "other", 0, "sku", 7, 0);
    let reports = reports(&store);
    let asked = ProductUsageQuery {
        grouping: Grouping::default(),
        ..query(Granularity::Total, RowOrder::TimeAscending)
    };
    let answer = reports.product_usage(&caller("acme"), asked.clone()).await.unwrap();
    let sum = Total { records: 5, quantity: 5 * (u128::from(u64::MAX) / 2) };
    assert_eq!((answer.rows.len(), answer.rows[0].total, answer.sum), (1, sum, sum));
    assert_eq!(answer.rows[0].group, Group::default());
    let other = reports.product_usage(&caller("other"), asked.clone()).await.unwrap();
    assert_eq!(other.sum, Total { records: 1, quantity: 7 });
    let nobody = reports.product_usage(&caller("nobody"), asked).await.unwrap();
    assert_eq!((nobody.rows, nobody.sum), (vec![], Total::default()));
}

#[tokio::test]
async fn days_are_those_of_the_time_zone() {
    let store = TestStore::new();
    // 23:30 in UTC, the next day in Berlin.
    store_one(&store, "acme", 0, "sku", 1, 11);
    let reports = reports(&store);
    for (zone, start) in [
        ("", "2026-11-20T00:00:00Z"),
        ("utc", "2026-11-20T00:00:00Z"),
        ("Europe/Berlin", "2026-11-20T23:00:00Z"),
    ] {
        let asked = ProductUsageQuery {
            time_zone: zone.into(),
            ..query(Granularity::Day, RowOrder::TimeAscending)
        };
        let rows = reports.product_usage(&caller("acme"), asked).await.unwrap().rows;
        let starts: Vec<_> = rows.iter().map(|row| row.start.to_string()).collect();
        assert_eq!(starts, [start], "{zone}");
        assert_eq!(rows[0].end.duration_since(rows[0].start), SignedDuration::from_hours(24));
    }
}

#[tokio::test]
async fn a_filter_restricts_rows_and_sum() {
    let reports = reports(&filled());
    let filter = RawFilter {
        product_ids: vec!["product".into()],
        product_instance_ids: vec!["instance".into()],
        sku_ids: vec!["sku-0".into(), "sku-1".into()],
        client_ids: vec!["client-0".into()],
    };
    let asked = ProductUsageQuery {
        filter: filter.clone(),
        ..query(Granularity::Total, RowOrder::TimeAscending)
    };
    let answer = reports.product_usage(&caller("acme"), asked).await.unwrap();
    let wanted = |number: &usize| number.is_multiple_of(6) && number % 5 <= 1;
    let numbers: Vec<usize> = (0..60).filter(wanted).collect();
    assert_eq!(answer.sum.records, numbers.len() as u64);
    assert_eq!(answer.rows.len(), 2);
    let listed = RecordsQuery { filter, ..RecordsQuery::default() };
    let listed = reports.records(&caller("acme"), listed).await.unwrap().items;
    let uuids: Vec<_> = listed.iter().map(|stored| stored.record.uuid).collect();
    assert_eq!(uuids, numbers.into_iter().map(uuid).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_member_at_fault_is_named() {
    let reports = reports(&TestStore::new());
    let acme = caller("acme");
    let good = || query(Granularity::Day, RowOrder::TimeAscending);
    let filter = RawFilter {
        product_ids: vec!["p".into(), "q".into(), String::new()],
        product_instance_ids: vec!["i".repeat(51)],
        sku_ids: (0..101).map(|at| at.to_string()).collect(),
        client_ids: vec![" c".into(), "c\0".into()],
    };
    let filter_fields =
        ["product_ids[2]", "product_instance_ids[0]", "sku_ids", "client_ids[0]", "client_ids[1]"];
    let asked = ProductUsageQuery {
        interval: "2026-11-20".into(),
        filter: filter.clone(),
        page: PageRequest { page_size: -1, page_token: String::new() },
        ..good()
    };
    let mut expected = vec!["interval".to_owned()];
    expected.extend(filter_fields.map(|field| format!("filter.{field}")));
    expected.push("page_size".into());
    assert_eq!(fields(reports.product_usage(&acme, asked).await), expected);

    for interval in ["", "2026-11-20T00:07:00Z/PT1H", "2000-01-01/2026-01-01", "x/y"] {
        let asked = ProductUsageQuery { interval: interval.into(), ..good() };
        assert_eq!(fields(reports.product_usage(&acme, asked).await), ["interval"], "{interval}");
    }
    for zone in ["Mars/Phobos", "Etc/Unknown", "+02:00", "../UTC", "EST5EDT,M3.2.0,M11.1.0"] {
        let asked = ProductUsageQuery { time_zone: zone.into(), ..good() };
        assert_eq!(fields(reports.product_usage(&acme, asked).await), ["time_zone"], "{zone}");
    }
    let listed = RecordsQuery {
        usage_interval: "soon".into(),
        stored_interval: "2026-11-21/2026-11-20".into(),
        filter,
        page: PageRequest { page_size: 1001, page_token: String::new() },
    };
    let mut expected = vec!["usage_interval", "stored_interval"];
    expected.extend(filter_fields);
    expected.push("page_size");
    assert_eq!(fields(reports.records(&acme, listed).await), expected);
}

#[tokio::test]
async fn a_token_belongs_to_one_query() {
    let reports = reports(&filled());
    let acme = caller("acme");
    let base = query(Granularity::Hour, RowOrder::TimeAscending);
    let first = ProductUsageQuery {
        page: PageRequest { page_size: 5, page_token: String::new() },
        ..base.clone()
    };
    let token = reports.product_usage(&acme, first).await.unwrap().next_page_token;
    let page = PageRequest { page_size: 9, page_token: token };
    let same = ProductUsageQuery { page: page.clone(), ..base };
    assert_eq!(reports.product_usage(&acme, same.clone()).await.unwrap().rows.len(), 9);

    let filter = RawFilter { sku_ids: vec!["sku-0".into()], ..RawFilter::default() };
    let others = [
        ProductUsageQuery { interval: "2026-11-20/P3D".into(), ..same.clone() },
        ProductUsageQuery { granularity: Granularity::Day, ..same.clone() },
        ProductUsageQuery { time_zone: "Europe/Berlin".into(), ..same.clone() },
        ProductUsageQuery { filter: filter.clone(), ..same.clone() },
        ProductUsageQuery { grouping: Grouping::default(), ..same.clone() },
        ProductUsageQuery { order: RowOrder::QuantityAscending, ..same.clone() },
        ProductUsageQuery {
            page: PageRequest { page_token: "x".into(), ..page.clone() },
            ..same.clone()
        },
    ];
    for other in others {
        assert_eq!(fields(reports.product_usage(&acme, other).await), ["page_token"]);
    }
    assert_eq!(fields(reports.product_usage(&caller("other"), same).await), ["page_token"]);
    let listed = RecordsQuery { page, ..RecordsQuery::default() };
    assert_eq!(fields(reports.records(&acme, listed).await), ["page_token"]);

    let first = RecordsQuery {
        page: PageRequest { page_size: 5, page_token: String::new() },
        ..RecordsQuery::default()
    };
    let token = reports.records(&acme, first.clone()).await.unwrap().next_page_token;
    let next = RecordsQuery { page: PageRequest { page_size: 5, page_token: token }, ..first };
    let others = [
        RecordsQuery { usage_interval: "2026-11-20/P3D".into(), ..next.clone() },
        RecordsQuery { stored_interval: "2026-11-20/P3D".into(), ..next.clone() },
        RecordsQuery { filter, ..next.clone() },
    ];
    for other in others {
        assert_eq!(fields(reports.records(&acme, other).await), ["page_token"]);
    }
    assert_eq!(fields(reports.records(&caller("other"), next).await), ["page_token"]);
}

#[tokio::test]
async fn records_are_listed_in_order_of_arrival() {
    let store = filled();
    let reports = reports(&store);
    let acme = caller("acme");
    let of_acme = |stored: &StoredRecord| -> bool {
        stored.organization == OrganizationId::new("acme").unwrap()
    };
    let everything: Vec<_> = store.memory.records().into_iter().filter(of_acme).collect();
    for page_size in [1, 7, 60, 0] {
        let mut listed = Vec::new();
        let mut page = PageRequest { page_size, page_token: String::new() };
        loop {
            let asked = RecordsQuery { page: page.clone(), ..RecordsQuery::default() };
            let answer = reports.records(&acme, asked).await.unwrap();
            listed.extend(answer.items);
            page.page_token = answer.next_page_token;
            if page.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, everything, "{page_size}");
    }
    let some = RecordsQuery {
        usage_interval: "2026-11-21/P1D".into(),
        stored_interval: "2026-11-20T12:10:00Z/PT30M".into(),
        ..RecordsQuery::default()
    };
    let usage = HalfOpenInterval::parse(&some.usage_interval, &TimeZone::UTC).unwrap();
    let expected: Vec<_> = everything
        .into_iter()
        .skip(10)
        .take(30)
        .filter(|stored| usage.contains(stored.record.usage_time))
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(reports.records(&acme, some).await.unwrap().items, expected);
}

#[tokio::test]
async fn a_record_is_found_by_its_uuid() {
    let reports = reports(&filled());
    let text = uuid(3).to_string();
    for spelling in [text.clone(), text.to_uppercase()] {
        let found = reports.record(&caller("acme"), &spelling).await.unwrap();
        assert_eq!(found.record.uuid, uuid(3));
    }
    let foreign = reports.record(&caller("other"), &text).await;
    assert!(
        matches!(&foreign, Err(ServiceError::NotFound { resource: "usage record", name }) if *name == text),
        "{foreign:?}"
    );
    for malformed in ["", "x", &text.replace('-', ""), &format!("{{{text}}}")] {
        let refused = reports.record(&caller("acme"), malformed).await;
        assert_eq!(fields(refused), ["uuid"], "{malformed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reports_wait_for_each_other_and_hold_no_write_up() {
    let store = filled();
    store.needs_read.store(true, Ordering::SeqCst);
    let committer = committer(&store);
    let reports = Arc::new(Reports::new(Arc::clone(&store) as _, Arc::clone(&committer)));
    store.totals_gate.close();
    let running: Vec<_> = (0..10)
        .map(|_| {
            let reports = Arc::clone(&reports);
            let asked = query(Granularity::Day, RowOrder::TimeAscending);
            tokio::spawn(async move { reports.product_usage(&caller("acme"), asked).await })
        })
        .collect();
    // Half of the threads are for other organizations.
    store.totals_gate.await_waiting(2);
    let other = reports.records(&caller("other"), RecordsQuery::default()).await.unwrap();
    assert_eq!(other.items.len(), 1);
    let written = committer.submit(submission("acme", [7000]), Admission::Refuse).await;
    assert_eq!(written.unwrap(), [Decision::Accepted]);
    store.totals_gate.open();
    for report in running {
        assert!(report.await.unwrap().is_ok());
    }
    assert_eq!(store.totals_gate.waiting_max(), 2);
}
