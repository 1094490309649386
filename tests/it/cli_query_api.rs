//! What `meterd query api` prints, and what becomes of its job.

use std::{fmt::Write as _, net::SocketAddr, process::Stdio, sync::Arc};

use http::Method;
use jiff::SignedDuration;
use meterd::{
    service::usage_queries::QueryLimits,
    store::{UsageStore as _, document::Collection},
};
use serde_json::{Value, json};

use crate::support::{
    blocking_store::BlockingStore,
    command::{Ran, client, meterd, run, run_with_input},
    http::call,
    queries,
    server::{Setup, TestServer, fresh_uuid},
    usage::Calls,
};

/// The 19th and the 20th.
const DAYS: &str = "2026-11-19/2026-11-21";

/// client, user, template, method, status, platform and count, as CSV without uuid and time.
fn record(server: SocketAddr, time: &str, events: &[&str]) {
    let mut csv =
        "uuid,timestamp,client_id,user_id,template_uri,http_method,status,platform,count\n"
            .to_owned();
    for event in events {
        writeln!(csv, "{},{time},{event}", fresh_uuid()).unwrap();
    }
    run_with_input(client(server, &["record-api", "--format", "csv"]), &csv).ok();
}

/// Two days of usage, the clock at noon of the second.
async fn used_server() -> TestServer {
    let server = TestServer::start().await;
    server.clock.advance(SignedDuration::from_hours(-24));
    record(
        server.api,
        "2026-11-19T11:30:00Z",
        &[
            "portal,ann,/users/{id},GET,200,web,1000",
            "portal,bob,/users/{id},GET,404,web,7",
            "sync,,/users,POST,201,,20",
        ],
    );
    server.clock.advance(SignedDuration::from_hours(24));
    record(
        server.api,
        "2026-11-20T11:30:00Z",
        &[
            "portal,ann,/users/{id},GET,200,ios,500",
            "portal,ann,/users/{id},GET,429,ios,3",
            "sync,,/users/{id},GET,304,,2",
            "sync,,/users,POST,503,,1",
        ],
    );
    server
}

fn query(server: SocketAddr, arguments: &[&str]) -> Ran {
    run(client(server, &[&["query", "api", "--interval", DAYS], arguments].concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_totals() {
    let server = used_server().await;
    assert_eq!(
        query(server.api, &[]).ok(),
        "\
──────────────────────────────────────────────────────────────────────────────
 date         template      method   requests     2xx   3xx   4xx   429   5xx
══════════════════════════════════════════════════════════════════════════════
 2026-11-19   /users        POST           20      20     0     0     0     0
 2026-11-19   /users/{id}   GET         1,007   1,000     0     7     0     0
 2026-11-20   /users        POST            1       0     0     0     0     1
 2026-11-20   /users/{id}   GET           505     500     2     3     3     0
 total        /users        POST           21      20     0     0     0     1
 total        /users/{id}   GET         1,512   1,500     2    10     3     0
──────────────────────────────────────────────────────────────────────────────
1,533 requests in all
"
    );
    let some = ["--limit", "1", "--sort", "requests:desc", "--metric", "4xx,requests"];
    let first = query(server.api, &some);
    assert!(first.stderr.contains("the first 1 of 4 rows (--limit 0 for all)"), "{}", first.stderr);
    let lines: Vec<String> = first.ok().lines().map(str::to_owned).collect();
    assert!(lines[1].ends_with("template      method   requests   4xx"), "{lines:?}");
    assert_eq!(lines[3], " 2026-11-19   /users/{id}   GET         1,007     7");
    assert_eq!(lines.len(), 5, "no totals of a part: {lines:?}");

    let none = run(client(server.api, &["query", "api", "--interval", "2026-10-01/P1D"]));
    assert!(none.stderr.contains("no usage in 2026-10-01T00:00:00Z/2026-10-02T00:00:00Z"));
    assert_eq!(none.ok(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json_and_csv() {
    let server = used_server().await;
    assert_eq!(
        query(
            server.api,
            &["-o", "csv", "--group-by", "user,client", "--sort", "client:desc", "--sort", "date"]
        )
        .ok(),
        "\
date,client_id,user_id,request_count,status200,status300,status400,status429,status500
2026-11-19,sync,,20,20,0,0,0,0
2026-11-20,sync,,3,0,2,0,0,1
2026-11-19,portal,ann,1000,1000,0,0,0,0
2026-11-19,portal,bob,7,0,0,7,0,0
2026-11-20,portal,ann,503,500,0,3,3,0
"
    );
    let month = ["-o", "json", "--granularity", "month", "--metric", "requests,5xx"];
    let by = ["--group-by", "client-name,platform,method,template", "--method", "post"];
    let printed = query(server.api, &[month.as_slice(), &by].concat()).ok();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        printed,
        json!({
            "interval": "2026-11-19T00:00:00Z/2026-11-21T00:00:00Z",
            "granularity": "month",
            "rows": [{
                "date": "2026-11-01",
                "client_name": "sync",
                "template_uri": "/users",
                "http_method": "POST",
                "platform": "",
                "request_count": 21,
                "status500": 1,
            }],
            "row_count": 1,
        })
    );
    let none = ["query", "api", "--interval", "2026-10-01/P1D", "-o"];
    let csv = run(client(server.api, &[none.as_slice(), &["csv"]].concat())).ok();
    assert_eq!(csv.lines().count(), 1);
    let empty = run(client(server.api, &[none.as_slice(), &["json"]].concat())).ok();
    let empty: Value = serde_json::from_str(&empty).unwrap();
    assert_eq!((&empty["rows"], &empty["row_count"]), (&json!([]), &json!(0)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_down_and_the_end_is_not_part_of_it() {
    let server = used_server().await;
    let sum = |arguments: &[&str]| -> u64 {
        let form = ["-o", "csv", "--metric", "requests"];
        let csv = query(server.api, &[form.as_slice(), arguments].concat()).ok();
        csv.lines().skip(1).map(|row| row.rsplit(',').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    for (arguments, expected) in [
        (&["--client", "sync"][..], 23),
        (&["--client", "sync", "--client", "portal"], 1533),
        (&["--user", "bob"], 7),
        (&["--template", "/users"], 21),
        (&["--method", "GET", "--platform", "ios"], 503),
        (&["--client", "nobody"], 0),
        (&["--granularity", "week"], 1533),
    ] {
        assert_eq!(sum(arguments), expected, "{arguments:?}");
    }
    for (interval, expected) in [
        ("2026-11-19/2026-11-20", 1027),
        ("2026-11-20/P1D", 506),
        ("2026-11-20T23:00:00Z/PT1H", 506),
    ] {
        let all = ["query", "api", "--interval", interval, "-o", "csv", "--metric", "requests"];
        let csv = run(client(server.api, &all)).ok();
        let counts = csv.lines().skip(1).map(|row| row.rsplit(',').next().unwrap());
        assert_eq!(counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_has_a_bar_for_every_day() {
    let server = used_server().await;
    let chart = |arguments: &[&str]| {
        let all = ["query", "api", "--interval", "2026-11-18/P4D", "--output", "chart"];
        run(client(server.api, &[all.as_slice(), arguments].concat()))
    };
    let bar = |columns| "█".repeat(columns);
    assert_eq!(
        chart(&["--group-by", "client"]).ok(),
        format!(
            "\
portal
2026-11-18      0
2026-11-19  1,007  {}
2026-11-20    503  {}▍
2026-11-21      0

sync
2026-11-18   0
2026-11-19  20  {}
2026-11-20   3  {}▌
2026-11-21   0
",
            bar(81),
            bar(40),
            bar(84),
            bar(12),
        )
    );
    let months = chart(&["--group-by", "client", "--granularity", "month", "--metric", "5xx"]).ok();
    assert_eq!(months, format!("portal\n2026-11  0\n\nsync\n2026-11  1  {}\n", bar(88)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_take_many_pages() {
    let server = TestServer::start().await;
    let events: Vec<String> =
        (0..2345).map(|user| format!("c,user-{user:04},/t,GET,200,,{}", user + 1)).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    record(server.api, "2026-11-20T11:30:00Z", &events);
    let by_user = ["--group-by", "user", "--metric", "requests", "-o"];
    let arguments = |rest: &[&'static str]| [by_user.as_slice(), rest].concat();
    let csv = query(server.api, &arguments(&["csv", "--sort", "requests:desc"])).ok();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 2346);
    assert_eq!(rows[1], "2026-11-20,user-2344,2345");
    assert_eq!(rows[2345], "2026-11-20,user-0000,1");
    let table = query(server.api, &arguments(&["table"])).ok();
    assert!(table.ends_with("\n2,750,685 requests in all\n"));
    let json = query(server.api, &arguments(&["json", "--limit", "1001"])).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["rows"].as_array().unwrap().len(), &json["row_count"]), (1001, &json!(2345)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_words() {
    let server = TestServer::start().await;
    let create = ["client", "create", "agent", "--permission", "usage:api:write", "-o", "json"];
    let created: Value = serde_json::from_str(&run(client(server.api, &create)).ok()).unwrap();
    let mut agent = meterd(&["query", "api", "--interval", DAYS]);
    agent
        .env("METERD_SERVER", format!("http://{}", server.api))
        .env("METERD_API_KEY", created["api_key"].as_str().unwrap());
    run(agent).fails(1, &["not allowed", "usage:organization:view"]);

    let refused = |arguments: &[&str], parts: &[&str]| {
        run(client(server.api, &[&["query", "api"], arguments].concat())).fails(1, parts);
    };
    refused(&["--interval", "2026-08-01/P92D"], &["interval: ", "90 days"]);
    refused(&["--interval", "2025-11-01/P1D"], &["interval: ", "a year ago"]);
    refused(&["--interval", DAYS, "--user", ""], &["user_ids[0]: "]);

    let limits = QueryLimits { unfinished_max: 0, ..QueryLimits::default() };
    let full = TestServer::with(Setup { queries: limits, ..Setup::default() }).await;
    query(full.api, &[]).fails(1, &["error: ", "0 queries of the organization are not finished"]);
    full.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_beyond_json_are_told_as_the_largest() {
    let server = TestServer::start().await;
    let most = Calls { count: i64::MAX, ..Calls::default() };
    queries::record(&*server.store, "default", &[("2026-11-20T11:30:00Z", most)]);
    let told = "counts above 9,007,199,254,740,991 are given as that";
    for (form, expected) in [
        ("csv", ",9007199254740991\n"),
        ("table", " 9,007,199,254,740,991"),
        ("json", "\"counts_saturated\": true"),
    ] {
        let printed = query(server.api, &["-o", form, "--metric", "requests"]);
        assert!(printed.stderr.contains(told), "{form}: {}", printed.stderr);
        let printed = printed.ok();
        assert!(printed.contains(expected), "{form}: {printed}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_deleted_once_its_result_is_read() {
    let server = used_server().await;
    query(server.api, &["--limit", "1"]).ok();
    assert_eq!(server.store.documents(Collection::Queries).unwrap(), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_the_job() {
    let store = Arc::new(BlockingStore::new());
    let setup = Setup { store: store.clone(), ..Setup::default() };
    let server = TestServer::with(setup).await;
    let mut earlier = None;
    for by_somebody_else in [false, true] {
        store.totals.close();
        let mut command = client(server.api, &["query", "api", "--interval", DAYS]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = command.spawn().unwrap();
        store.totals.wait_for(1).await;
        let jobs = store.documents(Collection::Queries).unwrap().into_iter().map(|job| job.name);
        let job = jobs.into_iter().find(|job| earlier.as_ref() != Some(job)).unwrap();
        if by_somebody_else {
            let target = format!("/v1/usageJobs/{job}:cancel");
            let cancelled = call(Method::POST, &target).json("{}").send(server.api).await;
            assert_eq!(cancelled.json()["state"], "JOB_STATE_CANCELLED");
        } else {
            let process = waiting.id().to_string();
            let killed = std::process::Command::new("kill").args(["-INT", &process]).status();
            assert!(killed.unwrap().success());
        }
        let output = tokio::task::spawn_blocking(|| waiting.wait_with_output().unwrap());
        let output = output.await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = if by_somebody_else {
            "error: the job was cancelled by somebody else\n"
        } else {
            "error: interrupted; the job is cancelled\n"
        };
        assert_eq!((output.status.code(), said.as_str()), (Some(1), expected));
        let state = call(Method::GET, &format!("/v1/usageJobs/{job}")).send(server.api).await;
        assert_eq!(state.json()["state"], "JOB_STATE_CANCELLED");
        store.totals.open();
        store.totals.wait_until_empty().await;
        earlier = Some(job);
    }
    server.stop().await;
}

#[test]
fn what_cannot_be_meant_is_refused_before_any_call() {
    let refused = |arguments: &[&str], parts: &[&str]| {
        let all = [&["query", "api"], arguments].concat();
        run(client(([127, 0, 0, 1], 1).into(), &all)).fails(2, parts);
    };
    refused(&["--interval", "yesterday"], &["--interval \"yesterday\" must be an ISO 8601"]);
    refused(&["--granularity", "total"], &["--granularity", "total", "day, week, month"]);
    refused(
        &["--group-by", "colour"],
        &["--group-by", "colour", "client, client-name, user, template, method, platform"],
    );
    refused(&["--metric", "418"], &["--metric", "418", "requests, 2xx, 3xx, 4xx, 429, 5xx"]);
    refused(&["--method", "BREW"], &["--method", "BREW", "GET, POST, PUT, PATCH, DELETE, HEAD"]);
    refused(&["--sort", "colour"], &["--sort", "\"colour\" is none of date, client, client-name"]);
    refused(&["--sort", "date:up"], &["--sort", "\"up\" is neither asc nor desc"]);
    refused(&["--sort", "user"], &["--sort user: rows have date, template, method, requests"]);
    refused(&["--output", "chart", "--limit", "3"], &["--limit", "chart"]);
}
