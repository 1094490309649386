//! How much a client may report in a time: calls beyond it are refused and told when to come again, streams wait.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use meterd::api::{
    CallLimits, ClientRate,
    pb::{
        envoy::{
            config::core::v3::RequestMethod,
            data::accesslog::v3::{HttpAccessLogEntry, HttpRequestProperties},
            service::accesslog::v3::{
                StreamAccessLogsMessage,
                stream_access_logs_message::{HttpAccessLogEntries, Identifier, LogEntries},
            },
        },
        meterd::v1::{
            ApiUsageEvent, ProductUsageRecord, RecordApiUsageRequest, StreamProductUsageRequest,
            stream_product_usage_request::Target,
        },
        yandex::cloud::marketplace::metering::v1::{UsageRecord, WriteImageProductUsageRequest},
    },
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    http::call,
    server::{Setup, TestServer, fresh_uuid, proto_time},
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

fn events(count: usize) -> RecordApiUsageRequest {
    let event = |_| ApiUsageEvent {
        uuid: fresh_uuid(),
        template_uri: "/t".into(),
        http_method: "GET".into(),
        status: 200,
        timestamp: proto_time("2026-11-20T12:00:00Z"),
        count: Some(1),
        ..Default::default()
    };
    RecordApiUsageRequest { events: (0..count).map(event).collect() }
}

#[track_caller]
fn assert_in_debt(refused: &Status) {
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CLIENT_RATE_EXCEEDED");
    // Longer than anybody is asked to wait.
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn message_over_the_burst_is_taken_once_and_paid_for() {
    let server = server(1, 10).await;
    assert_eq!(
        server.ingest().record_api_usage(events(1000)).await.unwrap().into_inner().accepted_count,
        1000
    );
    for count in [1, 10, 1000] {
        assert_in_debt(&server.ingest().record_api_usage(events(count)).await.unwrap_err());
    }
    // All that a client reports is paid out of one share.
    assert_in_debt(&server.image().write(write(1)).await.unwrap_err());
    let batch =
        json!({"asset_usages": [{"asset_id": "a", "quantity": 1, "usage_date": "2026-11-19"}]});
    let answer = call(Method::PUT, "/v3/usage-batches/one").json(batch).send(server.api).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.json());
    assert_eq!(answer.reason(), "CLIENT_RATE_EXCEEDED");
    assert_eq!(server.store.statistics().records, 1000);
    assert!(metrics(&server).await.contains("meterd_calls_rate_limited_total 5\n"));
    server.stop().await;
}

#[tokio::test]
async fn default_burst_is_ten_seconds_worth_of_any_rate() {
    // 20 records a second, the default burst of that rate; ten times as much is owed afterwards.
    let server = server(20, 200).await;
    server.ingest().record_api_usage(events(1000)).await.unwrap();
    let refused = server.ingest().record_api_usage(events(1)).await.unwrap_err();
    let delay = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(Duration::from_secs(30) < delay && delay <= Duration::from_secs(41), "{delay:?}");
    server.stop().await;
}

/// A message of calls of so many users, each an event of its own.
fn access_log(users: std::ops::Range<usize>) -> StreamAccessLogsMessage {
    let entry = |user: usize| HttpAccessLogEntry {
        request: Some(Box::new(HttpRequestProperties {
            request_method: RequestMethod::Get.into(),
            path: "/v1/products/1".into(),
            request_headers: [("x-user-id".to_owned(), format!("user-{user}"))].into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let log_entry = users.map(entry).collect();
    StreamAccessLogsMessage {
        identifier: Some(Identifier { node: None, log_name: "shop".into() }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })),
    }
}

async fn metrics(server: &TestServer) -> String {
    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    String::from_utf8(metrics.body.to_vec()).unwrap()
}

#[tokio::test]
async fn access_logs_wait_and_lose_nothing() {
    let server = server(1000, 100).await;
    let messages = [access_log(0..400), access_log(400..401)];
    let began = Instant::now();
    server.access_logs().stream_access_logs(tokio_stream::iter(messages)).await.unwrap();
    // What the first one owed was paid before the second: a bound from below, which no load can break.
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    let metrics = metrics(&server).await;
    assert!(metrics.contains("meterd_access_log_calls_total 401\n"), "{metrics}");
    assert!(metrics.contains("meterd_messages_rate_limited_total 1\n"), "{metrics}");
    server.stop().await;
}

/// A stream of which the second message waits for a quarter of an hour.
async fn waiting(
    server: &TestServer,
) -> (mpsc::Sender<StreamAccessLogsMessage>, tokio::task::JoinHandle<Result<(), Status>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = server.access_logs();
    let streaming = tokio::spawn(async move {
        client.stream_access_logs(ReceiverStream::new(receiver)).await.map(drop)
    });
    sender.send(access_log(0..1000)).await.unwrap();
    while !metrics(server).await.contains("meterd_access_log_calls_total 1000\n") {
        tokio::task::yield_now().await;
    }
    sender.send(access_log(0..1)).await.unwrap();
    while !metrics(server).await.contains("meterd_messages_rate_limited_total 1\n") {
        tokio::task::yield_now().await;
    }
    (sender, streaming)
}

#[tokio::test]
async fn access_log_that_waits_is_stored_at_shutdown() {
    let mut server = server(1, 1).await;
    let store = server.store.clone();
    let (sender, streaming) = waiting(&server).await;
    server.begin_stop().await.unwrap();
    assert_eq!(streaming.await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(store.statistics().records, 1001);
    drop(sender);
}

#[tokio::test]
async fn access_log_that_is_hung_up_on_while_it_waits_is_said_lost() {
    let server = server(1, 1).await;
    let (sender, streaming) = waiting(&server).await;
    streaming.abort();
    drop(sender);
    let lost = "meterd_access_log_entries_dropped_total{reason=\"rate_limited\"} 1\n";
    while !metrics(&server).await.contains(lost) {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}
