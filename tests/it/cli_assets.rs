//! Assets, batches and exports from the command line.

use std::{fmt::Write as _, fs::File};

use http::Method;
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::RowAccessor as _,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    command::{client, file, run, run_with_input},
    http::call,
    server::{TestServer, fresh_uuid},
};

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_loaded_listed_and_removed() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for number in 0..2500 {
        writeln!(lines, r#"{{"id":"asset-{number:05}","name":"Number {number}"}}"#).unwrap();
    }
    let path = file(directory.path(), "assets.jsonl", &lines);
    let load = |path: &str| run(client(server.api, &["assets", "load", path]));
    assert_eq!(load(&path).ok(), "assets: 2,500 created, 0 updated, 0 as they were\n");
    assert_eq!(load(&path).ok(), "assets: 0 created, 0 updated, 2,500 as they were\n");
    let csv = "id,name,state\nasset-00001,Number 1,retired\nnew,,\nnew,Later,active\n";
    let csv = file(directory.path(), "assets.csv", csv);
    assert_eq!(load(&csv).ok(), "assets: 1 created, 1 updated, 0 as they were\n");

    let list =
        |arguments: &[&str]| run(client(server.api, &[&["assets", "list"], arguments].concat()));
    let all = list(&["--limit", "0", "--output", "json"]).ok();
    assert_eq!(all.lines().count(), 2501);
    assert_eq!(
        all.lines().nth(1).unwrap(),
        r#"{"id":"asset-00001","name":"Number 1","state":"retired"}"#
    );
    // What is listed can be loaded again.
    for form in ["json", "csv"] {
        let listed = list(&["--limit", "0", "--output", form]).ok();
        let format = if form == "json" { "jsonl" } else { "csv" };
        let again =
            run_with_input(client(server.api, &["assets", "load", "--format", format]), &listed);
        assert_eq!(again.ok(), "assets: 0 created, 0 updated, 2,501 as they were\n");
    }
    let first = list(&["--limit", "2"]);
    assert!(first.stdout.contains("asset-00001") && !first.stdout.contains("asset-00002"));
    assert!(first.stderr.contains("there are more"), "{}", first.stderr);
    run(client(server.api, &["assets", "delete", "new"])).ok();
    run(client(server.api, &["assets", "delete", "new"])).fails(1, &["no asset \"new\""]);

    for (text, words) in [
        ("{\"id\":\"a\"}\n{\"nam\":\"b\"}\n", "bad.jsonl:2: "),
        ("{\"id\":\"a\",\"state\":\"gone\"}\n", "neither active nor retired"),
        ("{\"id\":\"\"}\n", "assets[0].id"),
    ] {
        let bad = file(directory.path(), "bad.jsonl", text);
        load(&bad).fails(1, &[words]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_reported_once_and_queried() {
    let server = TestServer::start().await;
    run_with_input(client(server.api, &["assets", "load"]), "{\"id\":\"a1\"}\n{\"id\":\"a2\"}\n")
        .ok();
    let csv =
        "asset_id,quantity,usage_date\na1,3,2026-11-19\na2,1,\"Nov 20, 2026\"\na1,2,20/11/2026\n";
    let report = |arguments: &[&str], input: &str| {
        let all = [&["report-batch", "--format", "csv", "--id", "batch-1"], arguments].concat();
        run_with_input(client(server.api, &all), input)
    };
    assert_eq!(report(&[], csv).ok(), "3 usages recorded as batch \"batch-1\"\n");
    let again = report(&[], csv);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    assert!(again.stderr.contains("recorded before, and said the same"), "{}", again.stderr);
    let printed: Value = serde_json::from_str(&report(&["-o", "json"], csv).ok()).unwrap();
    let expected =
        json!({"id": "batch-1", "total_asset_usages_processed": 3, "recorded_before": true});
    assert_eq!(printed, expected);
    report(&[], &csv.replace("a1,3", "a1,4")).fails(1, &["said something else"]);
    let other = |input: &str| {
        let all = ["report-batch", "--format", "csv", "--id", "batch-2"];
        run_with_input(client(server.api, &all), input)
    };
    let header = "asset_id,quantity,usage_date\n";
    other(&format!("{header}b1,1,03/04/2026\na1,0,2026-11-20\n"))
        .fails(1, &["b1", "asset_usages[0].usage_date", "2026-04-03", "asset_usages[1].quantity"]);
    other(&format!("{header}a1,many,2026-11-20\n")).fails(1, &["stdin:2"]);
    other(header).fails(1, &["asset_usages"]);
    let many = format!("{header}{}", "a1,1,2026-11-20\n".repeat(1001));
    other(&many).fails(1, &["at most 1000"]);

    let query = |arguments: &[&str]| {
        let all = [&["query", "assets", "--interval", "2026-11-01/P1M"], arguments].concat();
        run(client(server.api, &all))
    };
    let table = query(&["--granularity", "day"]).ok();
    for words in ["2026-11-19", "a1", "total", "3 usages in all"] {
        assert!(table.contains(words), "{table}");
    }
    let csv = query(&["--granularity", "month", "--group-by", "client", "-o", "csv"]).ok();
    assert_eq!(
        csv,
        "start_date,end_date,client_id,quantity,usage_count\n2026-11-01,2026-12-01,admin,6,3\n"
    );
    let json: Value = serde_json::from_str(&query(&["--asset", "a1", "-o", "json"]).ok()).unwrap();
    assert_eq!((&json["total_quantity"], &json["total_usage_count"]), (&"5".into(), &2.into()));
    assert_eq!(json["rows"][0]["asset_id"], "a1");
    assert!(query(&["-o", "chart", "--group-by", "none"]).ok().contains("2026-11-19"));
    query(&["--granularity", "hour"]).fails(1, &["granularity"]);
    run(client(server.api, &["query", "assets", "--interval", "2026-11-01T00:30:00Z/P1D"]))
        .fails(1, &["is no date"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_whole_hashed_and_can_be_sent_again() {
    let server = TestServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for number in 0..2345 {
        let (target, sku) = match number % 3 {
            0 => ("\"product_id\":\"storage\"", "gb-hour"),
            1 => ("\"product_id\":\"storage\"", "requests"),
            _ => ("\"product_instance_id\":\"saas-1\"", "seat"),
        };
        let uuid = fresh_uuid();
        writeln!(
            lines,
            r#"{{"uuid":"{uuid}",{target},"sku_id":"{sku}","quantity":{},"timestamp":"2026-11-20T11:59:00.123456789Z"}}"#,
            number + 1
        )
        .unwrap();
    }
    run_with_input(client(server.api, &["write"]), &lines).ok();
    let export = |arguments: &[&str]| run(client(server.api, &[&["export"], arguments].concat()));

    let ran = export(&[]);
    assert!(ran.stderr.contains("2,345 records, "), "{}", ran.stderr);
    let hash = |bytes: &[u8]| -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert!(ran.stderr.contains(&hash(ran.stdout.as_bytes())), "{}", ran.stderr);
    let exported = ran.ok();
    assert_eq!(exported.lines().count(), 2345);
    // It is what `records` prints, and what `write` reads.
    let listed = run(client(server.api, &["records", "--limit", "0", "--output", "json"])).ok();
    assert_eq!(exported, listed);
    let again = run_with_input(client(server.api, &["write", "--output", "json"]), &exported).ok();
    let summary: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(summary["duplicates"], json!({"identical": 2345, "conflicting": 0}));

    for (name, form) in [("out.csv", "csv"), ("out.jsonl", "jsonl")] {
        let path = directory.path().join(name);
        let ran = export(&["--out", path.to_str().unwrap()]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(ran.stderr.contains(&hash(text.as_bytes())), "{}", ran.stderr);
        let all = ["write", "--format", form, "--output", "json"];
        let again = run_with_input(client(server.api, &all), &text).ok();
        let summary: Value = serde_json::from_str(&again).unwrap();
        assert_eq!(summary["duplicates"]["identical"], 2345, "{name}");
    }
    let path = directory.path().join("out.parquet");
    let ran = export(&["--out", path.to_str().unwrap()]);
    assert!(ran.stderr.contains(&hash(&std::fs::read(&path).unwrap())), "{}", ran.stderr);
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let (mut rows, mut quantity, mut instances) = (0, 0, 0);
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        rows += 1;
        quantity += row.get_long(4).unwrap();
        assert_eq!(row.get_long(5).unwrap(), 1_795_175_940_123_456_789);
        instances += i32::from(row.get_string(2).is_ok());
        assert!(!row.get_string(1).unwrap().is_empty());
    }
    assert_eq!((rows, quantity, instances), (2345, 2345 * 2346 / 2, 781));

    // From a record on, and narrowed down.
    let uuid = |line: &str| -> String {
        let record: Value = serde_json::from_str(line).unwrap();
        record["uuid"].as_str().unwrap().to_owned()
    };
    let lines: Vec<&str> = exported.lines().collect();
    for at in [0, 1000, 1001, 2343, 2344] {
        let rest = export(&["--after-uuid", &uuid(lines[at])]).ok();
        assert_eq!(rest.lines().collect::<Vec<_>>(), lines[at + 1..], "after record {at}");
    }
    let ran = export(&["--after-uuid", &uuid(lines[2344])]);
    assert!(ran.stderr.contains(&format!("--after-uuid {}", uuid(lines[2344]))), "{}", ran.stderr);
    let unknown = "00000000-0000-4000-8000-00000000dead";
    export(&["--after-uuid", unknown]).fails(1, &["after_uuid", unknown]);
    export(&["--after-uuid", "2344"]).fails(1, &["after_uuid", "must be a UUID"]);
    export(&["--through", "AAAA"]).fails(1, &["through", "is not the as_of"]);
    assert_eq!(export(&["--sku", "seat"]).ok().lines().count(), 781);
    assert_eq!(export(&["--interval", "2026-11-19/P1D"]).ok(), "");
    export(&["--format", "parquet"]).fails(2, &["--out"]);
    export(&["--interval", "tomorrow"]).fails(1, &["usage_interval"]);
    export(&["--out", "/no/such/directory/x.csv"]).fails(1, &["/no/such/directory"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "nothing is left behind");

    // Over REST a record a line.
    let answer = call(Method::GET, "/v1/usageRecords:export?skuIds=seat").send(server.api).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let as_of = answer.headers["meterd-as-of"].to_str().unwrap().to_owned();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(text.lines().count(), 781);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["skuId"], &first["quantity"]), (&"seat".into(), &"3".into()));

    // What comes later is not in what a moment before includes: neither a report's nor an export's.
    let query = ["query", "--interval", "2026-11-20/P1D", "--output", "json"];
    let report: Value = serde_json::from_str(&run(client(server.api, &query)).ok()).unwrap();
    let later = format!(
        r#"{{"uuid":"{}","product_id":"storage","sku_id":"gb-hour","quantity":1,"timestamp":"2026-11-20T11:59:00Z"}}"#,
        fresh_uuid()
    );
    run_with_input(client(server.api, &["write"]), &later).ok();
    assert_eq!(export(&[]).ok().lines().count(), 2346);
    for moment in [as_of.as_str(), report["as_of"].as_str().unwrap()] {
        assert_eq!(export(&["--through", moment]).ok(), exported);
    }
    let rest = export(&["--after-uuid", &uuid(lines[2344])]).ok();
    assert_eq!(rest.lines().count(), 1);
    server.stop().await;
}
