//! The server's own API usage: every call of somebody whom it knows, in every protocol, under the template of its method.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        GetProductRequest, ListProductsRequest, ListUsageRecordsRequest, ProductUsageRecord,
        StreamProductUsageRequest, stream_product_usage_request::Target,
        usage_report_service_client::UsageReportServiceClient,
    },
    domain::{
        api_usage::ApiTotalsQuery,
        asset_usage::{DayRange, UsageDay},
    },
    store::{UsageStore, memory::MemoryStore},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    http::call,
    process::{MeterdProcess, serve_command},
    queries::{JOBS, PATIENCE, get, post, result, rows_on, start},
    server::{Setup, TestServer, fresh_uuid, noon, proto_time},
    usage::{api_totals, organization},
};

/// Every total of an organization on the day of the tests: client, template, method, platform, class, calls.
fn counted(store: &dyn UsageStore, name: &str) -> BTreeMap<String, u128> {
    let today = UsageDay::of_instant(noon());
    let end = UsageDay::from_number(today.number() + 1).unwrap();
    let query = ApiTotalsQuery {
        organization: organization(name),
        days: DayRange { start: today, end },
        filter: Default::default(),
    };
    let mut found = BTreeMap::new();
    for (series, _, class, total) in api_totals(store, &query) {
        let platform = series.platform.map(|platform| platform.to_string()).unwrap_or_default();
        assert_eq!(series.user, None);
        let line = format!(
            "{} {} {} {platform} {class:?}",
            series.client,
            series.method.as_str(),
            series.template_uri
        );
        assert!(found.insert(line, total.quantity).is_none());
    }
    found
}

fn expected(lines: &[(&str, u128)]) -> BTreeMap<String, u128> {
    lines.iter().map(|(line, calls)| ((*line).to_owned(), *calls)).collect()
}

fn grpc_web(message: &impl prost::Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

async fn agent(server: &TestServer, organization: &str, id: &str, permissions: &[&str]) -> String {
    let client =
        json!({"organizationId": organization, "clientId": id, "permissions": permissions});
    let created = post(server.api, "/v1/access/clients", &client).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.json());
    created.json()["apiKey"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_call_of_a_known_caller_is_counted_as_what_it_was() {
    let server = TestServer::with(Setup { self_metering: true, ..Setup::default() }).await;
    let created =
        post(server.api, "/v1/access/organizations", &json!({"organizationId": "away"})).await;
    assert_eq!(created.status, StatusCode::OK);
    let key = agent(&server, "away", "agent", &["catalog:view"]).await;
    let as_agent = |method, target: &str| call(method, target).anonymous().header("api-key", &key);

    // Over gRPC: twice well, once of what is not there; a method without a path; a stream.
    for (id, times) in [("storage", 2), ("nothing", 1)] {
        for _ in 0..times {
            let request = GetProductRequest { product_id: id.into() };
            assert_eq!(server.catalog().get_product(request).await.is_ok(), id == "storage");
        }
    }
    let record = ProductUsageRecord {
        uuid: fresh_uuid(),
        sku_id: "gb-hour".into(),
        quantity: 1,
        timestamp: proto_time("2026-11-20T11:59:00Z"),
    };
    let message = StreamProductUsageRequest {
        sequence: 1,
        target: Some(Target::ProductId("storage".into())),
        usage_records: vec![record],
        validate_only: false,
    };
    for (messages, goes_well) in
        [(vec![message.clone()], true), (vec![message, Default::default()], false)]
    {
        let answers = server.ingest().stream_product_usage(tokio_stream::iter(messages)).await;
        let mut answers = answers.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
        assert_eq!(answers.message().await.is_ok(), goes_well);
    }
    let request = ListUsageRecordsRequest { page_size: -1, ..Default::default() };
    server.reports().list_usage_records(request).await.unwrap_err();
    // Over REST, by another organization's client: 200, 400, 403, 404, and a stream.
    for (method, target, status) in [
        (Method::GET, "/v1/catalog/products", 200),
        (Method::GET, "/v1/catalog/products?pageSize=-1", 400),
        (Method::GET, "/v1/catalog/products/nothing", 404),
        (Method::GET, "/v1/usageRecords:export", 403),
        (Method::POST, "/v1/apiUsage:record", 403),
    ] {
        let is_post = method == Method::POST;
        let call = as_agent(method, target);
        let call = if is_post { call.json("{}") } else { call };
        let answer = call.send(server.api).await;
        assert_eq!(answer.status, status, "{target}");
    }
    assert_eq!(get(server.api, "/v1/usageRecords:export").await.status, StatusCode::OK);
    let answer = post(server.api, "/v1/apiUsage:record", &json!({"events": []})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // A query is started with 202.
    start(server.api, JOBS, &json!({"interval": "2026-11-20/P1D"})).await;
    // Over gRPC-Web.
    for id in ["storage", "nothing"] {
        let answer = call(Method::POST, "/meterd.v1.CatalogService/GetProduct")
            .header("content-type", "application/grpc-web+proto")
            .body(grpc_web(&GetProductRequest { product_id: id.into() }))
            .send(server.api)
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    // By nobody, and of nothing.
    for call in [
        call(Method::GET, "/v1/catalog/products").anonymous(),
        call(Method::GET, "/v1/catalog/products").anonymous().header("api-key", "mk_wrong"),
        call(Method::GET, "/v1/nothing"),
        call(Method::DELETE, "/v1/catalog/products"),
        call(Method::GET, "/docs/"),
    ] {
        let status = call.send(server.api).await.status.as_u16();
        assert!([308, 401, 404, 405].contains(&status), "{status}");
    }

    let ours = expected(&[
        ("admin POST /v1/access/organizations rest Success", 1),
        ("admin POST /v1/access/clients rest Success", 1),
        ("admin GET /v1/catalog/products/{productId} grpc Success", 2),
        ("admin GET /v1/catalog/products/{productId} grpc ClientError", 1),
        ("admin GET /v1/catalog/products/{productId} grpc-web Success", 1),
        ("admin GET /v1/catalog/products/{productId} grpc-web ClientError", 1),
        ("admin POST /meterd.v1.UsageIngestService/StreamProductUsage grpc Success", 1),
        ("admin POST /meterd.v1.UsageIngestService/StreamProductUsage grpc ClientError", 1),
        ("admin GET /v1/usageRecords grpc ClientError", 1),
        ("admin GET /v1/usageRecords:export rest Success", 1),
        ("admin POST /v1/apiUsage:record rest ClientError", 1),
        ("admin POST /api/v2/usage/aggregates/query/jobs rest Success", 1),
    ]);
    let theirs = expected(&[
        ("agent GET /v1/catalog/products rest Success", 1),
        ("agent GET /v1/catalog/products rest ClientError", 1),
        ("agent GET /v1/catalog/products/{productId} rest ClientError", 1),
        ("agent GET /v1/usageRecords:export rest ClientError", 1),
        ("agent POST /v1/apiUsage:record rest ClientError", 1),
    ]);
    let deadline = Instant::now() + PATIENCE;
    let all = || (counted(&*server.store, "default"), counted(&*server.store, "away"));
    while all() != (ours.clone(), theirs.clone()) && Instant::now() < deadline {
        // Less than what is expected, until it is there.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if all().0.len() > ours.len() || all().1.len() > theirs.len() {
            break;
        }
    }
    assert_eq!(all(), (ours, theirs));
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_yet_stored_is_stored_on_the_way_out_and_nothing_if_it_is_off() {
    for self_metering in [true, false] {
        let store = Arc::new(MemoryStore::new());
        let setup =
            Setup { store: Arc::<MemoryStore>::clone(&store), self_metering, ..Setup::default() };
        let server = TestServer::with(setup).await;
        for _ in 0..25 {
            server.catalog().list_products(ListProductsRequest::default()).await.unwrap();
        }
        server.stop().await;
        let ours = [("admin GET /v1/catalog/products grpc Success", 25)];
        let ours = if self_metering { expected(&ours) } else { BTreeMap::new() };
        assert_eq!(counted(&*store, "default"), ours);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_loses_no_call() {
    const CALLS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let start_with = |metering: &str| {
        let mut command = serve_command(&[], &data_dir);
        command.args(["--self-metering", metering, "--log", "warn"]);
        MeterdProcess::start(command)
    };
    let counted = async |server: &MeterdProcess| -> Vec<Value> {
        let now = jiff::Timestamp::now();
        let before = now - jiff::SignedDuration::from_hours(24);
        let body = json!({
            "interval": format!("{before}/{now}"), "templateUris": ["/v1/usageRecords"],
            "metrics": ["Requests", "Status400"], "groupBy": ["Platform"], "granularity": "Month",
        });
        let uri = start(server.api, JOBS, &body).await;
        rows_on(&result(server.api, &uri).await)
    };
    let sum = |rows: &[Value], name: &str| -> u64 {
        rows.iter().map(|row| row[name].as_u64().unwrap()).sum()
    };
    let server = start_with("on");
    // One connection: this is about calls, and not about how many connections a busy machine makes at once.
    let client = UsageReportServiceClient::new(server.authed());
    let calls = (0..CALLS).map(|number| {
        let mut client = client.clone();
        let page_size = if number % 3 == 0 { -1 } else { 1 };
        async move {
            let request = ListUsageRecordsRequest { page_size, ..Default::default() };
            let answer = client.list_usage_records(request).await;
            assert_eq!(answer.is_ok(), page_size == 1, "{answer:?}");
        }
    });
    futures_util::future::join_all(calls).await;
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    let server = start_with("off");
    let rows = counted(&server).await;
    assert_eq!((sum(&rows, "requestCount"), sum(&rows, "status400")), (300, 100), "{rows:?}");
    assert!(rows.iter().all(|row| row["platform"] == "grpc"), "{rows:?}");
    // None of those that are made now is counted.
    for _ in 0..20 {
        get(server.api, "/v1/usageRecords").await;
    }
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    let server = start_with("on");
    assert_eq!(sum(&counted(&server).await, "requestCount"), 300);
    server.kill();
}
