//! How much a client may report in a time: calls beyond it are refused and told when to come again, streams wait.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use meterd::api::{
    CallLimits, ClientRate,
    pb::{
        meterd::v1::{
            ProductUsageRecord, StreamProductUsageRequest, stream_product_usage_request::Target,
        },
        yandex::cloud::marketplace::metering::v1::{UsageRecord, WriteImageProductUsageRequest},
    },
};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    http::call,
    server::{Setup, TOKEN, TestServer, fresh_uuid, proto_time},
};

async fn server(records_per_second: u32, burst: u32) -> TestServer {
    let client_rate = Some(ClientRate {
        records_per_second: NonZeroU32::new(records_per_second).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    });
    let calls = CallLimits { client_rate, ..CallLimits::default() };
    TestServer::with(Setup { calls, ..Setup::default() }).await
}

fn write(records: usize) -> WriteImageProductUsageRequest {
    let record = || UsageRecord {
        uuid: fresh_uuid(),
        sku_id: "gb-hour".into(),
        quantity: 1,
        timestamp: proto_time("2026-11-20T12:00:00Z"),
    };
    WriteImageProductUsageRequest {
        validate_only: false,
        product_id: "storage".into(),
        usage_records: (0..records).map(|_| record()).collect(),
    }
}

#[tokio::test]
async fn calls_beyond_the_rate_are_refused_and_told_when_to_come_again() {
    let server = server(1, 25).await;
    server.image().write(write(25)).await.unwrap();
    let refused = server.image().write(write(25)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CLIENT_RATE_EXCEEDED");
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(Duration::from_secs(10) < delay && delay <= Duration::from_secs(25), "{delay:?}");

    let record = json!({
        "uuid": fresh_uuid(), "sku_id": "gb-hour", "quantity": 1, "timestamp": "2026-11-20T12:00:00Z",
    });
    let body = json!({"product_id": "storage", "usage_records": vec![record; 25]});
    let path = "/marketplace/metering/v1/imageProductUsage/write";
    let answer = call(Method::POST, path)
        .header("authorization", &format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send(server.api)
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.json());
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((10..=25).contains(&seconds), "{seconds}");
    // What was refused was not stored: the records may be sent again.
    assert_eq!(server.store.statistics().records, 25);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_slowed_down_and_loses_nothing() {
    let server = server(1000, 100).await;
    let messages = (1..=4).map(|sequence| StreamProductUsageRequest {
        sequence,
        target: Some(Target::ProductId("storage".into())),
        usage_records: (0..100)
            .map(|_| ProductUsageRecord {
                uuid: fresh_uuid(),
                sku_id: "gb-hour".into(),
                quantity: 1,
                timestamp: proto_time("2026-11-20T12:00:00Z"),
            })
            .collect(),
        validate_only: false,
    });
    let messages: Vec<_> = messages.collect();
    let began = Instant::now();
    let mut answers = server
        .ingest()
        .stream_product_usage(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    let mut accepted = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        accepted += answer.accepted_count;
    }
    assert_eq!(accepted, 400);
    // One burst at once, 300 records at 1000 a second: a bound from below, which no load can break.
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    server.stop().await;
}
