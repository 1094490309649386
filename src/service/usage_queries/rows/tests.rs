//! Rows against a naive fold, and what happens at the limits.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::atomic::{self, AtomicBool},
};

use jiff::{ToSpan as _, civil};
use proptest::prelude::*;

use super::{counts::Counts, page::PAGE_BYTES_MAX, *};
use crate::{
    domain::{
        api_usage::{ApiSeries, HttpMethod, StatusClass},
        asset_usage::UsageDay,
        id::{ClientId, PlatformName, TemplateUri, UserId},
        quantity::Total,
    },
    service::disk_reserve::DiskReserve,
};

mod naive;
mod volume;

use naive::naive;

type Added = (ApiSeries, UsageDay, StatusClass, u64);

const COLUMNS: [Column; 6] = [
    Column::ClientId,
    Column::ClientName,
    Column::UserId,
    Column::TemplateUri,
    Column::HttpMethod,
    Column::Platform,
];

const METRICS: [Metric; 6] = [
    Metric::Requests,
    Metric::Status200,
    Metric::Status300,
    Metric::Status400,
    Metric::Status429,
    Metric::Status500,
];

/// Names that are each other's beginnings, that many clients share, and that hold what keys are made of.
fn client_name(client: &ClientId) -> String {
    let names = ["", "a", "a\0", "a\0b", "a\u{1}", "ab", "a\u{2}", "я", "\u{10ffff}"];
    let number: usize = client.as_str()[1..].parse().unwrap();
    names[number % names.len()].to_owned()
}

fn series(client: u8, template: u8, method: HttpMethod, user: u8, platform: u8) -> ApiSeries {
    let optional = |number: u8, prefix: &str| (number > 0).then(|| format!("{prefix}{number}"));
    ApiSeries {
        template_uri: TemplateUri::new(&format!("/v1/things/{template}")).unwrap(),
        method,
        client: ClientId::new(&format!("c{client}")).unwrap(),
        user: optional(user, "u").map(|id| UserId::new(&id).unwrap()),
        platform: optional(platform, "p").map(|id| PlatformName::new(&id).unwrap()),
    }
}

fn total(calls: u64) -> Total {
    Total { records: 1, quantity: calls.into() }
}

fn plan(bucket: Bucket, columns: &[Column], sort: &[(SortField, Direction)]) -> RowPlan {
    RowPlan { bucket, columns: columns.to_vec(), sort: sort.to_vec(), rows_max: 2_000_000 }
}

fn spill(memory_bytes: usize) -> SpillOptions {
    SpillOptions { directory: std::env::temp_dir(), memory_bytes, disk: DiskReserve::off() }
}

fn pages(
    plan: &RowPlan,
    added: &[Added],
    memory_bytes: usize,
) -> Result<Vec<(u64, Vec<u8>)>, RowsError> {
    let (options, cancelled) = (spill(memory_bytes), AtomicBool::new(false));
    let mut grouper = RowGrouper::new(plan, &options, &client_name, &cancelled);
    for (series, day, class, calls) in added {
        grouper.add(series, *day, *class, total(*calls))?;
    }
    let mut pages = Vec::new();
    let rows = grouper.write_pages(|first_row, page| {
        assert!(page.len() <= PAGE_BYTES_MAX);
        pages.push((first_row, page));
        Ok::<_, RowsError>(())
    })?;
    let mut next = 0;
    for (first_row, page) in &pages {
        assert_eq!(*first_row, next);
        next += u64::from(PageRows::open(plan, page)?.rows_left());
    }
    assert_eq!(next, rows);
    Ok(pages)
}

fn rows(plan: &RowPlan, added: &[Added], memory_bytes: usize) -> Result<Vec<Row>, RowsError> {
    let mut rows = Vec::new();
    for (_, page) in pages(plan, added, memory_bytes)? {
        for row in PageRows::open(plan, &page)? {
            rows.push(row?);
        }
    }
    Ok(rows)
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)]
}

fn any_field() -> impl Strategy<Value = SortField> {
    prop_oneof![
        Just(SortField::Date),
        prop::sample::select(&COLUMNS[..]).prop_map(SortField::Column),
        prop::sample::select(&METRICS[..]).prop_map(SortField::Metric),
    ]
}

/// Columns and fields in any order and number; some fields are named twice, some are of no column.
fn any_plan() -> impl Strategy<Value = RowPlan> {
    let bucket =
        prop::sample::select(vec![Bucket::Day, Bucket::Week, Bucket::Month, Bucket::Whole]);
    let columns = prop::sample::subsequence(COLUMNS.to_vec(), 0..=COLUMNS.len()).prop_shuffle();
    let sort = prop::collection::vec((any_field(), any_direction()), 0..6);
    (bucket, columns, sort).prop_map(|(bucket, columns, sort)| plan(bucket, &columns, &sort))
}

fn any_added() -> impl Strategy<Value = Added> {
    let method = prop::sample::select(HttpMethod::ALL);
    let class = prop::sample::select(StatusClass::ALL.to_vec());
    // Around the end of a year, and around the day that days are counted from.
    let day = prop_oneof![20_440..20_470_i64, -40..40_i64];
    ((0..12_u8, 0..4_u8, method, 0..3_u8, 0..3_u8), day, class, 1..5_u64).prop_map(
        |((client, template, method, user, platform), day, class, calls)| {
            let series = series(client, template, method, user, platform);
            (series, UsageDay::from_number(day).unwrap(), class, calls)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rows_are_those_of_a_naive_fold(
        plan in any_plan(),
        added in prop::collection::vec(any_added(), 0..400),
        memory_bytes in prop_oneof![Just(0), 200..4_000_usize, Just(SORT_MEMORY_BYTES_DEFAULT)],
    ) {
        prop_assert_eq!(rows(&plan, &added, memory_bytes).unwrap(), naive(&plan, &added));
    }

    #[test]
    fn the_order_of_totals_does_not_matter(
        plan in any_plan(),
        mut added in prop::collection::vec(any_added(), 0..200),
    ) {
        let before = rows(&plan, &added, 1_000).unwrap();
        added.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
        prop_assert_eq!(rows(&plan, &added, 3_000).unwrap(), before);
    }

    #[test]
    fn a_page_can_be_read_from_its_middle(
        plan in any_plan(),
        added in prop::collection::vec(any_added(), 1..200),
        from in 0..300_u64,
    ) {
        for (_, page) in pages(&plan, &added, SORT_MEMORY_BYTES_DEFAULT).unwrap() {
            let read = |from| {
                let mut rows = PageRows::open(&plan, &page).unwrap();
                rows.pass_over(from).unwrap();
                rows.map(Result::unwrap).collect::<Vec<_>>()
            };
            let all = read(0);
            let from_there = all.iter().skip(usize::try_from(from).unwrap()).cloned();
            prop_assert_eq!(read(from), from_there.collect::<Vec<_>>());
        }
    }

    #[test]
    fn damaged_pages_never_panic(
        plan in any_plan(),
        other in any_plan(),
        added in prop::collection::vec(any_added(), 1..50),
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        for (_, page) in pages(&plan, &added, SORT_MEMORY_BYTES_DEFAULT).unwrap() {
            // Whether a flipped bit gives an error or another row: it is read to an end.
            let read = |plan: &RowPlan, page: &[u8]| -> Result<(), RowsError> {
                let most = PageRows::open(plan, page)?.rows_left();
                let read = PageRows::open(plan, page)?;
                assert!(read.take(70_000).count() <= most.into());
                PageRows::open(plan, page)?.try_for_each(|row| row.map(drop))
            };
            read(&plan, &page).unwrap();
            let _ = read(&other, &page);
            let at = at.index(page.len());
            prop_assert!(matches!(read(&plan, &page[..at]), Err(RowsError::Damaged)));
            let mut longer = page.clone();
            longer.push(0);
            prop_assert!(matches!(read(&plan, &longer), Err(RowsError::Damaged)));
            let mut flipped = page.clone();
            flipped[at] ^= 1_u8 << bit;
            let _ = read(&plan, &flipped);
        }
    }

    #[test]
    fn garbage_is_no_page(plan in any_plan(), mut bytes: Vec<u8>) {
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        if let Ok(rows) = PageRows::open(&plan, &bytes) {
            rows.for_each(drop);
        }
    }
}

#[test]
fn a_page_too_long_or_of_another_version_is_refused() {
    let plan = plan(Bucket::Whole, &[], &[]);
    let page = |version: u8, bytes| {
        let mut page = vec![0; bytes];
        page[..2].copy_from_slice(&[version, 1]);
        page
    };
    assert!(PageRows::open(&plan, &page(1, PAGE_BYTES_MAX)).is_ok());
    for damaged in [page(1, PAGE_BYTES_MAX + 1), page(2, 6), page(0, 6), page(1, 2)] {
        assert!(matches!(PageRows::open(&plan, &damaged), Err(RowsError::Damaged)));
    }
}

#[test]
fn weeks_and_months_gather_days_across_the_end_of_a_year() {
    let one = series(1, 1, HttpMethod::Get, 0, 0);
    let first = civil::date(2026, 12, 27);
    let added: Vec<Added> = (0..10)
        .map(|days| {
            let day = UsageDay::of(first.checked_add(days.days()).unwrap());
            (one.clone(), day, StatusClass::Success, 1)
        })
        .collect();
    let dates = |bucket| {
        let rows = rows(&plan(bucket, &[], &[]), &added, 1_000).unwrap();
        let of = |row: Row| {
            (row.date.map(|date| date.to_string()), row.counts.metric(Metric::Status200))
        };
        rows.into_iter().map(of).collect::<Vec<_>>()
    };
    let at = |date: &str, calls| (Some(date.to_owned()), calls);
    assert_eq!(
        dates(Bucket::Week),
        [at("2026-12-21", 1), at("2026-12-28", 7), at("2027-01-04", 2)]
    );
    assert_eq!(dates(Bucket::Month), [at("2026-12-01", 5), at("2027-01-01", 5)]);
    assert_eq!(dates(Bucket::Whole), [(None, 10)]);
}

#[test]
fn clients_of_one_name_are_one_row_unless_ids_tell_them_apart() {
    let of = |client| series(client, 1, HttpMethod::Get, 0, 0);
    let day = UsageDay::from_number(20_000).unwrap();
    // Clients 1 and 10 are both called "a".
    let added =
        [1, 10].map(|client| (of(client), day, StatusClass::TooManyRequests, u64::from(client)));
    let names = rows(&plan(Bucket::Whole, &[Column::ClientName], &[]), &added, 0).unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].values, ["a"]);
    assert_eq!(names[0].counts.metric(Metric::Status400), 11);
    let both = plan(Bucket::Whole, &[Column::ClientName, Column::ClientId], &[]);
    assert_eq!(rows(&both, &added, 0).unwrap().len(), 2);
}

#[test]
fn nothing_gives_no_page() {
    for bucket in [Bucket::Whole, Bucket::Day] {
        assert_eq!(pages(&plan(bucket, &COLUMNS, &[]), &[], 0).unwrap(), []);
    }
}

#[test]
fn rows_past_64_bits_are_exact_and_in_order() {
    let day = UsageDay::from_number(20_000).unwrap();
    let calls = u64::MAX;
    let of = |client, calls| {
        (series(client, 1, HttpMethod::Get, 0, 0), day, StatusClass::Success, calls)
    };
    let most = [of(1, calls), of(2, calls), of(2, calls), of(3, 1)];
    let whole = plan(Bucket::Whole, &[], &[]);
    let sort = [(SortField::Metric(Metric::Requests), Direction::Descending)];
    let by_requests = plan(Bucket::Whole, &[Column::ClientId], &sort);
    for memory_bytes in [0, 10_000] {
        let all = rows(&whole, &most, memory_bytes).unwrap();
        assert_eq!(all[0].counts.metric(Metric::Requests), 3 * u128::from(calls) + 1);
        let ordered = rows(&by_requests, &most, memory_bytes).unwrap();
        let clients: Vec<&str> = ordered.iter().map(|row| row.values[0].as_str()).collect();
        assert_eq!(clients, ["c2", "c1", "c3"]);
    }
}

#[test]
fn more_rows_than_a_plan_allows_are_an_error() {
    let day = UsageDay::from_number(20_000).unwrap();
    let of = |client| (series(client, 1, HttpMethod::Get, 0, 0), day, StatusClass::Success, 1);
    let one_row = RowPlan { rows_max: 1, ..plan(Bucket::Whole, &[Column::ClientId], &[]) };
    for memory_bytes in [0, 10_000] {
        let rows = rows(&one_row, &[of(1), of(2)], memory_bytes);
        assert!(matches!(rows, Err(RowsError::TooManyRows { rows_max: 1 })));
    }
}

#[test]
fn a_row_that_fits_no_page_is_an_error_and_the_longest_is_none() {
    let by_name = plan(Bucket::Whole, &[Column::ClientName], &[]);
    let (options, cancelled) = (spill(0), AtomicBool::new(false));
    // A terminator follows, and a control character takes two bytes.
    for (name, fits) in [
        ("x".repeat(5_869), true),
        ("x".repeat(5_870), false),
        ("\0".repeat(2_934), true),
        ("\0".repeat(2_935), false),
    ] {
        let client_name = |_: &ClientId| name.clone();
        let mut grouper = RowGrouper::new(&by_name, &options, &client_name, &cancelled);
        let series = series(1, 1, HttpMethod::Get, 0, 0);
        let day = UsageDay::from_number(0).unwrap();
        let most = Total { records: 1, quantity: u128::MAX };
        let added = StatusClass::ALL
            .into_iter()
            .try_for_each(|class| grouper.add(&series, day, class, most));
        if !fits {
            assert!(matches!(added, Err(RowsError::RowTooLong { bytes_max: 5_870, .. })));
            continue;
        }
        added.unwrap();
        let mut read = Vec::new();
        let written = grouper.write_pages(|_, page| {
            assert!(page.len() <= PAGE_BYTES_MAX);
            read.extend(PageRows::open(&by_name, &page)?);
            Ok::<_, RowsError>(())
        });
        assert_eq!(written.unwrap(), 1);
        assert_eq!(read.pop().unwrap().unwrap().values, [name]);
    }
}

#[test]
fn a_raised_flag_and_a_failed_callback_end_the_work() {
    #[derive(Debug)]
    enum Failure {
        Rows(RowsError),
        Callback,
    }
    impl From<RowsError> for Failure {
        fn from(error: RowsError) -> Self {
            Self::Rows(error)
        }
    }

    let sort = [(SortField::Metric(Metric::Requests), Direction::Descending)];
    for plan in [plan(Bucket::Day, &COLUMNS, &[]), plan(Bucket::Day, &COLUMNS, &sort)] {
        for memory_bytes in [0, SORT_MEMORY_BYTES_DEFAULT] {
            let (options, cancelled) = (spill(memory_bytes), AtomicBool::new(false));
            let full = || {
                let mut grouper = RowGrouper::new(&plan, &options, &client_name, &cancelled);
                for day in 0..3_000 {
                    let day = UsageDay::from_number(day).unwrap();
                    let series = series(1, 1, HttpMethod::Get, 0, 0);
                    grouper.add(&series, day, StatusClass::Success, total(1)).unwrap();
                }
                grouper
            };
            let failed = full().write_pages(|_, _| Err(Failure::Callback));
            assert!(matches!(failed, Err(Failure::Callback)));
            let cancelled_on_the_way = full().write_pages(|_, _| {
                cancelled.store(true, atomic::Ordering::Relaxed);
                Ok::<_, Failure>(())
            });
            assert!(matches!(cancelled_on_the_way, Err(Failure::Rows(RowsError::Cancelled))));
            let mut grouper = RowGrouper::new(&plan, &options, &client_name, &cancelled);
            let series = series(1, 1, HttpMethod::Get, 0, 0);
            let day = UsageDay::from_number(0).unwrap();
            let added = grouper.add(&series, day, StatusClass::Success, total(1));
            assert!(matches!(added, Err(RowsError::Cancelled)));
        }
    }
}
