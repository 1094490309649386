//! Whole calls, in process: a write of 25 records that is only judged, over gRPC and over REST. What REST costs more is
//! the way from JSON to messages and back.

use std::{hint::black_box, sync::Arc};

use axum::{Router, body::Body};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use meterd::{
    api::pb::yandex::cloud::marketplace::metering::v1::{
        UsageRecord, WriteImageProductUsageRequest,
    },
    store::memory::MemoryStore,
};
use prost::Message as _;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::{
    Work,
    inputs::{Numbers, RECORDS},
    runtime,
};
use crate::support;

const GRPC: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";
const REST: &str = "/marketplace/metering/v1/imageProductUsage/write";

pub(super) fn over_grpc() -> Box<dyn Work> {
    let message = write();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    Calling::boxed(GRPC, "application/grpc", frame.freeze())
}

pub(super) fn over_rest() -> Box<dyn Work> {
    let message = write();
    let record = |record: &UsageRecord| {
        let time = record.timestamp.unwrap();
        serde_json::json!({
            "uuid": record.uuid,
            "skuId": record.sku_id,
            "quantity": record.quantity.to_string(),
            "timestamp": Timestamp::new(time.seconds, time.nanos).unwrap().to_string(),
        })
    };
    let body = serde_json::json!({
        "validateOnly": true,
        "productId": message.product_id,
        "usageRecords": message.usage_records.iter().map(record).collect::<Vec<_>>(),
    });
    Calling::boxed(REST, "application/json", body.to_string().into())
}

fn write() -> WriteImageProductUsageRequest {
    let mut numbers = Numbers::from(1);
    // The router has the system's clock. Whole seconds: their text is always as long.
    let seconds = Timestamp::now().as_second();
    let record = |_| UsageRecord {
        uuid: numbers.uuid().to_string(),
        sku_id: "gb-hour".into(),
        quantity: 42,
        timestamp: Some(prost_types::Timestamp { seconds, nanos: 0 }),
    };
    WriteImageProductUsageRequest {
        validate_only: true,
        product_id: "storage".into(),
        usage_records: (0..RECORDS).map(record).collect(),
    }
}

struct Calling {
    runtime: Runtime,
    router: Router,
    path: &'static str,
    content_type: &'static str,
    body: Bytes,
}

impl Calling {
    fn boxed(path: &'static str, content_type: &'static str, body: Bytes) -> Box<dyn Work> {
        let runtime = runtime();
        let store = Arc::new(MemoryStore::new());
        let router = runtime.block_on(support::router(store, false)).router;
        Box::new(Self { runtime, router, path, content_type, body })
    }
}

impl Work for Calling {
    fn run(&mut self) {
        let request = Request::post(self.path)
            .header(header::CONTENT_TYPE, self.content_type)
            .body(Body::from(self.body.clone()))
            .unwrap();
        let call = async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            assert!(response.status().is_success());
            black_box(response.into_body().collect().await.unwrap().to_bytes());
        };
        self.runtime.block_on(call);
    }
}
