//! What becomes of usage queries: they wait, run, are cancelled, fail, expire, and are never too many.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use jiff::SignedDuration;
use meterd::{service::usage_queries::QueryLimits, store::UsageStore};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    blocking_store::BlockingStore,
    http::{Answer, call},
    queries::{
        JOBS, PATIENCE, QUERY, SEARCH, error_fields, get, id_of, post, record, record_users,
        result, rows_in_pages, rows_on, start,
    },
    server::{Setup, TestServer},
    usage::{Calls, organization},
};

const DAY: &str = "2026-11-20/P1D";

/// A server with one worker, over a store whose reads can be held up.
async fn one_worker() -> (TestServer, Arc<BlockingStore>) {
    let store = Arc::new(BlockingStore::new());
    (over(&store).await, store)
}

async fn over(store: &Arc<BlockingStore>) -> TestServer {
    TestServer::with(Setup {
        store: Arc::<BlockingStore>::clone(store),
        queries: QueryLimits { workers: 1, ..QueryLimits::default() },
        ..Setup::default()
    })
    .await
}

async fn job(server: &TestServer, uri: &str) -> Value {
    let answer = get(server.api, &format!("/v1/usageJobs/{}", id_of(uri))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()
}

async fn cancel(server: &TestServer, uri: &str) -> Answer {
    let target = format!("/v1/usageJobs/{}:cancel", id_of(uri));
    call(Method::POST, &target).json("{}").send(server.api).await
}

/// The state of a query as its operation tells it.
async fn status(server: &TestServer, uri: &str) -> String {
    let answer = get(server.api, uri).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()["queryStatus"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn queries_that_wait_or_run_can_be_cancelled_and_those_that_are_over_cannot() {
    let (server, store) = one_worker().await;
    record_users(&*server.store, 0..10);
    store.totals.close();
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let running = start(server.api, JOBS, &body).await;
    store.totals.wait_for(1).await;
    // None has the result of another.
    let with =
        |metrics: &[&str]| json!({"interval": DAY, "groupBy": ["UserId"], "metrics": metrics});
    let waiting = start(server.api, JOBS, &with(&["Status200"])).await;
    let older = start(server.api, QUERY, &body).await;
    let last = start(server.api, JOBS, &with(&["Requests"])).await;
    assert_eq!(status(&server, &running).await, "Running");
    assert_eq!(status(&server, &waiting).await, "Queued");
    assert_eq!(status(&server, &older).await, "Running");
    let told = job(&server, &waiting).await;
    assert_eq!(
        told,
        json!({
            "id": id_of(&waiting), "operation": "CreateOrganizationAggregatesJob",
            "state": "JOB_STATE_QUEUED", "totalsRead": told["totalsRead"],
            "rowsWritten": told["rowsWritten"], "createTime": "2026-11-20T12:00:00Z", "failure": "",
        })
    );
    assert_eq!(job(&server, &running).await["state"], "JOB_STATE_RUNNING");

    server.clock.advance(SignedDuration::from_mins(1));
    for uri in [&running, &waiting, &older] {
        let answer = cancel(&server, uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        assert_eq!(answer.json()["state"], "JOB_STATE_CANCELLED");
        assert_eq!(answer.json()["finishTime"], "2026-11-20T12:01:00Z");
        assert_eq!(answer.json()["expireTime"], "2026-11-21T12:01:00Z");
    }
    store.totals.open();
    // What waits behind them has its turn; they stay as they are.
    let found = result(server.api, &last).await;
    assert_eq!((&found["queryStatus"], rows_on(&found).len()), (&json!("Succeeded"), 10));
    for uri in [&running, &waiting] {
        let found = get(server.api, uri).await.json();
        assert_eq!(found["queryStatus"], "Cancelled", "{found}");
        assert_eq!((&found["entities"], found.get("errorBody")), (&json!([]), None));
        for book in ["query", "rows"] {
            let book = format!("{}/{book}", id_of(uri));
            assert_eq!(store.page_at(&organization("default"), &book, u64::MAX).unwrap(), None);
        }
    }
    let found = get(server.api, &older).await.json();
    assert_eq!((&found["queryStatus"], &found["results"]), (&json!("Failed"), &json!([])));
    assert_eq!(found["failure"], "the query was cancelled");

    // One that is over stays what it is, whatever is cancelled again.
    for (uri, state) in [(&last, "JOB_STATE_SUCCEEDED"), (&waiting, "JOB_STATE_CANCELLED")] {
        let before = job(&server, uri).await;
        let answer = cancel(&server, uri).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, before));
        assert_eq!(job(&server, uri).await["state"], state);
    }
    assert_eq!(rows_in_pages(server.api, &last, 3).await.len(), 10);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_cancelled_while_it_begins_is_one_thing_or_the_other() {
    let server = TestServer::start().await;
    let body = json!({"interval": DAY});
    for _ in 0..50 {
        let uri = start(server.api, JOBS, &body).await;
        let cancelled = cancel(&server, &uri).await.json();
        let state = cancelled["state"].as_str().unwrap();
        assert!(["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"].contains(&state), "{cancelled}");
        assert_eq!(job(&server, &uri).await["state"], state);
    }
    server.stop().await;
}

#[tokio::test]
async fn unfinished_queries_beyond_their_limits_are_refused() {
    let (server, store) = one_worker().await;
    store.totals.close();
    let body = json!({"interval": DAY});
    let key = |id: &'static str| {
        let client = json!({"clientId": id, "permissions": ["usage:organization:view"]});
        let api = server.api;
        async move { post(api, "/v1/access/clients", &client).await.json()["apiKey"].clone() }
    };
    let other = key("other").await;
    let of_other = || {
        let call = call(Method::POST, JOBS).anonymous().header("api-key", other.as_str().unwrap());
        call.json(&body).send(server.api)
    };
    let check_refused = |refused: &Answer, why: &str| {
        error_fields(refused, StatusCode::TOO_MANY_REQUESTS, "too.many.requests");
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
        let message = refused.json()["message"].to_string();
        assert!(message.contains(why), "{message}");
    };
    let mut started = Vec::new();
    for number in 0..15 {
        started.push(start(server.api, [QUERY, SEARCH, JOBS][number % 3], &body).await);
    }
    for target in [QUERY, SEARCH, JOBS] {
        let refused = post(server.api, target, &body).await;
        check_refused(&refused, "15 queries of the client are not finished");
    }
    // The rest is for other clients.
    for _ in 0..5 {
        assert_eq!(of_other().await.status, StatusCode::ACCEPTED);
    }
    check_refused(&of_other().await, "20 queries of the organization are not finished");
    // Another organization has its own twenty.
    let elsewhere = json!({"organizationId": "elsewhere"});
    post(server.api, "/v1/access/organizations", &elsewhere).await;
    let client = json!({"organizationId": "elsewhere", "clientId": "agent", "permissions": ["usage:organization:view"]});
    let key = post(server.api, "/v1/access/clients", &client).await.json()["apiKey"].clone();
    let there = call(Method::POST, JOBS).anonymous().header("api-key", key.as_str().unwrap());
    assert_eq!(there.json(&body).send(server.api).await.status, StatusCode::ACCEPTED);
    // One that is cancelled makes room.
    cancel(&server, &started[14]).await;
    started.push(start(server.api, QUERY, &body).await);
    assert_eq!(post(server.api, QUERY, &body).await.status, StatusCode::TOO_MANY_REQUESTS);
    store.totals.open();
    for uri in &started {
        result(server.api, uri).await;
    }
    start(server.api, QUERY, &body).await;
    server.stop().await;
}

#[tokio::test]
async fn results_stay_as_they_are_for_a_day_and_are_gone_then() {
    let server = TestServer::start().await;
    record_users(&*server.store, 0..250);
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let uri = start(server.api, JOBS, &body).await;
    let before = rows_in_pages(server.api, &uri, 100).await;
    assert_eq!(before.len(), 250);
    record_users(&*server.store, 100..400);
    assert_eq!(rows_in_pages(server.api, &uri, 7).await, before);
    let newer = start(server.api, JOBS, &body).await;
    assert_eq!(rows_in_pages(server.api, &newer, 1000).await.len(), 400);

    server.clock.advance(SignedDuration::from_secs(86_399));
    assert_eq!(rows_in_pages(server.api, &uri, 1000).await, before);
    server.clock.advance(SignedDuration::from_secs(1));
    for target in [uri.clone(), format!("{uri}?pageSize=1")] {
        error_fields(&get(server.api, &target).await, StatusCode::NOT_FOUND, "not.found");
    }
    let told = get(server.api, &format!("/v1/usageJobs/{}", id_of(&uri))).await;
    assert_eq!(told.status, StatusCode::NOT_FOUND);
    assert_eq!(cancel(&server, &uri).await.status, StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_with_more_than_twenty_thousand_rows_fails_and_says_why() {
    let server = TestServer::start().await;
    let templates: Vec<String> = (0..20_001).map(|number| format!("/v1/{number}")).collect();
    let calls = |template| ("2026-11-20T11:00:00Z", Calls { template, ..Calls::default() });
    for some in templates[1..].chunks(1000) {
        let some: Vec<_> = some.iter().map(|template| calls(template)).collect();
        record(&*server.store, "default", &some);
    }
    let body = json!({"interval": DAY, "metrics": ["TemplateUri", "Status200"]});
    let query = json!({"interval": DAY, "groupBy": ["TemplateUri"]});
    let uri = start(server.api, SEARCH, &body).await;
    assert_eq!(rows_in_pages(server.api, &uri, 1000).await.len(), 20_000);
    let uri = start(server.api, QUERY, &query).await;
    assert_eq!(rows_on(&result(server.api, &uri).await).len(), 20_000);
    // One more.
    record(&*server.store, "default", &[calls(&templates[0])]);
    for (target, body) in [(SEARCH, &body), (QUERY, &query)] {
        let uri = start(server.api, target, body).await;
        let found = result(server.api, &uri).await;
        assert_eq!((&found["queryStatus"], &found["results"]), (&json!("Failed"), &json!([])));
        let failure = found["failure"].as_str().unwrap();
        assert!(failure.contains("more than 20000 rows"), "{failure}");
        let told = job(&server, &uri).await;
        assert_eq!(
            (&told["state"], &told["failure"]),
            (&json!("JOB_STATE_FAILED"), &json!(failure))
        );
    }
    // A job may have more.
    let uri = start(server.api, JOBS, &query).await;
    assert_eq!(rows_in_pages(server.api, &uri, 1000).await.len(), 20_001);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_end_could_not_be_written_runs_again_after_the_restart() {
    let (server, store) = one_worker().await;
    record_users(&*store, 0..10);
    store.totals.close();
    let uri = start(server.api, JOBS, &json!({"interval": DAY, "groupBy": ["UserId"]})).await;
    store.totals.wait_for(1).await;
    store.fail_documents(true);
    store.totals.open();
    let deadline = Instant::now() + PATIENCE;
    while store.failed_documents() == 0 {
        assert!(Instant::now() < deadline, "the query does not end");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.stop().await;
    store.fail_documents(false);
    let server = over(&store).await;
    let found = result(server.api, &uri).await;
    assert_eq!(
        (&found["queryStatus"], rows_on(&found).len()),
        (&json!("Succeeded"), 10),
        "{found}"
    );
    server.stop().await;
}

#[tokio::test]
async fn rows_written_after_a_query_was_cancelled_do_not_stay() {
    let (server, store) = one_worker().await;
    record_users(&*store, 0..10);
    store.rows.close();
    let body = json!({"interval": DAY, "groupBy": ["UserId"]});
    let uri = start(server.api, JOBS, &body).await;
    store.rows.wait_for(1).await;
    assert_eq!(cancel(&server, &uri).await.json()["state"], "JOB_STATE_CANCELLED");
    store.rows.open();
    // When the next one is over, the worker is through with it.
    let next = start(server.api, JOBS, &body).await;
    assert_eq!(result(server.api, &next).await["queryStatus"], "Succeeded");
    let book = format!("{}/rows", id_of(&uri));
    assert_eq!(store.page_at(&organization("default"), &book, u64::MAX).unwrap(), None);
    assert_eq!(status(&server, &uri).await, "Cancelled");
    server.stop().await;
}

#[tokio::test]
async fn a_failure_that_is_not_the_callers_does_not_say_it_is() {
    let (server, store) = one_worker().await;
    store.fail_totals();
    let uri = start(server.api, JOBS, &json!({"interval": DAY})).await;
    let found = result(server.api, &uri).await;
    assert_eq!(found["queryStatus"], "Failed");
    assert_eq!(
        found["errorBody"],
        json!({"message": "internal failure", "code": "internal.server.error", "status": 500})
    );
    server.stop().await;
}

#[tokio::test]
async fn rows_that_are_gone_are_an_error_and_no_empty_page() {
    let (server, store) = one_worker().await;
    record_users(&*store, 0..5);
    let uri = start(server.api, JOBS, &json!({"interval": DAY})).await;
    assert_eq!(rows_in_pages(server.api, &uri, 2).await.len(), 5);
    let book = format!("{}/rows", id_of(&uri));
    store.remove_pages(&organization("default"), &book).unwrap();
    let answer = get(server.api, &uri).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.json());
    server.stop().await;
}
