//! Usage queries over REST, from their start to their last page.

use std::{net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use meterd::store::UsageStore;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    http::{Answer, call},
    server::noon,
    usage::{Calls, commit_events, event},
};

pub const QUERY: &str = "/api/v2/usage/query";
pub const SEARCH: &str = "/api/v2/usage/simplesearch";
pub const JOBS: &str = "/api/v2/usage/aggregates/query/jobs";
pub const CLIENT_QUERY: &str = "/api/v2/oauth/clients/client/usage/query";
pub const CLIENT_JOBS: &str = "/api/v2/usage/client/client/aggregates/query/jobs";

/// Nothing here takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Stores calls of an API, each of them at an instant of its own.
pub fn record(store: &dyn UsageStore, organization: &str, calls: &[(&str, Calls<'_>)]) {
    let event = |(time, calls): &(&str, Calls<'_>)| {
        event(uuid::Uuid::new_v4().as_u128(), calls, time.parse().unwrap())
    };
    let events = calls.iter().map(event).collect();
    commit_events(store, organization, events, noon()).unwrap();
}

/// Stores a call on behalf of each of some users, the ends of whose names are given.
pub fn record_users(store: &dyn UsageStore, users: std::ops::Range<usize>) {
    let names: Vec<String> = users.map(|number| format!("user-{number:06}")).collect();
    for names in names.chunks(1000) {
        let calls: Vec<_> = names
            .iter()
            .map(|user| ("2026-11-20T11:00:00Z", Calls { user, ..Calls::default() }))
            .collect();
        record(store, "default", &calls);
    }
}

pub async fn get(api: SocketAddr, target: &str) -> Answer {
    call(Method::GET, target).send(api).await
}

pub async fn post(api: SocketAddr, target: &str, body: &Value) -> Answer {
    call(Method::POST, target).json(body).send(api).await
}

/// Starts a query; where its result will be.
pub async fn start(api: SocketAddr, target: &str, body: &Value) -> String {
    let answer = post(api, target, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{target} {body}: {}", answer.json());
    answer.json()["resultsUri"].as_str().unwrap().to_owned()
}

/// The id at the place of a result.
pub fn id_of(results_uri: &str) -> &str {
    results_uri.split('/').find(|part| uuid::Uuid::parse_str(part).is_ok()).unwrap()
}

/// The first page of a result, once the query is over.
pub async fn result(api: SocketAddr, results_uri: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(api, results_uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{results_uri}: {}", answer.json());
        let result = answer.json();
        if !["Queued", "Running"].contains(&result["queryStatus"].as_str().unwrap()) {
            return result;
        }
        assert!(Instant::now() < deadline, "{results_uri} is not over: {result}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The rows on a page, whichever operation it is of.
pub fn rows_on(page: &Value) -> Vec<Value> {
    let rows = if page["entities"].is_array() { &page["entities"] } else { &page["results"] };
    rows.as_array().unwrap().clone()
}

/// The cursor of the page after a page.
pub fn cursor_after(page: &Value) -> Option<String> {
    if let Some(uri) = page["nextUri"].as_str() {
        return Some(uri.split_once("after=").unwrap().1.to_owned());
    }
    page["cursors"]["after"].as_str().map(str::to_owned)
}

/// All rows of a query that succeeds, in pages of `size`.
pub async fn rows_in_pages(api: SocketAddr, results_uri: &str, size: usize) -> Vec<Value> {
    result(api, results_uri).await;
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let target = format!("{results_uri}?pageSize={size}{after}");
        let page = get(api, &target).await.json();
        let status = page["queryStatus"].as_str().unwrap_or_default();
        assert!(["Succeeded", "Complete"].contains(&status), "{target}: {page}");
        let found = rows_on(&page);
        rows.extend(found.iter().cloned());
        match cursor_after(&page) {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return rows,
        }
        assert_eq!(found.len(), size, "only the last page may be short");
    }
}

/// What a query that succeeds answers, on one page.
pub async fn rows(api: SocketAddr, target: &str, body: &Value) -> Vec<Value> {
    let uri = start(api, target, body).await;
    let page = result(api, &uri).await;
    let status = page["queryStatus"].as_str().unwrap();
    assert!(["Succeeded", "Complete"].contains(&status), "{target} {body}: {page}");
    assert_eq!(cursor_after(&page), None, "{page}");
    rows_on(&page)
}

/// Checks an error in the vendor's shape and answers the members that it names.
#[track_caller]
pub fn error_fields(answer: &Answer, status: StatusCode, code: &str) -> Vec<String> {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(body["status"], status.as_u16(), "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert_eq!(body["contextId"], answer.headers["x-request-id"].to_str().unwrap(), "{body}");
    let details = body["details"].as_array().unwrap();
    details.iter().map(|detail| detail["fieldName"].as_str().unwrap().to_owned()).collect()
}
