//! How many series of usage there may be: what would begin one too many is refused whole, what is there goes on counting.

use std::sync::Arc;

use http::{Method, StatusCode};
use meterd::{
    api::pb::{
        meterd::v1::{
            ApiUsageEvent, ApplyAssetsRequest, Asset, ProductUsageRecord, RecordApiUsageRequest,
            RecordApiUsageResponse, StreamProductUsageRequest,
            stream_product_usage_request::Target,
            usage_ingest_service_client::UsageIngestServiceClient,
        },
        yandex::cloud::marketplace::metering::v1::{UsageRecord, WriteImageProductUsageRequest},
    },
    domain::{
        api_usage::{ApiTotalsQuery, NewSeries},
        asset_usage::{DayRange, UsageDay},
        series_limits::{SeriesLimits, TooManySeries},
    },
    store::{
        UsageStore,
        memory::MemoryStore,
        sled::{SledStore, StoreOptions},
    },
};
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    command::{client, run_with_input},
    http::call,
    queries::post,
    server::{Setup, TestServer, fresh_uuid, noon, proto_time},
    usage::{Calls, api_totals, caller, commit_events, event, organization, probed},
};

const TIME: &str = "2026-11-20T11:59:00Z";

fn limits(organization_series_max: u64) -> SeriesLimits {
    SeriesLimits { organization_series_max, ..SeriesLimits::default() }
}

async fn server(organization_series_max: u64) -> TestServer {
    let store = Arc::new(MemoryStore::with_series_limits(limits(organization_series_max)));
    TestServer::with(Setup { store, ..Setup::default() }).await
}

fn events(users: &[&str]) -> RecordApiUsageRequest {
    let event = |user: &&str| ApiUsageEvent {
        uuid: fresh_uuid(),
        user_id: (*user).into(),
        template_uri: "/t".into(),
        http_method: "GET".into(),
        status: 200,
        timestamp: proto_time(TIME),
        count: Some(1),
        ..Default::default()
    };
    RecordApiUsageRequest { events: users.iter().map(event).collect() }
}

async fn record(server: &TestServer, users: &[&str]) -> Result<RecordApiUsageResponse, Status> {
    Ok(server.ingest().record_api_usage(events(users)).await?.into_inner())
}

#[track_caller]
fn assert_refused(refused: &Status, texts: &[&str]) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "TOO_MANY_SERIES");
    assert!(details.retry_info().is_none(), "waiting does not help");
    for text in texts {
        assert!(refused.message().contains(text), "{text:?} is not in {:?}", refused.message());
    }
}

async fn metric(server: &TestServer, name: &str) -> u64 {
    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("meterd_{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Every total of API usage: client, user, template, calls.
fn counted(store: &dyn UsageStore, name: &str) -> Vec<(String, u128)> {
    let today = UsageDay::of_instant(noon());
    let query = ApiTotalsQuery {
        organization: organization(name),
        days: DayRange { start: today, end: UsageDay::from_number(today.number() + 1).unwrap() },
        filter: Default::default(),
    };
    let totals = api_totals(store, &query).into_iter().map(|(series, _, _, total)| {
        let user = series.user.map_or_else(String::new, |user| user.to_string());
        (format!("{} {user} {}", series.client, series.template_uri), total.quantity)
    });
    totals.collect()
}

#[tokio::test]
async fn api_usage_beyond_the_limit_is_refused_whole() {
    let server = server(3).await;
    record(&server, &["ann", "bob"]).await.unwrap();
    let refused = record(&server, &["ann", "carol", "dora", "carol"]).await.unwrap_err();
    let texts = ["has 2 series", "2 new ones", "the 3 that", "organization-series-max", "nothing"];
    assert_refused(&refused, &texts);
    assert_eq!(server.store.statistics().records, 2);
    // What fits is taken, and what is there goes on counting.
    record(&server, &["ann", "carol", "carol"]).await.unwrap();
    assert_refused(&record(&server, &["dora"]).await.unwrap_err(), &["has 3 series"]);
    let again = events(&["bob"]);
    assert_eq!(
        server.ingest().record_api_usage(again.clone()).await.unwrap().into_inner().accepted_count,
        1
    );
    // A duplicate begins no series, whatever it says.
    let mut conflicting = again;
    conflicting.events[0].user_id = "emil".into();
    let answer = server.ingest().record_api_usage(conflicting).await.unwrap().into_inner();
    assert!(answer.rejected[0].conflict, "{answer:?}");

    let event = json!({
        "uuid": fresh_uuid(), "user_id": "dora", "template_uri": "/t", "http_method": "GET",
        "status": 200, "timestamp": TIME, "count": 1,
    });
    let answer = post(server.api, "/v1/apiUsage:record", &json!({"events": [event]})).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.json());
    assert_eq!(answer.reason(), "TOO_MANY_SERIES");
    assert!(!answer.headers.contains_key("retry-after"));

    assert_eq!(metric(&server, "series").await, 3);
    assert_eq!(metric(&server, "organization_series_highest").await, 3);
    assert_eq!(metric(&server, "series_reports_refused_total").await, 3);
    server.stop().await;
}

#[tokio::test]
async fn full_organization_leaves_others_their_own() {
    let server = server(1).await;
    record(&server, &["ann"]).await.unwrap();
    record(&server, &["bob"]).await.unwrap_err();
    let acme = json!({"organizationId": "acme"});
    let created = post(server.api, "/v1/access/organizations", &acme).await;
    assert_eq!(created.status, StatusCode::OK);
    let agent = json!({
        "organizationId": "acme", "clientId": "agent", "permissions": ["usage:api:write"],
    });
    let created = post(server.api, "/v1/access/clients", &agent).await.json();
    let mut request = Request::new(events(&["bob"]));
    let key = created["apiKey"].as_str().unwrap().parse().unwrap();
    request.metadata_mut().insert("api-key", key);
    let mut client = UsageIngestServiceClient::new(server.channel());
    assert_eq!(client.record_api_usage(request).await.unwrap().into_inner().accepted_count, 1);
    server.stop().await;
}

fn write(product: &str, sku: &str, validate_only: bool) -> WriteImageProductUsageRequest {
    WriteImageProductUsageRequest {
        validate_only,
        product_id: product.into(),
        usage_records: vec![UsageRecord {
            uuid: fresh_uuid(),
            sku_id: sku.into(),
            quantity: 1,
            timestamp: proto_time(TIME),
        }],
    }
}

#[tokio::test]
async fn product_usage_beyond_the_limit_is_refused() {
    let server = server(1).await;
    // What is only judged begins nothing.
    server.image().write(write("saas", "seat", true)).await.unwrap();
    server.image().write(write("storage", "gb-hour", false)).await.unwrap();
    for validate_only in [true, false] {
        let refused = server.image().write(write("storage", "requests", validate_only)).await;
        assert_refused(&refused.unwrap_err(), &["has 1 series", "the 1 that"]);
    }
    server.image().write(write("storage", "gb-hour", false)).await.unwrap();
    assert_eq!(server.store.statistics().records, 2);

    let message = |sequence, sku: &str| StreamProductUsageRequest {
        sequence,
        target: Some(Target::ProductId("storage".into())),
        usage_records: vec![ProductUsageRecord {
            uuid: fresh_uuid(),
            sku_id: sku.into(),
            quantity: 1,
            timestamp: proto_time(TIME),
        }],
        validate_only: false,
    };
    let messages = [message(1, "gb-hour"), message(2, "requests")];
    let answers = server.ingest().stream_product_usage(tokio_stream::iter(messages)).await;
    let mut answers = answers.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().accepted_count, 1);
    assert_refused(&answers.message().await.unwrap_err(), &["has 1 series"]);
    server.stop().await;
}

#[tokio::test]
async fn batch_beyond_the_limit_leaves_its_id_free() {
    let server = server(2).await;
    let assets = ["a", "b", "c"].map(|id| Asset { id: id.into(), ..Asset::default() });
    let request = ApplyAssetsRequest { assets: assets.into(), validate_only: false };
    server.catalog().apply_assets(request).await.unwrap();
    let put = async |assets: &[&str]| {
        let usage = |id: &&str| json!({"asset_id": id, "quantity": 1, "usage_date": "2026-11-19"});
        let usages: Vec<Value> = assets.iter().map(usage).collect();
        let batch = json!({"asset_usages": usages});
        call(Method::PUT, "/v3/usage-batches/one").json(batch).send(server.api).await
    };
    let refused = put(&["a", "b", "c", "a"]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.json());
    assert!(refused.json().to_string().contains("3 new ones"), "{}", refused.json());
    assert_eq!(put(&["a", "b", "a"]).await.status, StatusCode::CREATED);
    server.stop().await;
}

#[tokio::test]
async fn calls_answered_beyond_the_limit_are_counted_together() {
    let store = Arc::new(MemoryStore::with_series_limits(limits(1)));
    let setup = Setup { store: store.clone(), self_metering: true, ..Setup::default() };
    let server = TestServer::with(setup).await;
    record(&server, &["ann"]).await.unwrap();
    for _ in 0..3 {
        let answer = call(Method::GET, "/v1/catalog/products").send(server.api).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    server.stop().await;
    let counted = counted(&*store, "default");
    // The call that recorded, and the three: by their methods.
    let expected = [("admin ann /t", 1), ("{other}  /{other}", 3), ("{other}  /{other}", 1)];
    let expected: Vec<_> =
        expected.into_iter().map(|(line, calls)| (line.to_owned(), calls)).collect();
    assert_eq!(counted, expected);
    assert_eq!(store.statistics().series_reports_refused, 0);
}

#[test]
fn limits_hold_after_a_restart_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let open = |series| {
        SledStore::open(StoreOptions { series, ..StoreOptions::new(directory.path()) }).unwrap()
    };
    let events = |users: std::ops::Range<u32>| {
        let named = users.map(|user| (user, format!("user-{user}")));
        named
            .map(|(user, name)| {
                let calls = Calls { user: &name, ..Calls::default() };
                event(uuid::Uuid::new_v4().as_u128() ^ u128::from(user), &calls, noon())
            })
            .collect::<Vec<_>>()
    };
    let store = open(limits(100));
    commit_events(&store, "alpha", events(0..100), noon()).unwrap();
    drop(store);
    let refused = |store: &SledStore, users| {
        let report = meterd::domain::api_usage::ApiReport {
            caller: caller("alpha", "reporter"),
            events: events(users),
            new_series: NewSeries::Refused,
        };
        store
            .commit(&vec![probed(store, report)].into(), noon())
            .unwrap()
            .api_reports
            .remove(0)
            .err()
    };
    let too_many = |new, limit| Some(TooManySeries::OfOrganization { series: 100, new, limit });
    let store = open(limits(100));
    assert_eq!(store.statistics().series, 100);
    assert_eq!(refused(&store, 0..100), None);
    assert_eq!(refused(&store, 99..103), too_many(3, 100));
    drop(store);
    // A limit that was lowered takes nothing away.
    let store = open(limits(10));
    assert_eq!(refused(&store, 0..100), None);
    assert_eq!(refused(&store, 100..101), too_many(1, 10));
    drop(store);
    let store = open(limits(200));
    assert_eq!(refused(&store, 100..101), None);
    assert_eq!(store.statistics().series, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_does_not_try_again_what_stays_refused() {
    let server = server(1).await;
    let line = |user: &str| {
        let uuid = fresh_uuid();
        format!(
            "{{\"uuid\":\"{uuid}\",\"user_id\":\"{user}\",\"template_uri\":\"/t\",\"http_method\":\"GET\",\
             \"status\":200,\"timestamp\":\"{TIME}\",\"count\":1}}\n"
        )
    };
    let record = |input: &str| run_with_input(client(server.api, &["record-api", "-"]), input);
    record(&line("ann")).ok();
    record(&line("bob")).fails(1, &["organization-series-max"]);
    server.stop().await;
}
