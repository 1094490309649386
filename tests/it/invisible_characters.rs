//! Ids and names with invisible characters: refused in new ones, escaped where they are shown; and formulas in CSV.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    command::{client, run, run_with_input},
    http::{Answer, call},
    server::{TestServer, fresh_uuid},
};

/// Turns the direction of writing around.
const OVERRIDE: &str = "a\u{202E}b";

async fn post(server: &TestServer, path: &str, body: Value) -> Answer {
    call(Method::POST, path).json(body).send(server.api).await
}

/// What is wrong, as the error has it: field and description.
fn violations(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.json());
    let json = answer.json();
    let details = json["details"].as_array().unwrap().iter();
    details
        .filter_map(|detail| detail["fieldViolations"].as_array())
        .flatten()
        .map(|violation| {
            let text = |name: &str| violation[name].as_str().unwrap().to_owned();
            (text("field"), text("description"))
        })
        .collect()
}

#[tokio::test]
async fn new_ids_and_names_are_refused_with_field_and_character() {
    let server = TestServer::start().await;
    let product = |id: &str, name: &str| json!({"products": [{"id": id, "name": name, "skus": [{"id": "s", "name": ""}]}]});
    for (path, body, field) in [
        ("/v1/catalog:apply", product(OVERRIDE, ""), "products[0].id"),
        ("/v1/catalog:apply", product("p", OVERRIDE), "products[0].name"),
        (
            "/v1/catalog:apply",
            json!({"products": [{"id": "p", "skus": [{"id": "s", "usageUnit": OVERRIDE}]}]}),
            "products[0].skus[s].usage_unit",
        ),
        ("/v1/catalog/assets:apply", json!({"assets": [{"id": OVERRIDE}]}), "assets[0].id"),
        (
            "/v1/catalog/assets:apply",
            json!({"assets": [{"id": "a", "name": OVERRIDE}]}),
            "assets[0].name",
        ),
        ("/v1/access/clients", json!({"clientId": OVERRIDE}), "client_id"),
        ("/v1/access/clients", json!({"clientId": "c", "name": OVERRIDE}), "name"),
        ("/v1/access/organizations", json!({"organizationId": OVERRIDE}), "organization_id"),
    ] {
        let answer = post(&server, path, body).await;
        let found = violations(&answer);
        let (named, description) = found.first().unwrap();
        assert_eq!(named, field, "{path}");
        assert!(description.contains("U+202E"), "{path}: {description}");
    }
    let batch = call(Method::PUT, "/v3/usage-batches/a%E2%80%AEb")
        .json(
            json!({"asset_usages": [{"asset_id": "a", "quantity": 1, "usage_date": "2026-11-20"}]}),
        )
        .send(server.api)
        .await;
    assert_eq!(batch.status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&batch.body).contains("U+202E"));
    server.stop().await;
}

#[tokio::test]
async fn events_with_invisible_characters_are_rejected_one_by_one() {
    let server = TestServer::start().await;
    let event = |name: &str, text: &str| {
        let mut event = json!({
            "uuid": fresh_uuid(), "clientId": "c", "templateUri": "/t", "httpMethod": "GET",
            "status": 200, "timestamp": "2026-11-20T12:00:00Z",
        });
        event[name] = text.into();
        event
    };
    let names = ["clientId", "userId", "templateUri", "platform"];
    let mut events: Vec<Value> = names.iter().map(|name| event(name, OVERRIDE)).collect();
    events.push(event("userId", "plain"));
    let answer = post(&server, "/v1/apiUsage:record", json!({ "events": events })).await.json();
    let reasons: Vec<&str> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejected| rejected["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["INVALID_CLIENT_ID", "INVALID_USER_ID", "INVALID_TEMPLATE_URI", "INVALID_PLATFORM"]
            .map(|reason| format!("API_USAGE_REJECTION_REASON_{reason}")),
        "{answer}"
    );
    assert_eq!(answer["acceptedCount"], 1);
    server.stop().await;
}

/// A template, since the reporter of usage chooses it freely.
const FORMULA: &str = "=cmd|'/C calc'!A0";

#[tokio::test(flavor = "multi_thread")]
async fn formulas_are_none_in_reports_and_stay_in_records() {
    let server = TestServer::start().await;
    let catalog = json!({"products": [{"id": "=1+1", "skus": [{"id": "-sku"}]}]});
    assert_eq!(post(&server, "/v1/catalog:apply", catalog).await.status, StatusCode::OK);
    let written = json!({
        "productId": "=1+1",
        "usageRecords": [{
            "uuid": fresh_uuid(), "skuId": "-sku", "quantity": 5, "timestamp": "2026-11-20T12:00:00Z",
        }],
    });
    let written = post(&server, "/marketplace/metering/v1/imageProductUsage/write", written).await;
    assert_eq!(written.json()["accepted"].as_array().unwrap().len(), 1);
    let event = json!({
        "uuid": fresh_uuid(), "client_id": "@SUM(1)", "template_uri": FORMULA, "http_method": "GET",
        "status": 200, "timestamp": "2026-11-20T12:00:00Z",
    });
    run_with_input(client(server.api, &["record-api"]), &event.to_string()).ok();
    let output = |arguments: &[&str]| run(client(server.api, arguments)).ok();

    let report = output(&["query", "--interval", "2026-11-20/P1D", "-o", "csv"]);
    assert!(report.contains(",'=1+1,'-sku,5,1"), "{report}");
    let api = ["query", "api", "--interval", "2026-11-20/P1D", "--group-by", "client,template"];
    let report = output(&[&api[..], &["-o", "csv"]].concat());
    assert!(report.contains(&format!("'@SUM(1),'{FORMULA},")), "{report}");
    for arguments in [&["records", "-o", "csv"][..], &["export", "--format", "csv"]] {
        let records = output(arguments);
        assert!(records.contains(",=1+1,,-sku,5,"), "{records}");
    }
    // What was stored before such ids were refused is shown for what it is.
    let json = output(&["query", "--interval", "2026-11-20/P1D", "-o", "json"]);
    assert!(json.contains("\"=1+1\""), "{json}");
    server.stop().await;
}
