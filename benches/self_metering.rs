//! What counting every answered call as API usage costs the write path: the same durable writes through a router that
//! counts its calls and through one that does not, in turns, in one run.
//!
//! `cargo bench --bench self_metering`; `METERD_BENCH_SECONDS` sets the length of each turn (default 3),
//! `METERD_BENCH_ROUNDS` how many turns each gets (default 8).

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt as _;
use meterd::{
    api::pb::yandex::cloud::marketplace::metering::v1::{
        UsageRecord, WriteImageProductUsageRequest,
    },
    domain::{
        api_usage::{HttpMethod, HttpStatus},
        caller::Caller,
        id::{ClientId, OrganizationId, PlatformName, TemplateUri},
    },
    service::api_usage::self_metering::{AnsweredApi, SelfMetering},
    store::sled::{SledStore, StoreOptions},
};
use prost::Message as _;
use tower::ServiceExt as _;
use uuid::Uuid;

mod support;

const RECORDS: usize = 25;
const CALLERS: usize = 64;
const WRITE: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn write(validate_only: bool) -> Bytes {
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
    let request = WriteImageProductUsageRequest {
        validate_only,
        product_id: "storage".into(),
        usage_records: (0..RECORDS).map(record).collect(),
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(request.encoded_len() as u32);
    request.encode(&mut frame).unwrap();
    frame.freeze()
}

async fn call(router: &Router, body: Bytes) {
    let request = Request::post(WRITE)
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(Body::from(body))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap();
}

/// Nanoseconds of counting one call, on as many threads as there are callers' workers.
fn counting(metering: &SelfMetering, threads: usize) -> f64 {
    const CALLS: u32 = 2_000_000;
    let api = Arc::new(AnsweredApi {
        template_uri: TemplateUri::new("/marketplace/metering/v1/imageProductUsage/write").unwrap(),
        method: HttpMethod::Post,
        platform: PlatformName::new("grpc").unwrap(),
    });
    let caller = Caller {
        organization: OrganizationId::new("dev").unwrap(),
        client: ClientId::new("9a1d2e3f-aaaa-4bbb-8ccc-000000000001").unwrap(),
    };
    let ok = HttpStatus::new(200).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    // As a call does: its guard has a caller of its own.
                    let caller = caller.clone();
                    assert!(metering.count(&caller, &api, ok));
                }
            });
        }
    });
    began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// Calls of one router before it is the other's turn: so few that whatever else the machine does disturbs both alike.
const SLICE: u32 = 50;

/// Microseconds of one write that stores nothing, one after the other, through each of two routers in turns.
async fn alone(routers: [&Router; 2], body: &Bytes, length: Duration) -> [f64; 2] {
    let began = Instant::now();
    let (mut spent, mut slices) = ([Duration::ZERO; 2], 0);
    while began.elapsed() < length {
        for (router, spent) in routers.into_iter().zip(&mut spent) {
            let began = Instant::now();
            for _ in 0..SLICE {
                call(router, body.clone()).await;
            }
            *spent += began.elapsed();
        }
        slices += 1;
    }
    spent.map(|spent| spent.as_secs_f64() * 1e6 / f64::from(slices * SLICE))
}

/// Records a second that many callers get durably stored.
async fn durable(router: &Router, length: Duration) -> f64 {
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while began.elapsed() < length {
                    call(&router, write(false)).await;
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let length = Duration::from_secs(number("METERD_BENCH_SECONDS", 3));
    let rounds = number("METERD_BENCH_ROUNDS", 8);
    // Both on one store: what is stored already costs both the same.
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(StoreOptions::new(directory.path())).unwrap());
    let without = support::router(Arc::<SledStore>::clone(&store), false).await;
    let with = support::router(store, true).await;
    let metering = with.self_metering.clone().unwrap();
    for threads in [1, 2] {
        println!("counting a call on {threads} threads: {:.0} ns", counting(&metering, threads));
    }
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        loop {
            interval.tick().await;
            metering.store().await.unwrap();
        }
    });
    let body = write(true);
    let (mut alone_ratios, mut durable_ratios) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        // Who is first has the smaller store and the cooler machine, so they take turns.
        let [off, on] = alone([&without.router, &with.router], &body, length).await;
        let (mut durable_off, mut durable_on) = (0.0, 0.0);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                durable_off = durable(&without.router, length).await;
            } else {
                durable_on = durable(&with.router, length).await;
            }
        }
        alone_ratios.push(on / off);
        durable_ratios.push(durable_off / durable_on);
        println!(
            "round {round}: alone {off:.2} µs without, {on:.2} µs with; durable {durable_off:.0} without, {durable_on:.0} records/s with"
        );
    }
    println!(
        "cost, median of {rounds} rounds: {:+.1} % of a lone write that stores nothing, {:+.1} % of durable writes",
        (median(alone_ratios) - 1.0) * 100.0,
        (median(durable_ratios) - 1.0) * 100.0
    );
}
