//! What a large usage query takes: a million rows over 90 days, in time and in memory above idle.
//!
//! `cargo bench --bench usage_queries`; `METERD_BENCH_SERIES` sets the number of series (default 11,112, each with calls on
//! each of 90 days). One process fills the store, another one asks: what filling leaves behind in memory would hide what
//! asking takes.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        api_usage::{ApiEvent, ApiReport, ApiSeries, HttpMethod, HttpStatus, NewSeries},
        caller::Caller,
        id::{ClientId, OrganizationId, PlatformName, TemplateUri, UserId},
        quantity::Quantity,
    },
    service::{
        access::Access,
        audit::AuditTrail,
        clock::ManualClock,
        committer::{Committer, CommitterLimits},
        disk_reserve::DiskReserve,
        usage_queries::{JobState, Operation, QueryLimits, QueryRequest, UsageQueries},
    },
    store::{
        Probe, Probed, UsageStore,
        sled::{SledStore, StoreOptions},
    },
};
use uuid::Uuid;

const DAYS: i64 = 90;
const DIRECTORY: &str = "METERD_BENCH_DIRECTORY";

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn caller() -> Caller {
    Caller {
        organization: OrganizationId::new("acme").unwrap(),
        client: ClientId::new("bench").unwrap(),
    }
}

fn series_count() -> usize {
    let series = std::env::var("METERD_BENCH_SERIES").ok();
    series.map_or(11_112, |text| text.parse().unwrap())
}

fn series(number: usize) -> ApiSeries {
    ApiSeries {
        template_uri: TemplateUri::new(&format!(
            "/api/v2/conversations/{{conversationId}}/participants/{}",
            number % 100
        ))
        .unwrap(),
        method: HttpMethod::ALL[number % 5],
        client: ClientId::new(&format!("5f2b7c0a-1111-4222-8333-{:012}", number % 200)).unwrap(),
        user: Some(UserId::new(&format!("9a1d2e3f-aaaa-4bbb-8ccc-{number:012}")).unwrap()),
        platform: Some(PlatformName::new(["web", "ios"][number % 2]).unwrap()),
    }
}

fn options(directory: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(directory);
    options.cache_bytes = 16 << 20;
    options
}

fn fill(directory: &Path) {
    let store = SledStore::open(options(directory)).unwrap();
    let series: Vec<ApiSeries> = (0..series_count()).map(series).collect();
    for day in 0..DAYS {
        let time = now() - SignedDuration::from_hours(24 * day);
        for (at, series) in series.chunks(1000).enumerate() {
            let event = |(number, series): (usize, &ApiSeries)| ApiEvent {
                uuid: Uuid::new_v4(),
                series: series.clone(),
                status: HttpStatus::new([200, 404, 429, 500][(number + at) % 4]).unwrap(),
                time,
                count: Quantity::new(1 + number as i64).unwrap(),
            };
            let report = ApiReport {
                caller: caller(),
                events: series.iter().enumerate().map(event).collect(),
                new_series: NewSeries::Refused,
            };
            let probe = match store.probe((&report).into()) {
                Probe::Settled(probe) => probe,
                Probe::NeedsRead => store.settle((&report).into()).unwrap(),
            };
            store.commit(&vec![Probed { report, probe }].into(), now()).unwrap();
        }
    }
    while !store.is_idle() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn ask(directory: &Path) {
    let store: Arc<dyn UsageStore> = Arc::new(SledStore::open(options(directory)).unwrap());
    let clock = Arc::new(ManualClock::new(now()));
    let committer =
        Committer::start(Arc::clone(&store), clock.clone(), CommitterLimits::default()).unwrap();
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock.clone()));
    let access = Arc::new(Access::load(Arc::clone(&store), clock.clone(), audit).unwrap());
    let queries = UsageQueries::start(
        store,
        committer,
        access,
        clock,
        QueryLimits::default(),
        directory.to_owned(),
        DiskReserve::off(),
    )
    .unwrap();
    let request = |group_by: &[&str], sort_by: &[(&str, &str)]| QueryRequest {
        interval: "2026-08-23/2026-11-20".into(),
        group_by: group_by.iter().map(|text| (*text).to_owned()).collect(),
        sort_by: sort_by.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        ..QueryRequest::default()
    };
    // The pages of the store are in its cache afterwards, as they are in one that has run for a while.
    run(&queries, &request(&["Platform"], &[])).await;
    for (what, request) in [
        ("all columns, by date", request(&[], &[])),
        ("all columns, by requests", request(&[], &[("Requests", "Desc")])),
        ("by template", request(&["TemplateUri"], &[])),
    ] {
        let idle = resident();
        let peak = Arc::new(AtomicU64::new(idle));
        let stop = Arc::new(AtomicBool::new(false));
        let watching = std::thread::spawn({
            let (peak, stop) = (Arc::clone(&peak), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(resident(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let began = Instant::now();
        let (id, rows) = run(&queries, &request).await;
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap();
        let above = peak.load(Ordering::Relaxed).saturating_sub(idle) as f64 / f64::from(1 << 20);
        let began = Instant::now();
        let mut after = String::new();
        let mut read = 0;
        loop {
            let operations = [Operation::OrganizationJob];
            let page =
                queries.result(&caller(), &operations, None, &id, &after, 1000).await.unwrap();
            read += page.rows.len();
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(read as u64, rows);
        println!(
            "{what}: {rows} rows in {:.2} s, {above:.0} MiB above idle ({} MiB); all pages of 1000 in {:.2} s",
            took.as_secs_f64(),
            idle >> 20,
            began.elapsed().as_secs_f64()
        );
    }
}

async fn run(queries: &UsageQueries, request: &QueryRequest) -> (String, u64) {
    let id = queries.query(&caller(), Operation::OrganizationJob, None, request).await.unwrap();
    loop {
        match queries.job(&caller(), &id).unwrap().state {
            JobState::Succeeded { rows } => return (id, rows),
            JobState::Queued | JobState::Running => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::main]
async fn main() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        ask(Path::new(&directory)).await;
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let began = Instant::now();
    fill(directory.path());
    println!("filled in {:.1} s", began.elapsed().as_secs_f64());
    let asking = Command::new(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory.path())
        .status()
        .unwrap();
    assert!(asking.success());
}
