//! What REST costs beside gRPC: the same write of 25 records through the same router, in one process and
//! one run, without sockets. And what a typed reader of the write's JSON would save, beside the reader that
//! works for every message.
//!
//! `cargo bench --bench rest`; `METERD_BENCH_SECONDS` sets the length of each round (default 2).

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt as _;
use meterd::{
    api::pb::yandex::cloud::marketplace::metering::v1::{
        UsageRecord, WriteImageProductUsageRequest, WriteImageProductUsageResponse,
    },
    store::sled::{SledStore, StoreOptions},
};
use prost::Message as _;
use serde::Deserialize;
use tower::ServiceExt as _;
use uuid::Uuid;

mod support;

const ROUNDS: usize = 3;
const RECORDS: usize = 25;
const CALLERS: usize = 64;
const GRPC: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";
const REST: &str = "/marketplace/metering/v1/imageProductUsage/write";

fn write(validate_only: bool) -> WriteImageProductUsageRequest {
    let now = jiff::Timestamp::now();
    let record = |_| UsageRecord {
        uuid: Uuid::new_v4().to_string(),
        sku_id: "gb-hour".into(),
        quantity: 42,
        timestamp: Some(prost_types::Timestamp {
            seconds: now.as_second(),
            nanos: now.subsec_nanosecond(),
        }),
    };
    WriteImageProductUsageRequest {
        validate_only,
        product_id: "storage".into(),
        usage_records: (0..RECORDS).map(record).collect(),
    }
}

fn json(request: &WriteImageProductUsageRequest) -> Bytes {
    let records: Vec<_> = request
        .usage_records
        .iter()
        .map(|record| {
            let time = record.timestamp.unwrap();
            serde_json::json!({
                "uuid": record.uuid,
                "skuId": record.sku_id,
                "quantity": record.quantity.to_string(),
                "timestamp": jiff::Timestamp::new(time.seconds, time.nanos).unwrap().to_string(),
            })
        })
        .collect();
    let request = serde_json::json!({
        "validateOnly": request.validate_only,
        "productId": request.product_id,
        "usageRecords": records,
    });
    request.to_string().into()
}

fn frame(request: &WriteImageProductUsageRequest) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(request.encoded_len() as u32);
    request.encode(&mut frame).unwrap();
    frame.freeze()
}

async fn call(router: &Router, path: &str, content_type: &str, body: Bytes) -> Bytes {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap().to_bytes()
}

/// The write's JSON, typed: what a fast path would read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedWrite {
    #[serde(default, alias = "validate_only")]
    validate_only: bool,
    #[serde(default, alias = "product_id")]
    product_id: String,
    #[serde(default, alias = "usage_records")]
    usage_records: Vec<TypedRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedRecord {
    #[serde(default)]
    uuid: String,
    #[serde(default, alias = "sku_id")]
    sku_id: String,
    #[serde(default)]
    quantity: String,
    timestamp: Option<String>,
}

fn typed(body: &[u8]) -> WriteImageProductUsageRequest {
    let write: TypedWrite = serde_json::from_slice(body).unwrap();
    let record = |record: TypedRecord| UsageRecord {
        uuid: record.uuid,
        sku_id: record.sku_id,
        quantity: record.quantity.parse().unwrap(),
        timestamp: record.timestamp.map(|text| {
            let time: jiff::Timestamp = text.parse().unwrap();
            prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
        }),
    };
    WriteImageProductUsageRequest {
        validate_only: write.validate_only,
        product_id: write.product_id,
        usage_records: write.usage_records.into_iter().map(record).collect(),
    }
}

fn typed_answer(answer: &[u8]) -> String {
    let answer = WriteImageProductUsageResponse::decode(&answer[5..]).unwrap();
    let accepted: Vec<_> =
        answer.accepted.iter().map(|record| serde_json::json!({"uuid": record.uuid})).collect();
    serde_json::json!({"accepted": accepted, "rejected": []}).to_string()
}

/// Microseconds of one of `work`, over about `length`.
async fn micros(length: Duration, mut work: impl AsyncFnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < length {
        work().await;
        count += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}

/// Records a second that many callers get durably stored.
async fn durable(router: &Router, length: Duration, rest: bool) -> f64 {
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while began.elapsed() < length {
                    let request = write(false);
                    if rest {
                        call(&router, REST, "application/json", json(&request)).await;
                    } else {
                        // The JSON is made here, too: the caller's work shall not differ.
                        black_box(json(&request));
                        call(&router, GRPC, "application/grpc", frame(&request)).await;
                    }
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    (calls * RECORDS as u64) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let seconds = std::env::var("METERD_BENCH_SECONDS").ok();
    let length = Duration::from_secs_f64(seconds.map_or(2.0, |text| text.parse().unwrap()));
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let router = support::router(Arc::new(store), false).await.router;
    let request = write(true);
    let (body, framed) = (json(&request), frame(&request));
    println!("one write of {RECORDS} records, {} bytes of JSON, nothing stored:", body.len());
    for round in 1..=ROUNDS {
        let grpc = micros(length, async || {
            black_box(call(&router, GRPC, "application/grpc", framed.clone()).await);
        })
        .await;
        let rest = micros(length, async || {
            black_box(call(&router, REST, "application/json", body.clone()).await);
        })
        .await;
        let fast = micros(length, async || {
            let request = typed(&body);
            let answer = call(&router, GRPC, "application/grpc", frame(&request)).await;
            black_box(typed_answer(&answer));
        })
        .await;
        println!(
            "round {round}: gRPC {grpc:>6.1} µs   REST {rest:>6.1} µs   typed {fast:>6.1} µs   typed gains {:.2}x",
            rest / fast
        );
    }
    println!("{CALLERS} callers, each record on the disk before its answer:");
    for round in 1..=ROUNDS {
        let grpc = durable(&router, length, false).await;
        let rest = durable(&router, length, true).await;
        println!(
            "round {round}: gRPC {grpc:>8.0} records/s   REST {rest:>8.0} records/s   {:.2}x",
            rest / grpc
        );
    }
}
