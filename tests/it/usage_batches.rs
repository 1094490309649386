//! Batches of asset usage, as the vendor's clients send them.

use std::sync::Arc;

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        ApplyAssetsRequest, Asset, AssetUsage, InvalidAssets, ReportUsageBatchRequest,
        usage_batch_service_client::UsageBatchServiceClient,
    },
    store::sled::{SledStore, StoreOptions},
};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    http::{Answer, call, say},
    server::{Setup, TOKEN, TestServer},
};

async fn server() -> TestServer {
    let server = TestServer::start().await;
    apply(&server, &["a1", "a2", "a3", "Ж"]).await;
    server
}

async fn apply(server: &TestServer, ids: &[&str]) {
    let assets = ids.iter().map(|id| Asset { id: (*id).into(), ..Asset::default() }).collect();
    let request = ApplyAssetsRequest { assets, validate_only: false };
    server.catalog().apply_assets(request).await.unwrap();
}

async fn put(server: &TestServer, id: &str, body: Value) -> Answer {
    call(Method::PUT, &format!("/v3/usage-batches/{id}?")).json(body).send(server.api).await
}

fn usage(asset: &str, quantity: i64, date: &str) -> Value {
    json!({"asset_id": asset, "quantity": quantity, "usage_date": date})
}

fn batch(usages: &[Value]) -> Value {
    json!({"asset_usages": usages})
}

async fn total(server: &TestServer) -> String {
    let query = json!({"interval": "2020-01-01/2027-01-01"});
    let answer =
        call(Method::POST, "/v1/assetUsage:query").json(query).send(server.api).await.json();
    answer["totalQuantity"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_batch_is_recorded_and_read_back() {
    let server = server().await;
    let usages = [
        usage("a1", 3, "2026-11-19T23:30:00-05:00"),
        usage("a2", i64::from(i32::MAX), "Nov 20, 2026"),
        usage("a1", 1, "20/11/2026"),
        usage("Ж", 1, "Wed, 18 Nov 2026 10:00:00 +0000"),
    ];
    let answer = put(&server, "batch%201", batch(&usages)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    assert_eq!(answer.json(), json!({"invalid_assets": [], "total_asset_usages_processed": 4}));
    let stored = call(Method::GET, "/v3/usage-batches/batch%201").send(server.api).await.json();
    assert_eq!(
        stored,
        json!({
            "id": "batch 1", "client_id": "admin", "stored_time": "2026-11-20T12:00:00Z",
            "total_asset_usages_processed": 4,
            "asset_usages": [
                {"asset_id": "a1", "quantity": 3, "usage_date": "2026-11-19"},
                {"asset_id": "a2", "quantity": 2_147_483_647, "usage_date": "2026-11-20"},
                {"asset_id": "a1", "quantity": 1, "usage_date": "2026-11-20"},
                {"asset_id": "Ж", "quantity": 1, "usage_date": "2026-11-18"},
            ],
        })
    );
    let missing = call(Method::GET, "/v3/usage-batches/another").send(server.api).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);

    // By day and asset, and by week and month.
    let query = json!({
        "interval": "2026-11-01/P1M", "granularity": "GRANULARITY_DAY",
        "groupBy": ["ASSET_USAGE_DIMENSION_ASSET"],
    });
    let answer =
        call(Method::POST, "/v1/assetUsage:query").json(query).send(server.api).await.json();
    let rows: Vec<(&str, &str, &str)> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap();
            (text("startDate"), text("assetId"), text("quantity"))
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("2026-11-18", "Ж", "1"),
            ("2026-11-19", "a1", "3"),
            ("2026-11-20", "a1", "1"),
            ("2026-11-20", "a2", "2147483647"),
        ]
    );
    assert_eq!(
        (&answer["totalQuantity"], &answer["totalUsageCount"]),
        (&"2147483652".into(), &"4".into())
    );
    for (granularity, start, end) in [
        ("GRANULARITY_WEEK", "2026-11-16", "2026-11-23"),
        ("GRANULARITY_MONTH", "2026-11-01", "2026-12-01"),
        ("GRANULARITY_TOTAL", "2026-10-01", "2026-12-01"),
    ] {
        let query = json!({
            "interval": "2026-10-01/2026-12-01", "granularity": granularity,
            "filter": {"assetIds": ["a1", "a2"], "clientIds": ["admin"]},
        });
        let answer =
            call(Method::POST, "/v1/assetUsage:query").json(query).send(server.api).await.json();
        let rows = answer["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{granularity}");
        assert_eq!(
            (&rows[0]["startDate"], &rows[0]["endDate"], &rows[0]["quantity"]),
            (&start.into(), &end.into(), &"2147483651".into())
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once_and_nothing_recorded() {
    let server = server().await;
    let usages = [
        usage("unknown-1", 1, "2026-11-20"),
        usage("a1", 0, "03/04/2026"),
        usage("unknown-2", -1, "2026-11-21"),
        usage("unknown-1", 1, "yesterday"),
        usage("", 1, "03/04/26"),
        json!({"asset_id": "a2"}),
    ];
    let answer = put(&server, "bad", batch(&usages)).await;
    let json = answer.json();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(json["code"], 3);
    assert_eq!(json["invalid_assets"], json!(["unknown-1", "unknown-2"]));
    assert_eq!(json["total_asset_usages_processed"], 0);
    assert_eq!(
        answer.fields(),
        [
            "asset_usages",
            "asset_usages[1].quantity",
            "asset_usages[1].usage_date",
            "asset_usages[2].quantity",
            "asset_usages[2].usage_date",
            "asset_usages[3].usage_date",
            "asset_usages[4].usage_date",
            "asset_usages[4].asset_id",
            "asset_usages[5].quantity",
            "asset_usages[5].usage_date",
        ]
    );
    let said = json.to_string();
    for words in ["2026-03-04", "2026-04-03", "after today", "four digits", "is missing"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Limits, one by one.
    let one = usage("a1", 1, "2026-11-20");
    for (id, body, field) in [
        ("empty", batch(&[]), "asset_usages"),
        ("absent", json!({}), "asset_usages"),
        ("many", batch(&vec![one.clone(); 1001]), "asset_usages"),
        (&"x".repeat(129), batch(std::slice::from_ref(&one)), "id"),
        ("%20x", batch(std::slice::from_ref(&one)), "id"),
    ] {
        let answer = put(&server, id, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}");
        assert_eq!(answer.fields(), [field], "{id}");
    }
    // What JSON cannot say of a number of 32 bits.
    for body in [
        batch(&[usage("a1", 1 << 31, "2026-11-20")]),
        json!({"asset_usages": [{"asset_id": "a1", "quantity": 1.5, "usage_date": "2026-11-20"}]}),
        json!({"asset_usages": [{"asset_id": 7, "quantity": 1, "usage_date": "2026-11-20"}]}),
        json!({"asset_usages": "all"}),
        json!({"asset_usages": [], "extra": 1}),
    ] {
        assert_eq!(put(&server, "bad", body).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(total(&server).await, "0");
    // None of that took an id; a thousand usages are allowed.
    let answer = put(&server, "bad", batch(&vec![one; 1000])).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    assert_eq!(total(&server).await, "1000");
    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "meterd_batches_total{verdict=\"recorded\"} 1",
        "meterd_batches_total{verdict=\"invalid\"} 6",
        "meterd_asset_usages_total 1000",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_used_id_tells_a_retry_from_something_else() {
    let server = server().await;
    let first = batch(&[usage("a1", 1, "2026-11-20"), usage("a2", 2, "2026-11-19")]);
    assert_eq!(put(&server, "id", first.clone()).await.status, StatusCode::CREATED);
    let same_days = batch(&[usage("a1", 1, "20 Nov 2026"), usage("a2", 2, "2026-11-19T10:00:00Z")]);
    let other = batch(&[usage("a1", 1, "2026-11-20"), usage("a2", 3, "2026-11-19")]);
    let conflict = async |body: Value| {
        let answer = put(&server, "id", body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        let json = answer.json();
        assert_eq!(json["code"], 6);
        let info = &json["details"][0];
        assert_eq!(info["reason"], "TRANSACTION_ID_DUPLICATED");
        assert_eq!(info["metadata"]["total_asset_usages_processed"], "2");
        info["metadata"]["identical"].as_str().unwrap().to_owned()
    };
    assert_eq!(conflict(first.clone()).await, "true");
    assert_eq!(conflict(same_days).await, "true");
    assert_eq!(conflict(other).await, "false");
    // A retry is told so even if an asset has been retired since, or is gone.
    let retired = Asset { id: "a1".into(), state: 2, ..Asset::default() };
    let request = ApplyAssetsRequest { assets: vec![retired], validate_only: false };
    server.catalog().apply_assets(request).await.unwrap();
    let gone = call(Method::DELETE, "/v1/catalog/assets/a2").send(server.api).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(conflict(first.clone()).await, "true");
    let refused = put(&server, "another-id", first).await;
    assert_eq!(refused.json()["invalid_assets"], json!(["a1", "a2"]));
    assert_eq!(total(&server).await, "3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_calls_with_one_id_exactly_one_records() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let setup = Setup { store: Arc::new(store), ..Setup::default() };
    let server = Arc::new(TestServer::with(setup).await);
    apply(&server, &["a1", "a2"]).await;
    for round in 0..20 {
        let callers = (0..32_i64).map(|number| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let quantity = 1 + number % 2;
                let body = batch(&[usage("a1", quantity, "2026-11-20")]);
                let answer = put(&server, &format!("round-{round}"), body).await;
                (quantity, answer.status, answer.json())
            })
        });
        let answers = futures_util::future::join_all(callers).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let recorded: Vec<i64> = answers
            .iter()
            .filter(|(_, status, _)| *status == StatusCode::CREATED)
            .map(|(quantity, ..)| *quantity)
            .collect();
        assert_eq!(recorded.len(), 1, "round {round}");
        for (quantity, status, json) in answers {
            if status == StatusCode::CREATED {
                continue;
            }
            assert_eq!(status, StatusCode::CONFLICT, "{json}");
            let identical = (quantity == recorded[0]).to_string();
            assert_eq!(json["details"][0]["metadata"]["identical"], identical);
        }
    }
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn over_grpc_a_long_list_is_cut_and_counted() {
    let server = server().await;
    let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {TOKEN}").parse().unwrap();
    let mut client = UsageBatchServiceClient::with_interceptor(
        server.channel(),
        move |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        },
    );
    let asset_usages = (0..1000)
        .map(|number| AssetUsage {
            asset_id: format!("unknown-asset-{number:036}"),
            quantity: 1,
            usage_date: "2026-11-20".into(),
        })
        .collect();
    let request = ReportUsageBatchRequest { id: "id".into(), asset_usages };
    let status = client.report_usage_batch(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["invalid_asset_count"], "1000");
    let whole = tonic_types::pb::Status::decode(status.details()).unwrap();
    let detail = whole.details.iter().find(|any| any.type_url.ends_with("InvalidAssets")).unwrap();
    let invalid = InvalidAssets::decode(&*detail.value).unwrap();
    assert!((10..1000).contains(&invalid.invalid_assets.len()));
    assert_eq!(invalid.invalid_assets[0], request.asset_usages[0].asset_id);
    assert!(status.details().len() < 6000, "{}", status.details().len());
    // Over REST there is room for all.
    let usages: Vec<Value> = request
        .asset_usages
        .iter()
        .map(|asset_usage| usage(&asset_usage.asset_id, 1, "2026-11-20"))
        .collect();
    let json = put(&server, "id", batch(&usages)).await.json();
    assert_eq!(json["invalid_assets"].as_array().unwrap().len(), 1000);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_cut_short_ends_the_connection() {
    let server = server().await;
    // The vendor's SDK counts characters where HTTP counts bytes.
    let body = batch(&[usage("Ж", 1, "2026-11-20")]).to_string();
    let request = format!(
        "PUT /v3/usage-batches/short? HTTP/1.1\r\nhost: meterd\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.chars().count()
    );
    let answer = say(server.api, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn assets_are_applied_listed_and_removed() {
    let server = server().await;
    let post = async |body: Value| {
        call(Method::POST, "/v1/catalog/assets:apply").json(body).send(server.api).await
    };
    let changed = post(json!({"assets": [
        {"id": "a1"}, {"id": "a2", "name": "Harbour"}, {"id": "b"},
    ]}))
    .await;
    let counts = json!({"createdCount": 1, "updatedCount": 1, "unchangedCount": 1});
    assert_eq!(changed.json(), counts);
    let same = json!({"assets": [{"id": "b", "name": "B"}], "validateOnly": true});
    for _ in 0..2 {
        assert_eq!(post(same.clone()).await.json()["updatedCount"], 1);
    }
    let refused = post(json!({"assets": [
        {"id": ""}, {"id": "c", "name": "x".repeat(257)}, {"id": "c"}, {"id": "d", "state": 9},
    ]}))
    .await;
    assert_eq!(refused.fields(), ["assets[3].state"]);
    let refused = post(json!({"assets": [
        {"id": ""}, {"id": "c", "name": "x".repeat(257)}, {"id": "c"}, {"id": "c"},
    ]}))
    .await;
    assert_eq!(
        refused.fields(),
        ["assets[0].id", "assets[1].name", "assets[2].id", "assets[3].id"]
    );
    assert_eq!(post(json!({"assets": []})).await.fields(), ["assets"]);

    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let target = format!("/v1/catalog/assets?pageSize=2&pageToken={token}");
        let page = call(Method::GET, &target).send(server.api).await.json();
        listed.extend(page["assets"].as_array().unwrap().clone());
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let ids: Vec<&str> = listed.iter().map(|asset| asset["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a1", "a2", "a3", "b", "Ж"]);
    assert_eq!(listed[1]["name"], "Harbour");
    let get = async |id: &str| {
        call(Method::GET, &format!("/v1/catalog/assets/{id}")).send(server.api).await.status
    };
    assert_eq!(get("b").await, StatusCode::OK);
    call(Method::DELETE, "/v1/catalog/assets/b").send(server.api).await;
    assert_eq!(get("b").await, StatusCode::NOT_FOUND);
    let again = call(Method::DELETE, "/v1/catalog/assets/b").send(server.api).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    server.stop().await;
}
