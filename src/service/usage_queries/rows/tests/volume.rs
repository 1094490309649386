//! Time, memory and bytes of a million rows. Not a part of the usual tests:
//! `cargo test --release --lib usage_queries -- --ignored --nocapture --test-threads=1`

use std::{fs, time::Instant};

use super::*;

const SERIES: u32 = 11_112;
const DAYS: i64 = 90;

#[test]
#[ignore = "measures; for release builds"]
fn a_million_rows_in_the_order_of_the_store() {
    let columns = [
        Column::ClientId,
        Column::TemplateUri,
        Column::HttpMethod,
        Column::UserId,
        Column::Platform,
    ];
    let by_columns = columns.map(|column| (SortField::Column(column), Direction::Ascending));
    measure("as the store", &plan(Bucket::Day, &columns, &by_columns));
}

#[test]
#[ignore = "measures; for release builds"]
fn a_million_rows_by_date() {
    measure("by date", &plan(Bucket::Day, &COLUMNS, &[]));
}

#[test]
#[ignore = "measures; for release builds"]
fn a_million_rows_by_requests() {
    let sort = [
        (SortField::Metric(Metric::Requests), Direction::Descending),
        (SortField::Column(Column::TemplateUri), Direction::Ascending),
    ];
    measure("by requests", &plan(Bucket::Day, &COLUMNS, &sort));
}

#[test]
#[ignore = "measures; for release builds"]
fn a_million_totals_in_few_rows() {
    measure("few rows", &plan(Bucket::Month, &[Column::HttpMethod], &[]));
}

fn measure(name: &str, plan: &RowPlan) {
    let all: Vec<ApiSeries> = (0..SERIES).map(long_series).collect();
    let (options, cancelled) = (spill(SORT_MEMORY_BYTES_DEFAULT), AtomicBool::new(false));
    // The peak counts from here.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    let begin = Instant::now();
    let name_of = |client: &ClientId| format!("The client that is called {client}");
    let mut grouper = RowGrouper::new(plan, &options, &name_of, &cancelled);
    for (number, series) in (0_u64..).zip(&all) {
        for day in 0..DAYS {
            let calls =
                (number * 90 + day.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
            let day = UsageDay::from_number(20_000 + day).unwrap();
            grouper.add(series, day, StatusClass::Success, total(calls + 1)).unwrap();
            grouper.add(series, day, StatusClass::ServerError, total(calls % 100 + 1)).unwrap();
        }
    }
    let added = begin.elapsed();
    let (mut pages, mut bytes, mut sample) = (0, 0, Vec::new());
    let rows = grouper
        .write_pages(|_, page| {
            (pages, bytes) = (pages + 1, bytes + page.len());
            sample = page;
            Ok::<_, RowsError>(())
        })
        .unwrap();
    let all = begin.elapsed();
    let peak = peak_kib() - before;
    let begin = Instant::now();
    let read = PageRows::open(plan, &sample).unwrap().count();
    println!(
        "{name}: {rows} rows in {all:?} ({added:?} of them adding), {bytes} bytes in {pages} pages, \
         peak +{peak} KiB; a page of {read} rows reads in {:?}",
        begin.elapsed()
    );
}

fn long_series(number: u32) -> ApiSeries {
    ApiSeries {
        template_uri: TemplateUri::new(&format!(
            "/v1/warehouses/{{id}}/shelves/{:06}",
            number % 300
        ))
        .unwrap(),
        method: HttpMethod::ALL[number as usize % 4],
        client: ClientId::new(&format!("client-of-the-front-office-{:012}", number / 300)).unwrap(),
        user: Some(UserId::new(&format!("user-of-some-department-{:016}", number)).unwrap()),
        platform: Some(PlatformName::new("web").unwrap()),
    }
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
