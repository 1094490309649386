//! Cursors of usage queries: of the right query, as they were given, or refused.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    queries::{
        CLIENT_JOBS, JOBS, SEARCH, cursor_after, error_fields, get, record, record_users, result,
        rows_in_pages, rows_on, start,
    },
    server::TestServer,
    usage::Calls,
};

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn body() -> Value {
    json!({"interval": "2026-11-20/P1D"})
}

/// The cursor after the first row of a result, and the page that it leads to.
async fn cursor(server: &TestServer, uri: &str) -> (String, Value) {
    let first = get(server.api, &format!("{uri}?pageSize=1")).await.json();
    let cursor = cursor_after(&first).unwrap();
    let target = format!("{uri}?pageSize=1&after={cursor}");
    let second = get(server.api, &target).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.json());
    assert_ne!(rows_on(&first), rows_on(&second.json()));
    (cursor, second.json())
}

async fn assert_refused(server: &TestServer, uri: &str, cursor: &str) {
    let answer = get(server.api, &format!("{uri}?pageSize=1&after={cursor}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{cursor} at {uri}");
    assert_eq!(error_fields(&answer, StatusCode::BAD_REQUEST, "bad.request"), ["after"]);
}

/// A server with six rows for each operation.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    let templates: Vec<String> = (0..6).map(|number| format!("/v1/{number}")).collect();
    let calls: Vec<_> = templates
        .iter()
        .map(|template| ("2026-11-20T11:00:00Z", Calls { template, ..Calls::default() }))
        .collect();
    record(&*server.store, "default", &calls);
    server
}

#[tokio::test]
async fn a_cursor_of_which_anything_was_changed_is_refused() {
    let server = server().await;
    let uri = start(server.api, JOBS, &body()).await;
    result(server.api, &uri).await;
    let (cursor, page) = cursor(&server, &uri).await;
    for at in 0..cursor.len() {
        let place = ALPHABET.find(&cursor[at..=at]).unwrap();
        // Each bit of the character flipped, and what no cursor has.
        let flipped = (0..6).map(|bit| &ALPHABET[place ^ (1 << bit)..][..1]);
        for other in flipped.chain(["", "=", "%2B", "%2F", "%00"]) {
            let mut altered = cursor.clone();
            altered.replace_range(at..=at, other);
            assert_refused(&server, &uri, &altered).await;
        }
    }
    for length in 1..cursor.len() {
        assert_refused(&server, &uri, &cursor[..length]).await;
    }
    for longer in [format!("{cursor}A"), format!("{cursor}{cursor}"), format!("A{cursor}")] {
        assert_refused(&server, &uri, &longer).await;
    }
    let again = get(server.api, &format!("{uri}?pageSize=1&after={cursor}")).await.json();
    assert_eq!(again, page);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_of_one_query_is_none_of_another() {
    let server = server().await;
    let mut results = Vec::new();
    for target in [SEARCH, JOBS, CLIENT_JOBS, JOBS] {
        let uri = start(server.api, target, &body()).await;
        result(server.api, &uri).await;
        let cursor = cursor(&server, &uri).await.0;
        results.push((uri, cursor));
    }
    for (uri, own) in &results {
        for (_, cursor) in &results {
            if cursor != own {
                assert_refused(&server, uri, cursor).await;
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_leads_to_the_next_and_the_last_to_none() {
    let server = TestServer::start().await;
    record_users(&*server.store, 0..2_500);
    let body =
        json!({"interval": "2026-11-20/P1D", "groupBy": ["UserId"], "metrics": ["Requests"]});
    let uri = start(server.api, JOBS, &body).await;
    let all = rows_in_pages(server.api, &uri, 1000).await;
    let names: Vec<&str> = all.iter().map(|row| row["user"]["id"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[2_499]), (2_500, "user-000000", "user-002499"));
    assert!(names.is_sorted_by(|one, next| one < next), "every user once, in order");
    for size in [999, 625, 100, 33] {
        assert_eq!(rows_in_pages(server.api, &uri, size).await, all, "{size}");
    }
    // The place of the next page is complete: whoever follows it needs no more.
    let (mut target, mut found) = (uri.clone(), Vec::new());
    loop {
        let page = get(server.api, &target).await.json();
        assert_eq!(page["selfUri"], uri.as_str());
        found.extend(rows_on(&page));
        match page["nextUri"].as_str() {
            Some(next) => target = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, all);
    // A cursor works with a page of any size.
    let first = get(server.api, &format!("{uri}?pageSize=10")).await.json();
    let cursor = cursor_after(&first).unwrap();
    let rest = get(server.api, &format!("{uri}?pageSize=1000&after={cursor}")).await.json();
    assert_eq!(rows_on(&rest), all[10..1010]);
    server.stop().await;
}

#[tokio::test]
async fn pages_have_between_one_and_a_thousand_rows() {
    let server = server().await;
    for target in [SEARCH, JOBS, CLIENT_JOBS] {
        let uri = start(server.api, target, &body()).await;
        result(server.api, &uri).await;
        for (size, rows) in [("0", 6), ("1", 1), ("5", 5), ("1000", 6)] {
            let page = get(server.api, &format!("{uri}?pageSize={size}")).await;
            assert_eq!(page.status, StatusCode::OK, "{target} {size}");
            assert_eq!(rows_on(&page.json()).len(), rows, "{target} {size}");
        }
        for size in ["-1", "1001", "2147483647"] {
            let answer = get(server.api, &format!("{uri}?pageSize={size}")).await;
            let fields = error_fields(&answer, StatusCode::BAD_REQUEST, "bad.request");
            assert_eq!(fields, ["pageSize"], "{target} {size}");
        }
        let answer = get(server.api, &format!("{uri}?pageSize=many")).await;
        error_fields(&answer, StatusCode::BAD_REQUEST, "bad.request");
    }
    server.stop().await;
}
