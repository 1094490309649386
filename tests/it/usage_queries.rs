//! What usage queries count: days, weeks and months, and what is part of an interval.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    queries::{CLIENT_JOBS, CLIENT_QUERY, JOBS, QUERY, SEARCH, get, record, result, rows},
    server::TestServer,
    usage::Calls,
};

/// A server with one more power of two on each of these days, so that a sum says which of them it counts.
async fn server_of_days() -> TestServer {
    let server = TestServer::start().await;
    let days = [
        "2025-12-28T23:59:59.999Z", // a Sunday: 1
        "2025-12-29T00:00:00Z",     // 2
        "2025-12-31T23:59:59Z",     // 4
        "2026-01-01T00:00:00Z",     // 8
        "2026-01-04T12:00:00Z",     // 16
        "2026-01-05T00:00:00Z",     // a Monday: 32
        "2026-02-28T23:00:00Z",     // 64
        "2026-03-01T00:00:00Z",     // 128
        "2026-11-13T12:00:00Z",     // seven days ago: 256
        "2026-11-20T12:00:00Z",     // now: 512
    ];
    let calls: Vec<_> = (0..)
        .zip(days)
        .map(|(power, day)| (day, Calls { count: 1 << power, ..Calls::default() }))
        .collect();
    record(&*server.store, "default", &calls);
    server
}

/// Dates and counts of rows, a row after another.
fn dated(rows: &[Value], count: &str) -> String {
    let row = |row: &Value| {
        let date = row["date"].as_str().unwrap_or("-").trim_end_matches("T00:00:00.000Z");
        format!("{date} {}", row[count])
    };
    rows.iter().map(row).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn weeks_begin_on_monday_months_on_the_first_and_intervals_cut_their_counts() {
    let server = server_of_days().await;
    for (interval, granularity, expected) in [
        (
            "2025-12-28/2026-01-06",
            "Day",
            "2025-12-28 1, 2025-12-29 2, 2025-12-31 4, 2026-01-01 8, 2026-01-04 16, 2026-01-05 32",
        ),
        ("2025-12-28/2026-01-06", "Week", "2025-12-22 1, 2025-12-29 30, 2026-01-05 32"),
        ("2025-12-31/2026-01-05", "Week", "2025-12-29 28"),
        ("2025-12-28/2026-01-06", "Month", "2025-12-01 7, 2026-01-01 56"),
        ("2025-12-30/2026-01-02", "Month", "2025-12-01 4, 2026-01-01 8"),
        ("2026-02-28/P2D", "Month", "2026-02-01 64, 2026-03-01 128"),
        ("2026-02-28/P2D", "Week", "2026-02-23 192"),
        ("2025-12-28/2026-03-02", "", "- 255"),
    ] {
        for (target, is_about) in [(QUERY, "the organization"), (CLIENT_QUERY, "a client")] {
            let body = json!({"interval": interval, "granularity": granularity});
            let found = rows(server.api, target, &body).await;
            assert_eq!(dated(&found, "requests"), expected, "{is_about} {body}");
        }
    }
    // Both ends of the interval of a job are part of it, and days are what it is by if it does not say.
    for (interval, granularity, expected) in [
        ("2025-12-31/2026-01-05", "Week", "2025-12-29 28, 2026-01-05 32"),
        ("2025-12-31/2026-01-04", "Week", "2025-12-29 28"),
        ("2025-12-30/2026-01-01", "Month", "2025-12-01 4, 2026-01-01 8"),
        ("2025-12-29/2025-12-31", "Day", "2025-12-29 2, 2025-12-31 4"),
        ("2025-12-29/2025-12-31", "", "2025-12-29 2, 2025-12-31 4"),
    ] {
        for target in [JOBS, CLIENT_JOBS] {
            let body = json!({"interval": interval, "granularity": granularity});
            let found = rows(server.api, target, &body).await;
            assert_eq!(dated(&found, "requestCount"), expected, "{target} {body}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn intervals_have_ends_fractions_offsets_and_durations() {
    let server = server_of_days().await;
    // A query that is no job, and a job: the sums of what each counts.
    for (interval, of_query, of_job) in [
        ("2025-12-28/2025-12-29", 1, 3),
        ("2025-12-28T00:00:00Z/2025-12-29T00:00:00Z", 1, 3),
        ("2025-12-28T00:00:00/2025-12-29T00:00:00", 1, 3),
        ("2025-12-28T00:00:00.000Z/2025-12-28T23:59:59.999Z", 1, 1),
        ("2025-12-28T00:00:00.000Z/2025-12-29T00:00:00.001Z", 3, 3),
        ("2025-12-28T23:59:59.999999999Z/2025-12-29", 1, 3),
        ("2025-12-29T01:00:00+02:00/2025-12-29T02:00:00+02:00", 1, 3),
        ("2025-12-29T01:00:00+02:00/2025-12-29T02:00:00.5+02:00", 3, 3),
        ("2025-12-28T18:59:59-05:00/2025-12-28T19:00:00-05:00", 1, 3),
        ("2025-12-28/P1D", 1, 3),
        ("P1D/2025-12-29", 1, 3),
        ("2025-12-28T12:00:00Z/PT12H", 1, 3),
        ("2025-12-28/P1W", 15, 31),
        ("2025-12-01/P1M", 7, 15),
        // In a day of which an hour is asked for, all of it counts.
        ("2026-01-04T00:00:00Z/2026-01-04T01:00:00Z", 16, 16),
    ] {
        let body = json!({"interval": interval, "metrics": ["Requests"]});
        let found = rows(server.api, QUERY, &body).await;
        assert_eq!(found, [json!({"requests": of_query})], "{interval}");
        let found = rows(server.api, JOBS, &body).await;
        let sum: u64 = found.iter().map(|row| row["requestCount"].as_u64().unwrap()).sum();
        assert_eq!(sum, of_job, "{interval}");
    }
    // From one instant to the same is a day of a job.
    let body = json!({"interval": "2026-01-01T00:00:00Z/2026-01-01T00:00:00Z"});
    assert_eq!(dated(&rows(server.api, JOBS, &body).await, "requestCount"), "2026-01-01 8");
    // What lies ahead has no rows, and a result without rows has one page.
    let body = json!({"interval": "2026-12-01/2026-12-31", "granularity": "Day"});
    for target in [QUERY, CLIENT_QUERY, SEARCH, JOBS, CLIENT_JOBS] {
        assert_eq!(rows(server.api, target, &body).await, Vec::<Value>::new(), "{target}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_summary_counts_the_days_before_today_and_today() {
    let server = server_of_days().await;
    for (query, expected) in
        [("", 768), ("?days=7", 768), ("?days=6", 512), ("?days=1", 512), ("?days=365", 1023)]
    {
        let target = format!("/api/v2/oauth/clients/client/usage/summary{query}");
        let answer = get(server.api, &target).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
        let uri = answer.json()["resultsUri"].as_str().unwrap().to_owned();
        let expected = json!([{
            "templateUri": "/v1/things/{id}", "httpMethod": "GET", "requests": expected,
            "status200": expected, "status300": 0, "status400": 0, "status429": 0, "status500": 0,
        }]);
        assert_eq!(result(server.api, &uri).await["results"], expected, "{query}");
    }
    server.stop().await;
}
