//! The store alone, in one process and one run: 64 callers of 25 records each, against the layout that
//! comes to mind first, one sled key per record. Prints the ratio; the goal is at least 5.
//!
//! `cargo bench --bench store`; `METERD_BENCH_SECONDS` sets the length of each round (default 4).

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

use jiff::Timestamp;
use meterd::{
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId, ProductId, SkuId},
        quantity::Quantity,
        usage::{Submission, UsageRecord, UsageTarget},
    },
    service::{
        clock::SystemClock,
        committer::{Admission, Committer, CommitterLimits},
    },
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions},
    },
};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;
use uuid::Uuid;

const CALLERS: usize = 64;
const RECORDS_PER_CALL: usize = 25;
const ROUNDS: usize = 3;

fn submission(skus: &[SkuId], product: &ProductId, caller: &Caller, now: Timestamp) -> Submission {
    let record = |at: usize| UsageRecord {
        uuid: Uuid::new_v4(),
        sku: skus[at % skus.len()].clone(),
        quantity: Quantity::new(at as i64 + 1).unwrap(),
        usage_time: now,
    };
    Submission {
        caller: caller.clone(),
        target: UsageTarget { product: product.clone(), instance: None },
        records: (0..RECORDS_PER_CALL).map(record).collect(),
        validate_only: false,
    }
}

struct Outcome {
    records_per_second: f64,
    latencies: Vec<Duration>,
}

impl Outcome {
    fn new(mut latencies: Vec<Duration>, took: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            records_per_second: (latencies.len() * RECORDS_PER_CALL) as f64 / took.as_secs_f64(),
            latencies,
        }
    }

    fn print(&self, name: &str) {
        let quantile = |of: f64| self.latencies[((self.latencies.len() - 1) as f64 * of) as usize];
        println!(
            "{name:<28} {:>9.0} records/s   p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms",
            self.records_per_second,
            quantile(0.5).as_secs_f64() * 1e3,
            quantile(0.99).as_secs_f64() * 1e3,
            quantile(1.0).as_secs_f64() * 1e3
        );
    }
}

/// meterd's store behind its committer.
fn log_structured(
    runtime: &Runtime,
    directory: &Path,
    callers: usize,
    length: Duration,
) -> Outcome {
    let store: Arc<dyn UsageStore> =
        Arc::new(SledStore::open(StoreOptions::new(directory)).unwrap());
    let committer =
        Committer::start(Arc::clone(&store), Arc::new(SystemClock), CommitterLimits::default())
            .unwrap();
    let caller = Caller {
        organization: OrganizationId::new("bench").unwrap(),
        client: ClientId::new("bench").unwrap(),
    };
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|number| {
            let (committer, caller) = (Arc::clone(&committer), caller.clone());
            let product = ProductId::new(&format!("product-{}", number % 20)).unwrap();
            let skus: Vec<SkuId> =
                (0..10).map(|sku| SkuId::new(&format!("sku-{sku}")).unwrap()).collect();
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while began.elapsed() < length {
                    let call = submission(&skus, &product, &caller, Timestamp::now());
                    let sent = Instant::now();
                    committer.submit(call, Admission::Wait).await.unwrap();
                    latencies.push(sent.elapsed());
                }
                latencies
            })
        })
        .collect();
    let latencies = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    let took = began.elapsed();
    committer.shut_down();
    Outcome::new(latencies, took)
}

/// One sled key per record, uuid → record, with the same group commit and the same fdatasync (which
/// this process has in place of sync_file_range).
fn key_per_record(directory: &Path, callers: usize, length: Duration) -> Outcome {
    struct Round {
        waiting: Vec<(Vec<Uuid>, usize)>,
        done: Vec<bool>,
        stopping: bool,
    }

    let tree = sled::Config::new()
        .path(directory)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput)
        .open()
        .unwrap();
    let round = Arc::new((
        Mutex::new(Round { waiting: Vec::new(), done: vec![false; callers], stopping: false }),
        Condvar::new(),
    ));
    let committer = {
        let round = Arc::clone(&round);
        std::thread::spawn(move || {
            loop {
                let group = {
                    let mut state = round.0.lock();
                    while state.waiting.is_empty() && !state.stopping {
                        round.1.wait(&mut state);
                    }
                    if state.waiting.is_empty() {
                        return;
                    }
                    std::mem::take(&mut state.waiting)
                };
                let mut batch = sled::Batch::default();
                for uuid in group.iter().flat_map(|(uuids, _)| uuids) {
                    if tree.get(uuid.as_bytes()).unwrap().is_none() {
                        batch.insert(uuid.as_bytes(), &[7_u8; 48][..]);
                    }
                }
                tree.apply_batch(batch).unwrap();
                tree.flush().unwrap();
                let mut state = round.0.lock();
                for (_, caller) in group {
                    state.done[caller] = true;
                }
                round.1.notify_all();
            }
        })
    };
    let began = Instant::now();
    let threads: Vec<_> = (0..callers)
        .map(|caller| {
            let round = Arc::clone(&round);
            std::thread::spawn(move || {
                let mut latencies = Vec::new();
                while began.elapsed() < length {
                    let uuids = (0..RECORDS_PER_CALL).map(|_| Uuid::new_v4()).collect();
                    let sent = Instant::now();
                    let mut state = round.0.lock();
                    state.waiting.push((uuids, caller));
                    round.1.notify_all();
                    while !state.done[caller] {
                        round.1.wait(&mut state);
                    }
                    state.done[caller] = false;
                    latencies.push(sent.elapsed());
                }
                latencies
            })
        })
        .collect();
    let latencies = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let took = began.elapsed();
    round.0.lock().stopping = true;
    round.1.notify_all();
    committer.join().unwrap();
    Outcome::new(latencies, took)
}

fn main() {
    let seconds = std::env::var("METERD_BENCH_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4.0);
    let length = Duration::from_secs_f64(seconds);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        println!(
            "round {round} of {ROUNDS}, {CALLERS} callers of {RECORDS_PER_CALL} records, empty stores"
        );
        let directory = tempfile::tempdir_in(".").unwrap();
        let plain = key_per_record(directory.path(), CALLERS, length);
        plain.print("one sled key per record");
        let directory = tempfile::tempdir_in(".").unwrap();
        let ours = log_structured(&runtime, directory.path(), CALLERS, length);
        ours.print("meterd");
        let directory = tempfile::tempdir_in(".").unwrap();
        log_structured(&runtime, directory.path(), 1, length).print("meterd, a lone caller");
        ratios.push(ours.records_per_second / plain.records_per_second);
    }
    ratios.sort_by(f64::total_cmp);
    println!("meterd against one key per record: {:.1}x to {:.1}x", ratios[0], ratios[ROUNDS - 1]);
}
