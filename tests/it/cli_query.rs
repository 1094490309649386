//! What `meterd query` and `meterd records` print.

use crate::support::{
    command::{client, run, run_with_input},
    server::{TOKEN, TestServer},
};

const DAY: &str = "2026-11-20/P1D";

/// A server with some usage of the morning of 2026-11-20.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    let mut input = String::new();
    for (number, (target, sku, quantity, time)) in [
        ("\"product_id\":\"storage\"", "gb-hour", 1500_i64, "11:05"),
        ("\"product_id\":\"storage\"", "gb-hour", 500, "12:00"),
        ("\"product_id\":\"storage\"", "requests", 7, "11:59"),
        ("\"product_instance_id\":\"saas-1\"", "seat", 3, "11:30"),
    ]
    .into_iter()
    .enumerate()
    {
        input += &format!(
            "{{\"uuid\":\"00000000-0000-4000-8000-00000000000{number}\",{target},\"sku_id\":\"{sku}\",\
             \"quantity\":{quantity},\"timestamp\":\"2026-11-20T{time}:00Z\"}}\n"
        );
    }
    run_with_input(client(server.api, &["write"]), &input).ok();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_totals() {
    let server = server().await;
    let query = |arguments: &[&str]| {
        let mut all = vec!["query", "--interval", DAY];
        all.extend(arguments);
        run(client(server.api, &all)).ok()
    };
    assert_eq!(
        query(&[]),
        "\
───────────────────────────────────────────────────────────────────────────────
 start              end                product   sku        quantity   records
═══════════════════════════════════════════════════════════════════════════════
 2026-11-20 00:00   2026-11-21 00:00   saas      seat              3         1
 2026-11-20 00:00   2026-11-21 00:00   storage   gb-hour       2,000         2
 2026-11-20 00:00   2026-11-21 00:00   storage   requests          7         1
───────────────────────────────────────────────────────────────────────────────
4 records in all
"
    );
    let hourly = query(&["--granularity", "hour", "--time-zone", "Europe/Berlin"]);
    let cells: Vec<Vec<&str>> = hourly
        .lines()
        .filter(|line| !line.contains(['─', '═']))
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        cells,
        [
            &["start", "end", "product", "sku", "quantity", "records"][..],
            &["2026-11-20 12:00", "2026-11-20 13:00", "saas", "seat", "3", "1"],
            &["2026-11-20 12:00", "2026-11-20 13:00", "storage", "gb-hour", "1,500", "1"],
            &["2026-11-20 12:00", "2026-11-20 13:00", "storage", "requests", "7", "1"],
            &["2026-11-20 13:00", "2026-11-20 14:00", "storage", "gb-hour", "500", "1"],
            &["total", "saas", "seat", "3", "1"],
            &["total", "storage", "gb-hour", "2,000", "2"],
            &["total", "storage", "requests", "7", "1"],
            &["4 records in all"],
        ]
    );
    let ran = run(client(server.api, &["query", "--interval", "2025-01-01/P1D"]));
    assert!(ran.stderr.contains("no usage in 2025-01-01T00:00:00Z/2025-01-02T00:00:00Z"));
    assert_eq!(ran.ok(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json_and_csv() {
    let server = server().await;
    let query = |arguments: &[&str]| {
        let mut all = vec!["query", "--interval", DAY];
        all.extend(arguments);
        run(client(server.api, &all)).ok()
    };
    assert_eq!(
        query(&["-o", "csv", "--group-by", "instance,sku,client", "--order-by", "quantity-desc"]),
        "\
start_time,end_time,product_instance_id,sku_id,client_id,quantity,record_count
2026-11-20T00:00:00Z,2026-11-21T00:00:00Z,,gb-hour,admin,2000,2
2026-11-20T00:00:00Z,2026-11-21T00:00:00Z,,requests,admin,7,1
2026-11-20T00:00:00Z,2026-11-21T00:00:00Z,saas-1,seat,admin,3,1
"
    );
    let json = query(&["-o", "json", "--group-by", "none", "--sku", "gb-hour", "--sku", "seat"]);
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.as_object_mut().unwrap().remove("as_of").unwrap().is_string());
    assert_eq!(
        json,
        serde_json::json!({
            "interval": "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z",
            "rows": [{
                "start_time": "2026-11-20T00:00:00Z",
                "end_time": "2026-11-21T00:00:00Z",
                "quantity": "2003",
                "record_count": 3,
            }],
            "total_quantity": "2003",
            "total_record_count": 3,
        })
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_has_a_bar_for_every_bucket() {
    let server = server().await;
    let arguments = [
        "query",
        "--interval",
        "2026-11-20T10:00:00Z/PT4H",
        "--output",
        "chart",
        "--product",
        "storage",
    ];
    let bar = |columns| "█".repeat(columns);
    let expected = format!(
        "\
storage / gb-hour
2026-11-20 10:00      0
2026-11-20 11:00  1,500  {}
2026-11-20 12:00    500  {}
2026-11-20 13:00      0

storage / requests
2026-11-20 10:00  0
2026-11-20 11:00  7  {}
2026-11-20 12:00  0
2026-11-20 13:00  0
",
        bar(75),
        bar(25),
        bar(79),
    );
    assert_eq!(run(client(server.api, &arguments)).ok(), expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_printed_in_order_of_arrival() {
    let server = server().await;
    let records = |arguments: &[&str]| {
        let mut all = vec!["records"];
        all.extend(arguments);
        run(client(server.api, &all))
    };
    let csv = records(&["-o", "csv", "--sku", "seat"]).ok();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(
        rows[0],
        "uuid,product_id,product_instance_id,sku_id,quantity,timestamp,stored_time,client_id"
    );
    assert!(
        rows[1].starts_with(
            "00000000-0000-4000-8000-000000000003,,saas-1,seat,3,2026-11-20T11:30:00Z,2026-11-20T12:00:00Z,admin"
        ),
        "{csv}"
    );
    let some = records(&["-o", "json", "--limit", "2"]);
    assert!(some.stderr.contains("--limit 0"), "{}", some.stderr);
    assert_eq!(some.ok().lines().count(), 2);
    assert_eq!(records(&["-o", "json", "--limit", "0"]).ok().lines().count(), 4);
    assert_eq!(
        records(&["-o", "json", "--interval", "2026-11-20T12:00:00Z/PT1H"]).ok().lines().count(),
        1
    );

    let one = records(&["get", "00000000-0000-4000-8000-000000000002"]).ok();
    assert!(one.contains("requests") && one.contains("stored"), "{one}");
    records(&["get", "00000000-0000-4000-8000-00000000000f"]).fails(1, &["not found"]);
    records(&["get", "nonsense"]).fails(1, &["uuid: "]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_no_failure() {
    let server = server().await;
    let script = format!(
        "set -o pipefail; {} records --output json --limit 0 | head -n 1 >/dev/null",
        env!("CARGO_BIN_EXE_meterd")
    );
    let status = std::process::Command::new("bash")
        .args(["-c", &script])
        .env("METERD_SERVER", format!("http://{}", server.api))
        .env("METERD_TOKEN", TOKEN)
        .status()
        .unwrap();
    assert!(status.success());
    server.stop().await;
}

#[test]
fn what_cannot_be_meant_is_refused_before_any_call() {
    let query = |arguments: &[&str]| {
        let mut all = vec!["query"];
        all.extend(arguments);
        run(client(([127, 0, 0, 1], 1).into(), &all))
    };
    query(&["--interval", "yesterday"])
        .fails(2, &["--interval \"yesterday\" must be an ISO 8601 interval"]);
    query(&["--interval", "2026-11-20T00:01:00Z/P1D"]).fails(2, &["quarter of an hour"]);
    query(&["--time-zone", "Mars/Base"]).fails(2, &["Mars/Base"]);
    query(&["--group-by", "colour"]).fails(2, &["colour"]);
}
