//! Little of the disk is free: usage goes on, everything else stops and says why.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use meterd::{
    service::{
        disk_reserve::{DiskReserve, ManualDiskSpace, ReserveSize},
        usage_queries::QueryLimits,
    },
    store::UsageStore,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    blocking_store::BlockingStore,
    http::call,
    process::{MeterdProcess, assert_verified, http_get, serve_command},
    queries::{JOBS, PATIENCE, error_fields, get, id_of, post, record_users, result, rows, start},
    server::{Setup, TestServer, fresh_uuid},
    small_disk::SmallDisk,
    usage::organization,
};

const DAY: &str = "2026-11-20/P1D";
const GIB: u64 = 1 << 30;

/// A server with a worker, a store that can be held up, and a disk of 100 GiB of which 1 GiB is reserved.
async fn server() -> (TestServer, Arc<BlockingStore>, Arc<ManualDiskSpace>) {
    let store = Arc::new(BlockingStore::new());
    let space = Arc::new(ManualDiskSpace::new(50 * GIB, 100 * GIB));
    let disk = Arc::new(DiskReserve::new(space.clone(), ReserveSize::Default));
    let queries = QueryLimits { workers: 1, ..QueryLimits::default() };
    let setup = Setup { store: store.clone(), disk, queries, ..Setup::default() };
    (TestServer::with(setup).await, store, space)
}

async fn write_usage(server: &TestServer) {
    let event = json!({
        "uuid": fresh_uuid(), "templateUri": "/v1/things", "httpMethod": "GET", "status": 200,
        "timestamp": "2026-11-20T11:30:00Z",
    });
    let answer = post(server.api, "/v1/apiUsage:record", &json!({"events": [event]})).await;
    assert_eq!((answer.status, &answer.json()["acceptedCount"]), (StatusCode::OK, &json!(1)));
}

/// Waits until the admin listener tells this of the disk.
async fn until_told(server: &TestServer, target: &str, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(server.admin, target).await;
        assert_eq!(answer.status, StatusCode::OK);
        let said = String::from_utf8(answer.body.to_vec()).unwrap();
        if said.contains(text) {
            return said;
        }
        assert!(Instant::now() < deadline, "{target} does not tell {text:?}: {said}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn queries_stop_below_the_reserve_and_usage_does_not() {
    let (server, store, space) = server().await;
    record_users(&*store, 0..10);
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let kept = start(server.api, JOBS, &body).await;
    result(server.api, &kept).await;

    space.set_free(GIB - 1);
    let refused = post(server.api, JOBS, &body).await;
    error_fields(&refused, StatusCode::TOO_MANY_REQUESTS, "too.many.requests");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    for part in ["1024.0 MiB free", "1024.0 MiB are reserved", "--disk-reserve", "add space"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    write_usage(&server).await;
    let assets = json!({"assets": [{"id": "photo-1"}]});
    let refused = post(server.api, "/v1/catalog/assets:apply", &assets).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.reason(), "DISK_RESERVE_REACHED");
    // What is there can be read, and removed.
    assert_eq!(get(server.api, &kept).await.status, StatusCode::OK);
    let deleted = call(Method::DELETE, &format!("/v1/usageJobs/{}", id_of(&kept)));
    assert_eq!(deleted.send(server.api).await.status, StatusCode::OK);

    space.set_free(GIB);
    let found = rows(server.api, JOBS, &body).await;
    assert_eq!(found.len(), 11, "with the call of no user");
    let applied = post(server.api, "/v1/catalog/assets:apply", &assets).await;
    assert_eq!(applied.status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn running_query_fails_below_the_reserve_and_leaves_nothing() {
    let (server, store, space) = server().await;
    record_users(&*store, 0..10);
    store.totals.close();
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let uri = start(server.api, JOBS, &body).await;
    store.totals.wait_for(1).await;
    space.set_free(12 << 20);
    store.totals.open();
    let found = result(server.api, &uri).await;
    assert_eq!(found["queryStatus"], "Failed");
    let error = &found["errorBody"];
    assert_eq!((&error["code"], &error["status"]), (&json!("service.unavailable"), &json!(503)));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("12.0 MiB free") && message.contains("1024.0 MiB"), "{message}");
    let book = format!("{}/rows", id_of(&uri));
    assert_eq!(store.page_at(&organization("default"), &book, u64::MAX).unwrap(), None);
    write_usage(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn readiness_and_metrics_warn_while_usage_is_taken() {
    let (server, _, space) = server().await;
    until_told(&server, "/metrics", "\nmeterd_disk_reserve_breached 0\n").await;
    assert_eq!(until_told(&server, "/readyz", "ready").await, "ready\n");
    space.set_free(GIB / 2);
    let told = until_told(&server, "/readyz", "warning: ").await;
    assert!(told.starts_with("ready\nwarning: the disk has 512.0 MiB free"), "{told}");
    let metrics = until_told(&server, "/metrics", "\nmeterd_disk_reserve_breached 1\n").await;
    for line in ["meterd_disk_free_bytes 536870912.0", "meterd_disk_reserve_bytes 1073741824.0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }
    write_usage(&server).await;
    space.set_free(50 * GIB);
    until_told(&server, "/metrics", "\nmeterd_disk_reserve_breached 0\n").await;
    assert_eq!(until_told(&server, "/readyz", "ready").await, "ready\n");
    server.stop().await;
}

/// Records so many calls, each of an API of its own with a long name.
async fn record_calls(server: &MeterdProcess, numbers: std::ops::Range<usize>) {
    let time = jiff::Timestamp::now().to_string();
    let event = |number| {
        json!({
            "uuid": fresh_uuid(), "templateUri": format!("/{number:0>190}"), "httpMethod": "GET",
            "status": 200, "timestamp": time, "userId": format!("{number:0>50}"),
        })
    };
    let events: Vec<_> = numbers.map(event).collect();
    let count = events.len();
    let answer = post(server.api, "/v1/apiUsage:record", &json!({"events": events})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    assert_eq!(answer.json()["acceptedCount"], count);
}

/// Jobs that ask for the same rows with other counts, so that none shares the result of another.
fn different_jobs() -> impl Iterator<Item = Value> {
    let metrics = ["Requests", "Status200", "Status300", "Status400", "Status429", "Status500"];
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    (1..64_u32).map(move |chosen| {
        let chosen = metrics.iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0);
        let metrics: Vec<&str> = chosen.map(|(_, metric)| *metric).collect();
        json!({"interval": format!("{today}T00:00:00Z/{today}T23:59:59Z"), "metrics": metrics})
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_fill_a_disk_leave_room_for_usage() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path(), 96 << 20) else { return };
    let data_dir = disk.mount_point.join("data");
    let mut command = serve_command(&[], &data_dir);
    command.args(["--disk-reserve", "24MiB", "--self-metering", "off"]);
    let server = MeterdProcess::start(command);
    for thousand in 0..10 {
        record_calls(&server, thousand * 1000..(thousand + 1) * 1000).await;
    }
    let (mut succeeded, mut stopped) = (0, Vec::new());
    for body in different_jobs() {
        record_calls(&server, 0..1).await;
        let answer = post(server.api, JOBS, &body).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            stopped.push(answer.json()["message"].as_str().unwrap().to_owned());
            break;
        }
        let uri = answer.json()["resultsUri"].as_str().unwrap().to_owned();
        let found = result(server.api, &uri).await;
        if found["queryStatus"] == "Failed" {
            stopped.push(found["errorBody"]["message"].as_str().unwrap().to_owned());
        } else {
            succeeded += 1;
        }
    }
    eprintln!("{succeeded} results were written before: {stopped:?}");
    assert!(succeeded > 0 && !stopped.is_empty());
    for message in &stopped {
        assert!(message.contains("24.0 MiB are reserved for usage"), "{message}");
    }
    for thousand in 10..14 {
        record_calls(&server, thousand * 1000..(thousand + 1) * 1000).await;
    }
    let ready = http_get(server.admin, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("warning: the disk has"),
        "{ready}"
    );
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("reserved for usage")).count();
    assert_eq!((lines, log.matches("ERROR").count()), (1, 0), "{log}");
    let id = server.id();
    assert!(server.terminate(id));
    assert_verified(&data_dir);
}
