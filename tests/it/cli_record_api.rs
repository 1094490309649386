//! `meterd record-api`: forms of input, what is refused where, and a server that asks to wait.

use serde_json::{Value, json};

use crate::support::{
    command::{Ran, client, file, meterd, run, run_with_input},
    process::{MeterdProcess, serve_command},
    server::{TestServer, fresh_uuid},
};

const TIME: &str = "2026-11-20T11:59:00Z";

fn line(count: u64) -> String {
    let uuid = fresh_uuid();
    format!(
        r#"{{"uuid":"{uuid}","template_uri":"/t","http_method":"GET","status":200,"timestamp":"{TIME}","count":{count}}}"#
    ) + "\n"
}

fn record(server: &TestServer, arguments: &[&str], input: &str) -> Ran {
    let all = [&["record-api", "--output", "json"], arguments].concat();
    run_with_input(client(server.api, &all), input)
}

#[track_caller]
fn summary(ran: &Ran) -> Value {
    let mut summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(summary.as_object_mut().unwrap().remove("elapsed_ms").is_some());
    summary
}

fn expected(accepted: u64, identical: u64, conflicting: u64, rejected: Value) -> Value {
    json!({
        "accepted": accepted,
        "duplicates": { "identical": identical, "conflicting": conflicting },
        "rejected": rejected,
        "bad_lines": 0,
        "reconnects": 0,
    })
}

/// Every series of the day, with its requests.
fn counted(server: &TestServer) -> String {
    let by = "client,user,template,method,platform";
    let all = ["query", "api", "--interval", "2026-11-20/P1D", "-o", "csv", "--group-by", by];
    run(client(server.api, &[all.as_slice(), &["--metric", "requests,4xx"]].concat())).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_spellings_and_csv_say_the_same() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let uuids = [fresh_uuid(), fresh_uuid()];
    let snake = format!(
        "{{\"uuid\":\"{}\",\"client_id\":\"portal\",\"user_id\":\"ann\",\"template_uri\":\"/users/{{id}}\",\
         \"http_method\":\"GET\",\"status\":404,\"platform\":\"web\",\"timestamp\":\"{TIME}\",\"count\":\"7\"}}\n\
         {{\"uuid\":\"{}\",\"template_uri\":\"/users\",\"http_method\":\"POST\",\"status\":201,\
         \"timestamp\":\"2026-11-20T12:59:00+01:00\"}}\n",
        uuids[0], uuids[1]
    );
    let camel = snake
        .replace("client_id", "clientId")
        .replace("user_id", "userId")
        .replace("template_uri", "templateUri")
        .replace("http_method", "httpMethod");
    let csv = format!(
        "uuid,client_id,user_id,template_uri,http_method,status,platform,timestamp,count\n\
         {},portal,ann,/users/{{id}},GET,404,web,{TIME},7\n{},,,/users,POST,201,,{TIME},\n",
        uuids[0], uuids[1]
    );
    let ran = record(&server, &["-"], &snake);
    assert_eq!((ran.code, summary(&ran)), (0, expected(2, 0, 0, json!({}))), "{}", ran.stderr);
    let ran = record(&server, &[&file(directory.path(), "camel.jsonl", &camel)], "");
    assert_eq!((ran.code, summary(&ran)), (0, expected(0, 2, 0, json!({}))), "{}", ran.stderr);
    let ran = record(&server, &[&file(directory.path(), "events.csv", &csv)], "");
    assert_eq!((ran.code, summary(&ran)), (0, expected(0, 2, 0, json!({}))), "{}", ran.stderr);
    assert_eq!(
        counted(&server),
        "\
date,client_id,user_id,template_uri,http_method,platform,request_count,status400
2026-11-20,admin,,/users,POST,,1,0
2026-11-20,portal,ann,/users/{id},GET,web,7,7
"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_take_many_messages() {
    let server = TestServer::start().await;
    let mut lines = String::new();
    for count in 1..=4321 {
        lines += &line(count);
    }
    let ran = record(&server, &[], &lines);
    assert_eq!((ran.code, summary(&ran)), (0, expected(4321, 0, 0, json!({}))), "{}", ran.stderr);
    let ran = record(&server, &["--in-flight", "1"], &lines);
    assert_eq!((ran.code, summary(&ran)), (0, expected(0, 4321, 0, json!({}))), "{}", ran.stderr);
    let rows = counted(&server);
    assert!(rows.ends_with(&format!(",/t,GET,,{},0\n", 4321 * 4322 / 2)), "{rows}");
    let text = run_with_input(client(server.api, &["record-api"]), &lines).ok();
    assert!(text.contains("duplicates  4,321 identical, 0 conflicting"), "{text}");
    assert!(text.contains("4,321 events in "), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_listed_and_can_be_mended() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let first = line(1);
    let conflicting = first.replace("\"count\":1", "\"count\":2");
    let input = [
        first,
        conflicting,
        line(3).replace("GET", "BREW"),
        line(4).replace("200", "99"),
        line(5).replace("abcd", "zzzz"),
        line(6).replace("11:59", "01:59"),
        line(0),
    ]
    .concat();
    let rejected_to = directory.path().join("rejected.jsonl");
    let ran = record(&server, &["--rejected-to", rejected_to.to_str().unwrap()], &input);
    ran.fails(
        1,
        &["line 2: ", "DUPLICATE, differs", "line 3: ", "INVALID_HTTP_METHOD", "line 7: "],
    );
    let reasons = json!({
        "EXPIRED": 1, "INVALID_COUNT": 1, "INVALID_HTTP_METHOD": 1, "INVALID_ID": 1, "INVALID_STATUS": 1,
    });
    assert_eq!(summary(&ran), expected(1, 0, 1, reasons));

    let rejected = std::fs::read_to_string(&rejected_to).unwrap();
    assert_eq!(rejected.lines().count(), 6, "{rejected}");
    let mended: String = rejected
        .lines()
        .filter(|line| line.contains("INVALID_HTTP_METHOD"))
        .map(|line| line.replace("BREW", "HEAD") + "\n")
        .collect();
    let ran = record(&server, &[], &mended);
    assert_eq!((ran.code, summary(&ran)), (0, expected(1, 0, 0, json!({}))), "{}", ran.stderr);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_stops_the_reading_or_is_skipped() {
    let server = TestServer::start().await;
    for (bad, part) in [
        ("{\"uuid\":\"x\"}\n".to_owned(), "missing field"),
        (line(1).replace("\"uuid\"", "\"id\""), "unknown field `id`"),
        (
            line(1).replace("\"status\":200", "\"status\":\"ok\""),
            "whole number of 64 bits as the status",
        ),
        (line(1).replace("200", "9999999999"), "status 9999999999 is not one of 100 to 599"),
        (line(1).replace(":1}", ":1.5}"), "whole number of 64 bits as the count"),
        (line(1).replace(TIME, "yesterday"), "RFC 3339"),
        (line(1).replace("/t", &"t".repeat(201)), "template_uri has 201 characters"),
        (line(1).replace("GET", &"G".repeat(17)), "http_method has 17 characters"),
    ] {
        let (before, after) = (line(1), line(2));
        let input = format!("{before}\n{bad}{after}");
        let ran = record(&server, &[], &input);
        ran.fails(1, &["stdin:3: ", part, "nothing from this line on was sent"]);
        assert_eq!(summary(&ran)["accepted"], 1, "{bad}");
        let ran = record(&server, &["--skip-bad-lines"], &input);
        ran.fails(1, &["line 3 skipped: ", part]);
        let told = summary(&ran);
        assert_eq!((&told["accepted"], &told["bad_lines"]), (&json!(1), &json!(1)), "{bad}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_permission_is_told_so() {
    let server = TestServer::start().await;
    let create = ["client", "create", "agent", "--permission", "usage:product:write", "-o", "json"];
    let created: Value = serde_json::from_str(&run(client(server.api, &create)).ok()).unwrap();
    let mut agent = meterd(&["record-api"]);
    agent
        .env("METERD_SERVER", format!("http://{}", server.api))
        .env("METERD_API_KEY", created["api_key"].as_str().unwrap());
    run_with_input(agent, &line(1)).fails(1, &["not allowed", "usage:api:write"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the server is a process with a clock of its own")]
async fn a_server_that_asks_to_wait_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = serve_command(&[], &directory.path().join("data"));
    // Half a second for each message beyond the first.
    command.args(["--client-records-per-second", "2000", "--client-burst", "1000"]);
    command.args(["--self-metering", "off"]);
    let process = MeterdProcess::start(command);
    let now = jiff::Timestamp::now();
    let mut lines = String::new();
    for _ in 0..3000 {
        lines += &line(1).replace(TIME, &now.to_string());
    }
    let ran = run_with_input(client(process.api, &["record-api", "--output", "json"]), &lines);
    assert!(ran.stderr.contains("are sent again in "), "{}", ran.stderr);
    let told = summary(&ran);
    assert_eq!((ran.code, &told["accepted"]), (0, &json!(3000)), "{}", ran.stderr);
    assert!(told["reconnects"].as_u64().unwrap() > 0, "{told}");
}
