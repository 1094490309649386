//! Stores of every on-disk format that was ever released must still open, and count the same.
//!
//! `tests/fixtures/store-v1.tar.gz` was written by `METERD_WRITE_FIXTURE=1 cargo test format`, and so was
//! `store-v1-batches.tar.gz` later, when batches and assets had come to the same format.

use std::{path::Path, process::Command};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        asset::Asset,
        asset_usage::{
            AssetBatch, AssetFilter, AssetTotalsQuery, AssetUsage, BatchDecision, DayRange,
            UsageDay,
        },
        catalog::State,
        id::{AssetId, BatchId},
        quantity::Quantity,
        verdict::Decision,
    },
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions, verify},
    },
};

use crate::support::{
    server::sample_catalog,
    usage::{
        all_records, all_totals, asset_totals, caller, commit, organization, record, submission,
    },
};

const RECORDS: u64 = 300;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn tar(arguments: &[&str], archive: &Path, directory: &Path) {
    let status = Command::new("tar")
        .args(arguments)
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .args(["."])
        .status();
    assert!(status.unwrap().success());
}

/// Two organizations, a catalog, runs of both levels, stored totals and an end of the log to replay.
fn write(directory: &Path) {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 40;
    options.merge_fan_in = 2;
    let store = SledStore::open(options).unwrap();
    let empty = meterd::domain::catalog::Catalog::default();
    let catalog = empty.apply(sample_catalog()).unwrap();
    store.replace_catalog(&organization("alpha"), &empty, &catalog, &[]).unwrap();
    for group in 0..u128::from(RECORDS / 10) {
        let of = if group % 3 == 0 { "beta" } else { "alpha" };
        let at = now() - SignedDuration::from_mins(group as i64 * 7);
        let records =
            (0..10).map(|number| record(group * 10 + number, "gb-hour", i64::MAX, at)).collect();
        commit(&store, submission(of, records), now()).unwrap();
        while !store.is_idle() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_store_of_version_1_opens_and_counts_the_same() {
    let directory = tempfile::tempdir().unwrap();
    if std::env::var_os("METERD_WRITE_FIXTURE").is_some() {
        write(directory.path());
        tar(&["-czf"], &fixture("store-v1.tar.gz"), directory.path());
        return;
    }
    tar(&["-xzf"], &fixture("store-v1.tar.gz"), directory.path());
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    assert_eq!((report.records, report.index_keys), (RECORDS, RECORDS));

    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    for (name, share) in [("alpha", 200), ("beta", 100)] {
        assert_eq!(all_records(&store, name, 100).len(), share);
        let mut quantity = 0;
        for (_, _, total) in all_totals(&store, name) {
            quantity += total.quantity;
        }
        assert_eq!(quantity, share as u128 * (i64::MAX as u128));
    }
    let again =
        submission("beta", vec![record(5, "gb-hour", 1, now()), record(15, "gb-hour", 1, now())]);
    let decisions = commit(&store, again, now()).unwrap();
    assert!(
        matches!(decisions[..], [Decision::Duplicate(_), Decision::Accepted]),
        "uuids are per organization"
    );
    let (name, catalog) = store.catalogs().unwrap().remove(0);
    assert_eq!((name, catalog.products.len()), (organization("alpha"), 3));
}

const BATCHES: i64 = 12;

fn asset(number: i64) -> Asset {
    let state = if number % 7 == 0 { State::Retired } else { State::Active };
    let id = AssetId::new(&format!("asset-{number:040}")).unwrap();
    Asset { id, name: format!("Number {number}"), state }
}

fn batch(number: i64) -> AssetBatch {
    let usage = |line: i64| AssetUsage {
        asset: AssetId::new(&format!("asset-{:040}", line % 5)).unwrap(),
        quantity: Quantity::new(number + line + 1).unwrap(),
        day: UsageDay::from_number(20_777 - line).unwrap(),
    };
    AssetBatch {
        caller: caller(["alpha", "beta"][number as usize % 2], "client"),
        id: BatchId::new(&format!("batch-{number}")).unwrap(),
        usages: (0..200).map(usage).collect(),
    }
}

/// Two organizations, assets, batches of several parts, stored totals and an end of the log to replay.
fn write_batches(directory: &Path) {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 900;
    let store = SledStore::open(options).unwrap();
    let assets: Vec<Asset> = (0..50).map(asset).collect();
    store.write_assets(&organization("alpha"), &assets, &[], &[]).unwrap();
    for number in 0..BATCHES {
        store.commit(&vec![batch(number)].into(), now()).unwrap();
        while !store.is_idle() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_store_of_version_1_with_batches_opens_and_counts_the_same() {
    let directory = tempfile::tempdir().unwrap();
    if std::env::var_os("METERD_WRITE_FIXTURE").is_some() {
        write_batches(directory.path());
        tar(&["-czf"], &fixture("store-v1-batches.tar.gz"), directory.path());
        return;
    }
    tar(&["-xzf"], &fixture("store-v1-batches.tar.gz"), directory.path());
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    assert_eq!((report.batches, report.asset_usages), (BATCHES as u64, BATCHES as u64 * 200));

    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    for number in 0..BATCHES {
        let AssetBatch { caller, id, usages } = batch(number);
        let stored = store.find_batch(&caller.organization, &id).unwrap().unwrap();
        assert_eq!((stored.usages, stored.client), (usages, caller.client));
        let other = organization(["beta", "alpha"][number as usize % 2]);
        assert!(store.find_batch(&other, &id).unwrap().is_none());
    }
    for (name, first) in [("alpha", 0), ("beta", 1)] {
        let query = AssetTotalsQuery {
            organization: organization(name),
            days: DayRange {
                start: UsageDay::from_number(20_000).unwrap(),
                end: UsageDay::from_number(21_000).unwrap(),
            },
            filter: AssetFilter::default(),
        };
        let found: u128 =
            asset_totals(&store, &query).iter().map(|(.., total)| total.quantity).sum();
        let expected: i64 = (first..BATCHES)
            .step_by(2)
            .flat_map(|number| batch(number).usages)
            .map(|usage| usage.quantity.get())
            .sum();
        assert_eq!(found, expected as u128);
    }
    let again = store.commit(&vec![batch(3), batch(BATCHES)].into(), now()).unwrap();
    assert_eq!(again.batches, [BatchDecision::Taken, BatchDecision::Recorded]);
    let assets: Vec<Asset> = (0..50).map(asset).collect();
    assert_eq!(store.assets_after(&organization("alpha"), None, 100).unwrap(), assets);
}
