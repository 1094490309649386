//! What a report costs, by how many records are behind the same buckets: one product's month by day, from a store of a
//! million records and from one of twenty million, taking turns in one process.
//!
//! `cargo bench --bench reports`; `METERD_BENCH_RECORDS` sets the number of records of the larger store (default
//! 20,000,000), `METERD_BENCH_QUERIES` the queries of each (default 400).

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        calendar::Granularity,
        caller::Caller,
        id::{ClientId, OrganizationId, ProductId, SkuId},
        quantity::Quantity,
        report::{Grouping, RowOrder},
        usage::{Submission, UsageRecord, UsageTarget},
    },
    service::{
        PageRequest,
        clock::SystemClock,
        committer::{Committer, CommitterLimits},
        reports::{ProductUsageQuery, RawFilter, Reports},
    },
    store::{
        Probe, Probed, UsageStore,
        sled::{SledStore, StoreOptions},
    },
};
use uuid::Uuid;

const PRODUCTS: u64 = 20;
/// So few series that a million records fill their quarter hours: both stores have the same buckets.
const SKUS: u64 = 2;
const CLIENTS: u64 = 2;
const DAYS: u64 = 30;
const FIRST_DAY: &str = "2026-11-01T00:00:00Z";

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn fill(directory: &Path, records: u64) -> Arc<SledStore> {
    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
    let first: Timestamp = FIRST_DAY.parse().unwrap();
    let skus: Vec<SkuId> =
        (0..SKUS).map(|number| SkuId::new(&format!("sku-{number}")).unwrap()).collect();
    let mut state = 1;
    let began = Instant::now();
    let mut written = 0;
    while written < records {
        let group: Vec<Probed<Arc<Submission>>> = (0..16)
            .map(|_| {
                let product = format!("product-{}", random(&mut state) % PRODUCTS);
                let client = format!("client-{}", random(&mut state) % CLIENTS);
                let mut record = || UsageRecord {
                    uuid: Uuid::from_u64_pair(random(&mut state), random(&mut state)),
                    sku: skus[(random(&mut state) % SKUS) as usize].clone(),
                    quantity: Quantity::new(1 + (random(&mut state) % 100) as i64).unwrap(),
                    usage_time: first
                        + SignedDuration::from_secs((random(&mut state) % (DAYS * 86_400)) as i64),
                };
                let submission = Submission {
                    caller: Caller {
                        organization: OrganizationId::new("acme").unwrap(),
                        client: ClientId::new(&client).unwrap(),
                    },
                    records: (0..1000).map(|_| record()).collect(),
                    target: UsageTarget {
                        product: ProductId::new(&product).unwrap(),
                        instance: None,
                    },
                    validate_only: false,
                };
                let probe = match store.probe((&submission).into()) {
                    Probe::Settled(probe) => probe,
                    Probe::NeedsRead => store.settle((&submission).into()).unwrap(),
                };
                Probed { report: Arc::new(submission), probe }
            })
            .collect();
        store.commit(&group.into(), first).unwrap();
        written += 16_000;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{written} records written in {seconds:.0} s");
    // Merging is not what is measured.
    while !store.is_idle() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Arc::new(store)
}

struct Measured {
    reports: Reports,
    milliseconds: Vec<f64>,
}

impl Measured {
    fn new(store: Arc<SledStore>) -> Self {
        let clock = Arc::new(SystemClock);
        let committer = Committer::start(store.clone(), clock, CommitterLimits::default()).unwrap();
        Self { reports: Reports::new(store, committer), milliseconds: Vec::new() }
    }

    async fn query(&mut self, product: u64) {
        let query = ProductUsageQuery {
            interval: "2026-11-01/P1M".into(),
            granularity: Granularity::Day,
            time_zone: "Europe/Berlin".into(),
            filter: RawFilter {
                product_ids: vec![format!("product-{product}")],
                ..RawFilter::default()
            },
            grouping: Grouping { sku: true, ..Grouping::default() },
            order: RowOrder::TimeAscending,
            page: PageRequest { page_size: 1000, page_token: String::new() },
        };
        let caller = Caller {
            organization: OrganizationId::new("acme").unwrap(),
            client: ClientId::new("reader").unwrap(),
        };
        let began = Instant::now();
        let page = self.reports.product_usage(&caller, query).await.unwrap();
        self.milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        assert!(page.rows.len() >= 30 * SKUS as usize);
    }

    fn at(&mut self, quantile: f64) -> f64 {
        self.milliseconds.sort_by(f64::total_cmp);
        self.milliseconds[((self.milliseconds.len() - 1) as f64 * quantile) as usize]
    }
}

#[tokio::main]
async fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (larger, queries) =
        (number("METERD_BENCH_RECORDS", 20_000_000), number("METERD_BENCH_QUERIES", 400));
    let directory = tempfile::tempdir().unwrap();
    let mut stores = [("1M", larger.min(1_000_000)), ("larger", larger)]
        .map(|(name, records)| Measured::new(fill(&directory.path().join(name), records)));
    for round in 0..queries + 20 {
        for measured in &mut stores {
            measured.query(round % PRODUCTS).await;
        }
        if round == 19 {
            // Warm now.
            stores.iter_mut().for_each(|measured| measured.milliseconds.clear());
        }
    }
    let [smaller, larger] = &mut stores;
    println!("milliseconds per query     p50     p99     max");
    for (name, measured) in [("smaller", &mut *smaller), ("larger", &mut *larger)] {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| measured.at(quantile));
        println!("{name:22} {p50:7.2} {p99:7.2} {max:7.2}");
    }
    println!("ratio of p50: {:.2}", larger.at(0.5) / smaller.at(0.5));
}
