//! Queries that were under way when the server was stopped or killed are answered by the next one, and results that
//! were there before are read on with the same cursors.
//!
//! `METERD_KILL_QUERY_CYCLES` sets how often it is killed (default 4), `METERD_KILL_SEED` when exactly.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use meterd::api::pb::meterd::v1::{
    ApiUsageEvent, CreateOrganizationAggregatesJobRequest, RecordApiUsageRequest,
    usage_ingest_service_client::UsageIngestServiceClient,
    usage_query_service_client::UsageQueryServiceClient,
};
use serde_json::{Value, json};

use crate::support::{
    process::{MeterdProcess, assert_verified, serve_command},
    queries::{JOBS, SEARCH, cursor_after, get, result, rows_in_pages, rows_on, start},
    random::Random,
    server::Authed,
};

/// Users that are added before each round.
const USERS: usize = 1_000;

fn serve(data_dir: &Path) -> MeterdProcess {
    let mut command = serve_command(&[], data_dir);
    command.args(["--self-metering", "off", "--memtable-keys-max", "20000", "--log", "warn"]);
    MeterdProcess::start(command)
}

/// A thousand calls, each on behalf of a user of its own.
fn events(template: &str, round: usize, time: Timestamp) -> RecordApiUsageRequest {
    let event = |number: usize| ApiUsageEvent {
        uuid: uuid::Uuid::new_v4().to_string(),
        client_id: "client".into(),
        user_id: format!("user-{:06}", round * USERS + number),
        template_uri: template.into(),
        http_method: "GET".into(),
        status: 200,
        timestamp: Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 }),
        ..Default::default()
    };
    RecordApiUsageRequest { events: (0..USERS).map(event).collect() }
}

async fn add_users(server: &MeterdProcess, round: usize, time: Timestamp) {
    let mut client = UsageIngestServiceClient::new(server.authed());
    let request = events("/v1/counted", round, time);
    let answer = client.record_api_usage(request).await.unwrap().into_inner();
    assert_eq!(answer.accepted_count as usize, USERS, "{:?}", answer.rejected.first());
}

/// Writes usage that no query asks for, so that the store is busy, until it is refused.
async fn write_noise(connection: Authed, time: Timestamp, stop: Arc<AtomicBool>) {
    let mut client = UsageIngestServiceClient::new(connection);
    while !stop.load(Ordering::Relaxed) {
        let mut request = events("/v1/noise", 0, time);
        request.events.truncate(20);
        if client.record_api_usage(request).await.is_err() {
            return;
        }
    }
}

/// Interval and filters of everything that is counted here.
fn body(time: Timestamp) -> Value {
    let day = time.to_zoned(TimeZone::UTC).date();
    let interval = format!("{}/{}", day.saturating_sub(1.day()), day.saturating_add(2.days()));
    json!({"interval": interval, "templateUris": ["/v1/counted"], "groupBy": ["UserId"], "metrics": ["Requests"]})
}

/// The rows that a job has after some rounds.
fn expected(rounds: usize, time: Timestamp) -> Vec<Value> {
    let date = time.to_zoned(TimeZone::UTC).date().to_string();
    let row = |number: usize| {
        let id = format!("user-{number:06}");
        let user = json!({"id": id, "selfUri": format!("/api/v2/users/{id}")});
        json!({"date": date, "user": user, "requestCount": 1})
    };
    (0..rounds * USERS).map(row).collect()
}

/// A result that is read in part: where it goes on, and what its remaining rows are.
struct Begun {
    uri: String,
    cursor: String,
    rest: Vec<Value>,
}

impl Begun {
    async fn new(server: &MeterdProcess, uri: &str, all: &[Value]) -> Self {
        let page = get(server.api, &format!("{uri}?pageSize=400")).await.json();
        assert_eq!(rows_on(&page), all[..400]);
        let cursor = cursor_after(&page).unwrap();
        Self { uri: uri.to_owned(), cursor, rest: all[400..].to_vec() }
    }

    async fn assert_goes_on(&self, server: &MeterdProcess) {
        let mut rows = Vec::new();
        let mut cursor = self.cursor.clone();
        loop {
            let target = format!("{}?pageSize=1000&after={cursor}", self.uri);
            let page = get(server.api, &target).await.json();
            rows.extend(rows_on(&page));
            match cursor_after(&page) {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert!(
            rows == self.rest,
            "{} rows after the restart instead of {}",
            rows.len(),
            self.rest.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_outlive_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let time = Timestamp::now();
    let server = serve(&data_dir);
    for round in 0..3 {
        add_users(&server, round, time).await;
    }
    let finished = start(server.api, JOBS, &body(time)).await;
    let all = expected(3, time);
    assert_eq!(rows_in_pages(server.api, &finished, 1000).await, all);
    let begun = Begun::new(&server, &finished, &all).await;
    let mut under_way = Vec::new();
    for _ in 0..15 {
        under_way.push(start(server.api, JOBS, &body(time)).await);
    }
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    assert_verified(&data_dir);
    let server = serve(&data_dir);
    begun.assert_goes_on(&server).await;
    for uri in under_way {
        assert_eq!(rows_in_pages(server.api, &uri, 1000).await, all);
    }
    assert_eq!(rows_in_pages(server.api, &finished, 1000).await, all);
    let log = server.kill();
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_outlive_kill_9() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cycles = number("METERD_KILL_QUERY_CYCLES").unwrap_or(4) as usize;
    let seed = number("METERD_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("usage_query_restart: METERD_KILL_SEED={seed} METERD_KILL_QUERY_CYCLES={cycles}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let (mut finished_before, mut under_way_at_kill) = (0, 0);
    let mut server = serve(&data_dir);
    let mut kept: Vec<Begun> = Vec::new();
    for round in 0..cycles {
        // Usage of more than an hour ago is not accepted, so every round has a time of its own.
        let time = Timestamp::now();
        let template = format!("/v1/counted/{round}");
        let mut body = body(time);
        body["templateUris"] = json!([template]);
        let users = 1 + random.below(3);
        for part in 0..users {
            let mut client = UsageIngestServiceClient::new(server.authed());
            let answer = client.record_api_usage(events(&template, part, time)).await.unwrap();
            assert_eq!(answer.get_ref().accepted_count as usize, USERS);
        }
        let all = expected(users, time);
        let stop = Arc::new(AtomicBool::new(false));
        let noise: Vec<_> = (0..3)
            .map(|_| tokio::spawn(write_noise(server.authed(), time, Arc::clone(&stop))))
            .collect();
        let first = start(server.api, JOBS, &body).await;
        result(server.api, &first).await;
        kept.push(Begun::new(&server, &first, &all).await);
        let mut started = vec![first];
        let search = json!({"interval": body["interval"], "templateUris": body["templateUris"]});
        let search = start(server.api, SEARCH, &search).await;
        for _ in 0..5 + random.below(10) {
            started.push(start(server.api, JOBS, &body).await);
        }
        tokio::time::sleep(Duration::from_micros(random.below(60_000) as u64)).await;
        for uri in &started {
            let page = get(server.api, &format!("{uri}?pageSize=1")).await.json();
            let is_over = page["queryStatus"] == "Succeeded";
            finished_before += usize::from(is_over);
            under_way_at_kill += usize::from(!is_over);
        }
        // One that nobody heard of may be there or not.
        let unheard = tokio::spawn({
            let mut client = UsageQueryServiceClient::new(server.authed());
            let interval = body["interval"].as_str().unwrap().to_owned();
            let request = CreateOrganizationAggregatesJobRequest { interval, ..Default::default() };
            async move { client.create_organization_aggregates_job(request).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_micros(random.below(3_000) as u64)).await;
        let log = server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in noise {
            writer.await.unwrap();
        }
        unheard.await.unwrap();
        assert!(!log.contains("ERROR"), "{log}");
        server = serve(&data_dir);
        for uri in &started {
            let found = rows_in_pages(server.api, uri, 1000).await;
            assert!(
                found == all,
                "round {round}: {uri} has {} rows, not {}",
                found.len(),
                all.len()
            );
        }
        let found = rows_in_pages(server.api, &search, 1000).await;
        assert_eq!(found[0]["status200"], users * USERS, "{found:?}");
        for begun in &kept {
            begun.assert_goes_on(&server).await;
        }
    }
    let log = server.kill();
    assert!(!log.contains("ERROR"), "{log}");
    assert_verified(&data_dir);
    eprintln!(
        "{finished_before} were over when the server was killed, {under_way_at_kill} were not"
    );
}
