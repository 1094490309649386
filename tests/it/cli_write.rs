//! `meterd write`: forms of input, what is refused where, and a server that dies meanwhile.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    command::{Ran, client, file, run, run_with_input},
    process::{MeterdProcess, serve_command},
    server::{TestServer, fresh_uuid},
};

const TIME: &str = "2026-11-20T11:59:00Z";

fn line(product: &str, sku: &str, quantity: i64) -> String {
    let uuid = fresh_uuid();
    format!(
        r#"{{"uuid":"{uuid}","product_id":"{product}","sku_id":"{sku}","quantity":{quantity},"timestamp":"{TIME}"}}"#
    ) + "\n"
}

#[track_caller]
fn summary(ran: &Ran) -> serde_json::Value {
    let mut summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(summary.as_object_mut().unwrap().remove("elapsed_ms").is_some());
    summary
}

fn expected(
    accepted: u64,
    identical: u64,
    conflicting: u64,
    rejected: serde_json::Value,
) -> serde_json::Value {
    serde_json::json!({
        "accepted": accepted,
        "duplicates": { "identical": identical, "conflicting": conflicting },
        "rejected": rejected,
        "bad_lines": 0,
        "reconnects": 0,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_and_csv_say_the_same() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let write = |arguments: &[&str], input: &str| {
        let mut all = vec!["write", "--output", "json"];
        all.extend(arguments);
        run_with_input(client(server.api, &all), input)
    };
    let mut lines = String::new();
    for quantity in 1..=2300 {
        let product = ["storage", "saas"][quantity % 2];
        let sku = ["gb-hour", "seat"][quantity % 2];
        lines += &line(product, sku, quantity as i64);
    }
    let none = serde_json::json!({});
    let ran = write(&["-"], &lines);
    assert_eq!((ran.code, summary(&ran)), (0, expected(2300, 0, 0, none.clone())));

    // What is printed can be sent again, in both forms.
    for (form, name) in [("json", "all.jsonl"), ("csv", "all.CSV")] {
        let printed = run(client(server.api, &["records", "--limit", "0", "--output", form])).ok();
        let copy = file(directory.path(), name, &printed);
        let ran = write(&[&copy], "");
        assert_eq!((ran.code, summary(&ran)), (0, expected(0, 2300, 0, none.clone())), "{form}");
    }

    // Targets from the command line, quantities in quotes, instances, other offsets.
    let uuids = [fresh_uuid(), fresh_uuid()];
    let csv = format!(
        "timestamp,quantity,sku_id,uuid,product_instance_id\n{TIME},\"7\",seat,{},\n2026-11-20T12:59:00+01:00,7,seat,{},saas-2\n",
        uuids[0], uuids[1]
    );
    let ran = write(&["--format", "csv", "--instance", "saas-1"], &csv);
    assert_eq!((ran.code, summary(&ran)), (0, expected(2, 0, 0, none)), "{}", ran.stderr);
    let get =
        |uuid: &str| run(client(server.api, &["records", "get", uuid, "--output", "json"])).ok();
    assert!(get(&uuids[0]).contains(r#""product_instance_id":"saas-1""#));
    assert!(get(&uuids[1]).contains(r#""product_instance_id":"saas-2""#));
    assert!(get(&uuids[1]).contains(TIME));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_listed_and_can_be_mended() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let first = line("storage", "gb-hour", 1);
    let conflicting = first.replace("\"quantity\":1", "\"quantity\":2");
    let bad_sku = line("storage", "no-such", 3);
    let bad_product = line("no-such", "gb-hour", 4);
    let no_uuid = line("storage", "gb-hour", 5).replace("\"abcd", "\"zzzz");
    let old = line("storage", "gb-hour", 6).replace("11:59", "01:59");
    let input =
        [&first, &conflicting, &bad_sku, &bad_product, &no_uuid, &old].map(String::as_str).concat();
    let rejected_to = directory.path().join("rejected.jsonl");
    let arguments = ["write", "--output", "json", "--rejected-to", rejected_to.to_str().unwrap()];
    let ran = run_with_input(client(server.api, &arguments), &input);
    ran.fails(
        1,
        &["line 2: ", "DUPLICATE", "differs", "line 3: ", "INVALID_SKU_ID", "line 5: ", "line 6: "],
    );
    let reasons = serde_json::json!({
        "EXPIRED": 1, "INVALID_ID": 1, "INVALID_PRODUCT_ID": 1, "INVALID_SKU_ID": 1,
    });
    assert_eq!(summary(&ran), expected(1, 0, 1, reasons));

    let rejected = std::fs::read_to_string(&rejected_to).unwrap();
    assert_eq!(rejected.lines().count(), 5, "{rejected}");
    let mended: String = rejected
        .lines()
        .filter(|line| line.contains("INVALID_SKU_ID"))
        .map(|line| line.replace("no-such", "gb-hour") + "\n")
        .collect();
    let ran = run_with_input(client(server.api, &["write", "-o", "json"]), &mended);
    assert_eq!((ran.code, summary(&ran)), (0, expected(1, 0, 0, serde_json::json!({}))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_stops_the_reading_or_is_skipped() {
    let server = TestServer::start().await;
    let good = line("storage", "gb-hour", 1);
    for (bad, part) in [
        ("{\"uuid\":\"x\"}\n", "missing field"),
        ("not json\n", "expected"),
        (&good.replace("quantity", "quantiti"), "unknown field `quantiti`"),
        (&good.replace(":1,", ":1.5,"), "whole number"),
        (&good.replace(TIME, "yesterday"), "RFC 3339"),
        (&good.replace("storage", &"s".repeat(51)), "51 characters"),
        (&good.replace("\"product_id\":\"storage\",", ""), "neither product_id nor"),
        (&format!("{}\n", "x".repeat(70_000)), "longer than"),
    ] {
        let (before, after) = (line("storage", "gb-hour", 1), line("storage", "gb-hour", 2));
        let input = format!("{before}\n{bad}{after}");
        let ran = run_with_input(client(server.api, &["write", "-o", "json"]), &input);
        ran.fails(1, &["stdin:3: ", part, "nothing from this line on was sent"]);
        assert_eq!(summary(&ran)["accepted"], 1, "{bad}");

        let ran = run_with_input(
            client(server.api, &["write", "-o", "json", "--skip-bad-lines"]),
            &input,
        );
        ran.fails(1, &["line 3 skipped: ", part]);
        assert_eq!(summary(&ran)["accepted"], 1, "{bad}");
        assert_eq!(summary(&ran)["duplicates"]["identical"], 1, "{bad}");
        assert_eq!(summary(&ran)["bad_lines"], 1, "{bad}");
    }
    let csv = format!(
        "uuid,product_id,sku_id,quantity,timestamp\n{},storage,gb-hour,many,{TIME}\n",
        fresh_uuid()
    );
    let ran = run_with_input(client(server.api, &["write", "--format", "csv"]), &csv);
    ran.fails(1, &["stdin:2: ", "whole number"]);
    let ran =
        run_with_input(client(server.api, &["write", "--format", "csv"]), "uuid,sku_id\na,b,c\n");
    ran.fails(1, &["stdin:2: ", "3 columns, the header 2"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_words() {
    let server = TestServer::start().await;
    let mut stranger = client(server.api, &["write"]);
    stranger.env("METERD_TOKEN", "wrong");
    run_with_input(stranger, &line("storage", "gb-hour", 1)).fails(1, &["not authenticated"]);
    let mut nobody = client(server.api, &["query"]);
    nobody.env_remove("METERD_TOKEN");
    run(nobody).fails(1, &["not authenticated", "METERD_TOKEN"]);
    run(client(server.api, &["write", "/no/such/file"])).fails(1, &["/no/such/file"]);
    let filter = ["query", "--product", "", "--sku", ""];
    run(client(server.api, &filter)).fails(1, &["filter.product_ids[0]: ", "filter.sku_ids[0]: "]);
    for (server, code, part) in [
        ("https://127.0.0.1:1", 1, "cannot reach the server at https://127.0.0.1:1"),
        ("127.0.0.1:1", 2, "not a URL"),
        (
            "http://127.0.0.1:1",
            1,
            "cannot reach the server at http://127.0.0.1:1: Connection refused",
        ),
    ] {
        let mut command = client(([127, 0, 0, 1], 1).into(), &["query"]);
        command.env("METERD_SERVER", server);
        run(command).fails(code, &[part]);
    }
    server.stop().await;
}

/// Waits for the server to hold that many records.
async fn until_counted(process: &MeterdProcess, records: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.counted().await < records {
        assert!(Instant::now() < deadline, "{records} records never arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the server is a process with a clock of its own")]
async fn a_killed_server_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let process = MeterdProcess::start(serve_command(&[], &data));
    let address = process.api;
    let mut writing = client(address, &["write", "--output", "json", "--product", "storage"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = writing.stdin.take().unwrap();
    let now = jiff::Timestamp::now();
    let lines = |count: u32| {
        let mut text = String::new();
        for quantity in 1..=count {
            let uuid = fresh_uuid();
            let _ = writeln!(
                text,
                r#"{{"uuid":"{uuid}","sku_id":"gb-hour","quantity":{quantity},"timestamp":"{now}"}}"#
            );
        }
        text
    };
    stdin.write_all(lines(700).as_bytes()).unwrap();
    until_counted(&process, 700).await;
    process.kill();

    // Sent into the void at first.
    stdin.write_all(lines(1800).as_bytes()).unwrap();
    let mut again = serve_on(address.port(), &data);
    again.env("METERD_LOG", "warn");
    let process = MeterdProcess::start(again);
    until_counted(&process, 2500).await;
    drop(stdin);
    let output = writing.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("are sent again"), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (accepted, identical) = (&summary["accepted"], &summary["duplicates"]["identical"]);
    assert_eq!(accepted.as_u64().unwrap() + identical.as_u64().unwrap(), 2500, "{summary}");
    assert!(summary["reconnects"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(process.counted().await, 2500);
}

/// The server of `serve_command`, on a port of choice.
fn serve_on(port: u16, data: &std::path::Path) -> Command {
    let mut command = serve_command(&[], data);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let variables: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
        .collect();
    let mut first = true;
    let arguments = arguments.into_iter().map(|argument| {
        if argument == "127.0.0.1:0" && std::mem::take(&mut first) {
            return format!("127.0.0.1:{port}").into();
        }
        argument
    });
    command = Command::new(command.get_program());
    command.args(arguments).envs(variables);
    command
}
