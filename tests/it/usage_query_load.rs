//! A result is read in pages of all sizes at once, while usage pours in and the server is restarted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use meterd::api::pb::meterd::v1::{
    ApiUsageEvent, CreateOrganizationAggregatesJobRequest, GetOrganizationAggregatesJobRequest,
    OrganizationAggregatesResult, OrganizationUsage, RecordApiUsageRequest,
    usage_ingest_service_client::UsageIngestServiceClient,
    usage_query_service_client::UsageQueryServiceClient,
};
use tokio::{sync::watch, time::Instant};
use tonic::Status;

use crate::support::{
    process::{MeterdProcess, serve_command},
    queries::PATIENCE,
    server::Authed,
};

const USERS: u64 = 3_000;
const EVENTS: u64 = 1_000;
const WRITERS: usize = 2;
/// How often each writer sends a thousand events.
const PERIOD: Duration = Duration::from_millis(200);

/// Calls until the server that is there answers; it may be another one by then.
async fn insist<T, F: Future<Output = Result<T, Status>>>(
    server: &watch::Receiver<Authed>,
    mut call: impl FnMut(Authed) -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let connection = server.borrow().clone();
        match call(connection).await {
            Ok(answer) => return answer,
            Err(status) => assert!(Instant::now() < deadline, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A thousand calls on behalf of as many users, from the `first` on and round again.
fn events(first: u64, time: Timestamp) -> RecordApiUsageRequest {
    let event = |number: u64| ApiUsageEvent {
        uuid: uuid::Uuid::new_v4().to_string(),
        client_id: "client".into(),
        user_id: format!("user-{:06}", number % USERS),
        template_uri: "/v1/things/{id}".into(),
        http_method: "GET".into(),
        status: 200,
        timestamp: Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 }),
        ..Default::default()
    };
    RecordApiUsageRequest { events: (first..first + EVENTS).map(event).collect() }
}

#[derive(Default)]
struct Ledger {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    next: AtomicU64,
    stop: AtomicBool,
}

impl Ledger {
    async fn write_once(&self, server: &watch::Receiver<Authed>, time: Timestamp) {
        let request = events(self.next.fetch_add(EVENTS, Ordering::SeqCst), time);
        self.sent.fetch_add(EVENTS, Ordering::SeqCst);
        // Sent again under the same uuids, so that nothing counts twice.
        insist(server, |connection| {
            let mut client = UsageIngestServiceClient::new(connection);
            let request = request.clone();
            async move { client.record_api_usage(request).await }
        })
        .await;
        self.acknowledged.fetch_add(EVENTS, Ordering::SeqCst);
    }

    async fn write(self: Arc<Self>, server: watch::Receiver<Authed>, time: Timestamp) {
        let mut pace = tokio::time::interval(PERIOD);
        while !self.stop.load(Ordering::SeqCst) {
            pace.tick().await;
            self.write_once(&server, time).await;
        }
    }
}

async fn page(
    server: &watch::Receiver<Authed>,
    id: &str,
    page_size: i32,
    after: &str,
) -> OrganizationAggregatesResult {
    let request = GetOrganizationAggregatesJobRequest {
        job_id: id.to_owned(),
        page_size,
        after: after.to_owned(),
    };
    insist(server, |connection| {
        let mut client = UsageQueryServiceClient::new(connection);
        let request = request.clone();
        async move { Ok(client.get_organization_aggregates_job(request).await?.into_inner()) }
    })
    .await
}

/// All rows, in pages of a size. `read` counts the pages.
async fn pages(
    server: watch::Receiver<Authed>,
    id: String,
    size: i32,
    read: Arc<AtomicU64>,
) -> Vec<OrganizationUsage> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&server, &id, size, &after).await;
        assert_eq!(page.query_status, "Succeeded");
        rows.extend(page.entities);
        read.fetch_add(1, Ordering::SeqCst);
        match page.next_uri {
            Some(uri) => after = uri.split_once("after=").unwrap().1.to_owned(),
            None => return rows,
        }
    }
}

fn sum(rows: &[OrganizationUsage]) -> u64 {
    rows.iter().map(|row| row.request_count.unwrap().unsigned_abs()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_passed_over_or_told_twice() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let start = || {
        let mut command = serve_command(&[], &data_dir);
        command.args(["--self-metering", "off", "--log", "warn"]);
        MeterdProcess::start(command)
    };
    let mut process = start();
    let (restarted, server) = watch::channel(process.authed());
    let time = Timestamp::now();
    let day = time.to_zoned(TimeZone::UTC).date();
    let request = CreateOrganizationAggregatesJobRequest {
        interval: format!("{}/{}", day.saturating_sub(1.day()), day.saturating_add(1.day())),
        metrics: vec!["Requests".into()],
        group_by: vec!["UserId".into()],
        ..Default::default()
    };
    let ledger = Arc::new(Ledger::default());
    for _ in 0..USERS / EVENTS {
        ledger.write_once(&server, time).await;
    }
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(Arc::clone(&ledger).write(server.clone(), time)))
        .collect();
    let mut bounds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut results = Vec::new();
    let read = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for size in [1, 7, 100, 1000] {
        let before = ledger.acknowledged.load(Ordering::SeqCst);
        let mut client = UsageQueryServiceClient::new(process.authed());
        let job = client.create_organization_aggregates_job(request.clone()).await.unwrap();
        let id = job.into_inner().id;
        let deadline = Instant::now() + PATIENCE;
        while page(&server, &id, 1, "").await.query_status != "Succeeded" {
            assert!(Instant::now() < deadline, "the job does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bounds.insert(id.clone(), (before, ledger.sent.load(Ordering::SeqCst)));
        // Every job in pages of every size; the smallest of one of them is enough.
        for size in [size, 7, 100, 1000] {
            let reader = pages(server.clone(), id.clone(), size, Arc::clone(&read));
            readers.push((id.clone(), size, tokio::spawn(reader)));
        }
    }
    // The server goes and comes in the middle of the pages.
    while read.load(Ordering::SeqCst) < 1_500 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let process_id = process.id();
    assert!(process.terminate(process_id), "SIGTERM ends with 0");
    let read_before = read.load(Ordering::SeqCst);
    process = start();
    restarted.send(process.authed()).unwrap();
    for (id, size, reader) in readers {
        results.push((id, size, reader.await.unwrap()));
    }
    ledger.stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let (sent, seconds) = (ledger.sent.load(Ordering::SeqCst), began.elapsed().as_secs_f64());
    eprintln!(
        "usage_query_load: {sent} events in {seconds:.1} s; {read_before} of {} pages before the restart",
        read.load(Ordering::SeqCst)
    );
    for (id, size, rows) in &results {
        let users: Vec<&str> =
            rows.iter().map(|row| row.user.as_ref().unwrap().id.as_str()).collect();
        assert!(users.is_sorted_by(|one, next| one < next), "{size}: every user once, in order");
        assert_eq!(users.len() as u64, USERS, "{size}");
        let (least, most) = bounds[id];
        let sum = sum(rows);
        assert!((least..=most).contains(&sum), "{least} <= {sum} <= {most}");
        let first = results.iter().find(|(other, ..)| other == id).unwrap();
        assert_eq!(*rows, first.2, "pages of {size} and of {} say the same", first.1);
    }
    // The same pages again, when everything has come to rest, and what a new job says.
    for (id, _, rows) in &results {
        assert_eq!(pages(server.clone(), id.clone(), 1000, Arc::clone(&read)).await, *rows);
    }
    let mut client = UsageQueryServiceClient::new(process.authed());
    let job = client.create_organization_aggregates_job(request).await.unwrap().into_inner();
    while page(&server, &job.id, 1, "").await.query_status != "Succeeded" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sum(&pages(server.clone(), job.id, 1000, read).await), sent);
}
