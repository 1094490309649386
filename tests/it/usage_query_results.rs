//! What is kept of results: equal queries share one, clients have their share, and what is deleted is gone.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::SignedDuration;
use meterd::{
    service::usage_queries::QueryLimits,
    store::{UsageStore, document::Collection, memory::MemoryStore},
};
use serde_json::{Value, json};

use crate::support::{
    blocking_store::BlockingStore,
    http::{Answer, call},
    queries::{
        JOBS, QUERY, SEARCH, error_fields, get, id_of, post, record_users, result, rows_in_pages,
        rows_on, start,
    },
    server::{Setup, TestServer},
    usage::organization,
};

const DAY: &str = "2026-11-20/P1D";

async fn limited(store: Arc<dyn UsageStore>, queries: QueryLimits) -> TestServer {
    TestServer::with(Setup { store, queries, ..Setup::default() }).await
}

async fn delete(server: &TestServer, uri: &str) -> Answer {
    call(Method::DELETE, &format!("/v1/usageJobs/{}", id_of(uri))).send(server.api).await
}

/// A client of the organization `default`; its API key.
async fn client(server: &TestServer, id: &str) -> String {
    let client = json!({"clientId": id, "permissions": ["usage:organization:view"]});
    let created = post(server.api, "/v1/access/clients", &client).await;
    created.json()["apiKey"].as_str().unwrap().to_owned()
}

/// Starts a job as a client; where its result will be.
async fn start_as(server: &TestServer, key: &str, body: &Value) -> String {
    let call = call(Method::POST, JOBS).anonymous().header("api-key", key);
    let started = call.json(body).send(server.api).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.json());
    started.json()["resultsUri"].as_str().unwrap().to_owned()
}

fn book(uri: &str, name: &str) -> String {
    format!("{}/{name}", id_of(uri))
}

fn has_pages(store: &dyn UsageStore, book: &str) -> bool {
    store.page_at(&organization("default"), book, u64::MAX).unwrap().is_some()
}

async fn is_gone(server: &TestServer, uri: &str) {
    error_fields(&get(server.api, uri).await, StatusCode::NOT_FOUND, "not.found");
    let job = get(server.api, &format!("/v1/usageJobs/{}", id_of(uri))).await;
    assert_eq!(job.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn equal_queries_share_one_result_and_end_apart() {
    let store = Arc::new(BlockingStore::new());
    let limits = QueryLimits { workers: 1, ..QueryLimits::default() };
    let server = limited(store.clone(), limits).await;
    record_users(&*store, 0..10);
    store.totals.close();
    let other = start(server.api, QUERY, &json!({"interval": DAY})).await;
    store.totals.wait_for(1).await;
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let mut equal = Vec::new();
    for _ in 0..4 {
        equal.push(start(server.api, JOBS, &body).await);
    }
    // What comes while they wait is seen by all of them.
    record_users(&*store, 10..20);
    equal.push(start(server.api, JOBS, &body).await);
    let ids: std::collections::HashSet<&str> = equal.iter().map(|uri| id_of(uri)).collect();
    assert_eq!(ids.len(), 5, "each has its own");
    let cancelled = format!("/v1/usageJobs/{}:cancel", id_of(&equal[0]));
    let cancelled = call(Method::POST, &cancelled).json("{}").send(server.api).await;
    assert_eq!(cancelled.json()["state"], "JOB_STATE_CANCELLED");
    assert_eq!(delete(&server, &equal[1]).await.status, StatusCode::OK);
    store.totals.open();
    result(server.api, &other).await;
    for uri in &equal[2..] {
        assert_eq!(rows_in_pages(server.api, uri, 7).await.len(), 20);
    }
    let visits = store.totals.passed();
    assert_eq!(visits, 2, "one for the first query, one for all the others");
    assert_eq!(result(server.api, &equal[0]).await["queryStatus"], "Cancelled");
    is_gone(&server, &equal[1]).await;
    // The rows go with the last that has them.
    let rows = book(&equal[0], "rows");
    for uri in &equal[2..] {
        assert!(has_pages(&*store, &rows));
        assert_eq!(delete(&server, uri).await.status, StatusCode::OK);
        is_gone(&server, uri).await;
    }
    assert!(!has_pages(&*store, &rows));
    server.stop().await;
}

#[tokio::test]
async fn equal_query_after_usage_came_is_computed_anew() {
    let store = Arc::new(MemoryStore::new());
    let server = limited(store.clone(), QueryLimits::default()).await;
    record_users(&*store, 0..3);
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let rows = async |uri: &str| rows_on(&result(server.api, uri).await).len();
    let first = start(server.api, JOBS, &body).await;
    assert_eq!(rows(&first).await, 3);
    let shared = start(server.api, JOBS, &body).await;
    assert_eq!(rows(&shared).await, 3);
    assert!(!has_pages(&*store, &book(&shared, "rows")), "it has those of the first");
    record_users(&*store, 3..5);
    let newer = start(server.api, JOBS, &body).await;
    assert_eq!((rows(&newer).await, rows(&shared).await), (5, 3));
    // A name that is in the rows is a change, too.
    let names = json!({"interval": DAY, "groupBy": ["OauthClientName"]});
    let before = start(server.api, JOBS, &names).await;
    assert_eq!(rows_on(&result(server.api, &before).await)[0]["oauthClient"]["name"], "client");
    let named = json!({"clientId": "client", "name": "The client"});
    assert_eq!(post(server.api, "/v1/access/clients", &named).await.status, StatusCode::OK);
    let after = start(server.api, JOBS, &names).await;
    let after = rows_on(&result(server.api, &after).await);
    assert_eq!(after[0]["oauthClient"]["name"], "The client");
    server.stop().await;
}

#[tokio::test]
async fn shared_result_survives_a_restart_and_its_first_query() {
    let store = Arc::new(BlockingStore::new());
    let limits = QueryLimits { workers: 1, ..QueryLimits::default() };
    let server = limited(store.clone(), limits).await;
    record_users(&*store, 0..10);
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let first = start(server.api, JOBS, &body).await;
    result(server.api, &first).await;
    let second = start(server.api, JOBS, &body).await;
    store.totals.close();
    let running = start(server.api, JOBS, &json!({"interval": "2026-11-19/P2D"})).await;
    store.totals.wait_for(1).await;
    let with = start(server.api, JOBS, &json!({"interval": "2026-11-19/P2D"})).await;
    let stopping = tokio::spawn(server.stop());
    store.totals.open();
    stopping.await.unwrap();

    let server = limited(store.clone(), limits).await;
    assert_eq!(delete(&server, &first).await.status, StatusCode::OK);
    assert_eq!(rows_in_pages(server.api, &second, 3).await.len(), 10);
    for uri in [&running, &with] {
        assert_eq!(rows_in_pages(server.api, uri, 100).await.len(), 10);
    }
    assert!(!has_pages(&*store, &book(&with, "rows")), "they are one again");
    server.stop().await;
}

#[tokio::test]
async fn deleted_query_ends_and_leaves_nothing() {
    let store = Arc::new(BlockingStore::new());
    let limits = QueryLimits { workers: 1, ..QueryLimits::default() };
    let server = limited(store.clone(), limits).await;
    record_users(&*store, 0..10);
    let by = |metric: &str| json!({"interval": DAY, "groupBy": ["UserId"], "metrics": [metric]});
    let finished = start(server.api, JOBS, &by("Requests")).await;
    result(server.api, &finished).await;
    store.rows.close();
    let running = start(server.api, JOBS, &by("Status200")).await;
    store.rows.wait_for(1).await;
    let waiting = start(server.api, SEARCH, &json!({"interval": DAY})).await;
    for uri in [&finished, &running, &waiting] {
        assert_eq!(delete(&server, uri).await.status, StatusCode::OK);
        is_gone(&server, uri).await;
        assert_eq!(delete(&server, uri).await.status, StatusCode::NOT_FOUND);
    }
    store.rows.open();
    // When the next one is over, the worker is through with what it ran.
    let next = start(server.api, JOBS, &by("Status500")).await;
    assert_eq!(result(server.api, &next).await["queryStatus"], "Succeeded");
    assert_eq!(delete(&server, &next).await.status, StatusCode::OK);
    for uri in [&finished, &running, &waiting, &next] {
        for name in ["query", "rows"] {
            assert!(!has_pages(&*store, &book(uri, name)), "{name} of {uri}");
        }
    }
    assert_eq!(store.documents(Collection::Queries).unwrap(), []);
    server.stop().await;
}

#[tokio::test]
async fn greedy_client_loses_its_own_oldest_results() {
    let limits = QueryLimits { kept_max: 40, ..QueryLimits::default() };
    let server = limited(Arc::new(MemoryStore::new()), limits).await;
    let (greedy, analyst) = (client(&server, "greedy").await, client(&server, "analyst").await);
    let body = json!({"interval": DAY});
    let kept = start_as(&server, &analyst, &body).await;
    result(server.api, &kept).await;
    let mut started = Vec::new();
    for _ in 0..50 {
        server.clock.advance(SignedDuration::from_secs(1));
        let uri = start_as(&server, &greedy, &body).await;
        result(server.api, &uri).await;
        started.push(uri);
    }
    // Three quarters are thirty.
    for uri in &started[..20] {
        is_gone(&server, uri).await;
    }
    for uri in &started[20..] {
        assert_eq!(get(server.api, uri).await.status, StatusCode::OK);
    }
    for _ in 0..15 {
        server.clock.advance(SignedDuration::from_secs(1));
        let uri = start_as(&server, &analyst, &body).await;
        result(server.api, &uri).await;
    }
    assert_eq!(get(server.api, &kept).await.status, StatusCode::OK);
    is_gone(&server, &started[20]).await;
    let metrics = get(server.admin, "/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in ["meterd_queries_kept 40", "meterd_query_results_evicted_total 26"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn results_beyond_their_bytes_evict_or_fail() {
    let limits = QueryLimits { result_bytes_max: 64 << 10, ..QueryLimits::default() };
    let store = Arc::new(MemoryStore::new());
    let server = limited(store.clone(), limits).await;
    record_users(&*store, 0..3000);
    // About 20 KiB each, and different.
    let of = |metric: &str| json!({"interval": DAY, "groupBy": ["UserId"], "metrics": [metric]});
    let mut started = Vec::new();
    for metric in ["Requests", "Status200", "Status300", "Status400"] {
        server.clock.advance(SignedDuration::from_secs(1));
        let uri = start(server.api, JOBS, &of(metric)).await;
        assert_eq!(result(server.api, &uri).await["queryStatus"], "Succeeded");
        started.push(uri);
    }
    is_gone(&server, &started[0]).await;
    assert!(!has_pages(&*store, &book(&started[0], "rows")));
    assert_eq!(rows_in_pages(server.api, &started[3], 1000).await.len(), 3000);
    record_users(&*store, 3000..12_000);
    let large = start(server.api, JOBS, &of("Requests")).await;
    let found = result(server.api, &large).await;
    assert_eq!(found["queryStatus"], "Failed");
    let error = &found["errorBody"];
    assert_eq!((&error["code"], &error["status"]), (&json!("bad.request"), &json!(400)));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("49152 bytes") && message.contains("--query-results-size-max"));
    assert!(!has_pages(&*store, &book(&large, "rows")));
    server.stop().await;
}
