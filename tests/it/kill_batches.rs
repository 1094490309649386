//! kill -9 of the real binary while batches of a thousand usages are on their way: each is there whole or not at
//! all, its id included.
//!
//! `METERD_KILL_BATCH_CYCLES` sets how often (default 8), `METERD_KILL_SEED` when exactly.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use meterd::api::pb::meterd::v1::{
    ApplyAssetsRequest, Asset, AssetUsage, GetUsageBatchRequest, QueryAssetUsageRequest,
    ReportUsageBatchRequest, catalog_service_client::CatalogServiceClient,
    usage_batch_service_client::UsageBatchServiceClient,
    usage_report_service_client::UsageReportServiceClient,
};
use parking_lot::Mutex;
use tonic::Code;

use crate::support::{
    process::{MeterdProcess, assert_verified, serve_command},
    random::Random,
    server::Authed,
};

const WRITERS: usize = 6;
const USAGES: usize = 1000;
const ASSETS: usize = 50;

#[derive(Default)]
struct Ledger {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// The batch of an id is always the same, so that it can be sent again.
fn batch(id: &str) -> ReportUsageBatchRequest {
    let usage = |number: usize| AssetUsage {
        asset_id: format!("asset-{:044}", number % ASSETS),
        quantity: 1 + (number % 7) as i32,
        usage_date: format!("2026-0{}-11", 1 + number % 9),
    };
    ReportUsageBatchRequest { id: id.into(), asset_usages: (0..USAGES).map(usage).collect() }
}

fn quantity() -> u128 {
    batch("").asset_usages.iter().map(|usage| u128::from(usage.quantity.unsigned_abs())).sum()
}

async fn report_until_refused(
    connection: Authed,
    ledger: Arc<Mutex<Ledger>>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let mut client = UsageBatchServiceClient::new(connection);
    while !stop.load(Ordering::Relaxed) {
        let id = format!("batch-{}", next.fetch_add(1, Ordering::Relaxed));
        ledger.lock().sent.insert(id.clone());
        match client.report_usage_batch(batch(&id)).await {
            Ok(answer) => {
                assert_eq!(answer.get_ref().total_asset_usages_processed, USAGES as i32);
                ledger.lock().acknowledged.insert(id);
            }
            Err(_) => return,
        }
    }
}

/// Which of the batches are there: whole, every one of them.
async fn recorded(server: &MeterdProcess, ledger: &Ledger) -> usize {
    let mut client = UsageBatchServiceClient::new(server.authed());
    let mut found = 0;
    for id in &ledger.sent {
        match client.get_usage_batch(GetUsageBatchRequest { id: id.clone() }).await {
            Ok(answer) => {
                assert_eq!(answer.into_inner().asset_usages, batch(id).asset_usages, "{id}");
                found += 1;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{id}: {status}");
                assert!(!ledger.acknowledged.contains(id), "{id} was acknowledged and is gone");
            }
        }
    }
    let query = QueryAssetUsageRequest { interval: "2026-01-01/P1Y".into(), ..Default::default() };
    let totals = UsageReportServiceClient::new(server.authed()).query_asset_usage(query).await;
    let totals = totals.unwrap().into_inner();
    assert_eq!(totals.total_usage_count, (found * USAGES) as u64);
    assert_eq!(totals.total_quantity, (quantity() * found as u128).to_string());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_there_whole_or_not_at_all() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let cycles = number("METERD_KILL_BATCH_CYCLES").unwrap_or(8);
    let seed = number("METERD_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("kill_batches: METERD_KILL_SEED={seed} METERD_KILL_BATCH_CYCLES={cycles}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let start = || {
        let mut command = serve_command(&[], &data_dir);
        command.args(["--memtable-keys-max", "20000", "--log", "warn"]);
        MeterdProcess::start(command)
    };
    let server = start();
    let assets = (0..ASSETS)
        .map(|number| Asset { id: format!("asset-{number:044}"), ..Asset::default() })
        .collect();
    let request = ApplyAssetsRequest { assets, validate_only: false };
    CatalogServiceClient::new(server.authed()).apply_assets(request).await.unwrap();
    server.kill();
    let (ledger, next) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicU64::new(0)));
    for cycle in 0..cycles {
        let server = start();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
                let stop = Arc::clone(&stop);
                tokio::spawn(report_until_refused(server.authed(), ledger, next, stop))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(30 + random.below(200) as u64)).await;
        let log = server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(!log.contains("ERROR"), "{log}");
        if cycle % 10 == 9 {
            assert_verified(&data_dir);
        }
    }
    let server = start();
    let ledger = Arc::into_inner(ledger).unwrap().into_inner();
    let before = recorded(&server, &ledger).await;
    let (sent, acknowledged) = (ledger.sent.len(), ledger.acknowledged.len());
    eprintln!("{sent} batches sent, {acknowledged} acknowledged, {before} there");
    assert!(acknowledged > 0, "nothing was recorded");
    // Sent again, all of them are there; those that were before say so.
    let mut client = UsageBatchServiceClient::new(server.authed());
    let mut new = 0;
    for id in &ledger.sent {
        match client.report_usage_batch(batch(id)).await {
            Ok(_) => new += 1,
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{id}: {status}"),
        }
    }
    assert_eq!(before + new, sent);
    assert_eq!(recorded(&server, &ledger).await, sent);
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    assert_verified(&data_dir);
}
