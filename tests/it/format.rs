//! Stores of every on-disk format that was ever released must still open, and count the same; so must what a backup makes
//! of them.
//!
//! Each was written once, when something had come to the format, by its test with `METERD_WRITE_FIXTURE=1`: in
//! `tests/fixtures`, `store-v1.tar.gz`, then `store-v1-batches.tar.gz` with batches and assets, then
//! `store-v1-api-usage.tar.gz`; `v2` since the values of the log are linked, and `store-v2-dropped.tar.gz` since they may be
//! dropped; `v3` since there is an index of chunks.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        api_usage::{ApiEvent, ApiFilter, ApiTotalsQuery, HttpMethod},
        asset::Asset,
        asset_usage::{
            AssetBatch, AssetFilter, AssetTotalsQuery, AssetUsage, BatchDecision, DayRange,
            UsageDay,
        },
        catalog::{Catalog, CatalogLimits, State},
        id::{AssetId, BatchId},
        quantity::Quantity,
        verdict::{Decision, Original},
    },
    store::{
        UsageStore,
        document::{Collection, DocumentChange, Page},
        memory::MemoryStore,
        sled::{SledStore, StoreOptions, VerifyReport, verify},
    },
};
use tempfile::TempDir;

use crate::support::{
    backups,
    server::sample_catalog,
    usage::{
        Calls, all_records, all_totals, api_totals, asset_totals, caller, commit, commit_events,
        event, organization, record, submission,
    },
};

const RECORDS: u64 = 300;

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

/// The newest of [`VERSIONS`] is what is written.
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

/// What it is after a backup and a restore.
fn restored(directory: &Path) -> TempDir {
    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
    let backup = backups::back_up(&store, None, || {}).unwrap();
    let restored = tempfile::tempdir().unwrap();
    backups::restore(StoreOptions::new(restored.path()), &[backup]).unwrap();
    restored
}

fn fixture(version: &str, content: &str) -> PathBuf {
    let name = format!("store-{version}{content}.tar.gz");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A fixture of each version, unpacked. The newest is written first if that is asked for.
fn stores_of(versions: &[&str], content: &str, write: impl FnOnce(&Path)) -> Vec<TempDir> {
    if std::env::var_os("METERD_WRITE_FIXTURE").is_some() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path());
        tar(&["-czf"], &fixture(versions.last().unwrap(), content), directory.path());
    }
    unpacked(versions, content)
}

fn unpacked(versions: &[&str], content: &str) -> Vec<TempDir> {
    let unpack = |version: &&str| {
        let directory = tempfile::tempdir().unwrap();
        tar(&["-xzf"], &fixture(version, content), directory.path());
        directory
    };
    versions.iter().map(unpack).collect()
}

fn is_sound(directory: &Path) -> VerifyReport {
    let report = verify(directory, &mut |_| {}).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    report
}

/// Two organizations, a catalog, runs of both levels, stored totals and an end of the log to replay.
fn write(directory: &Path) {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 40;
    options.merge_fan_in = 2;
    let store = SledStore::open(options).unwrap();
    let applied = Catalog::default().apply(sample_catalog(), &CatalogLimits::default());
    store.change_catalog(&organization("alpha"), &applied.unwrap().1, &[]).unwrap();
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
fn a_store_of_any_version_opens_and_counts_the_same() {
    for directory in stores_of(&VERSIONS, "", write) {
        check(restored(directory.path()).path());
        check(directory.path());
        is_sound(directory.path());
    }
}

fn check(directory: &Path) {
    let report = is_sound(directory);
    assert_eq!((report.records, report.index_keys), (RECORDS, RECORDS));

    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
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
    assert_eq!((name, catalog.size().products), (organization("alpha"), 3));
}

/// A store from before there was an index of chunks goes on, and lists what is from before and after.
#[test]
fn store_without_chunk_index_lists_old_and_new_records() {
    for directory in unpacked(&["v1", "v2"], "") {
        let mut options = StoreOptions::new(directory.path());
        options.memtable_keys_max = 40;
        for first in (0..200).step_by(50) {
            // Each time with checkpoints, and an end of the log to replay.
            let store = SledStore::open(options.clone()).unwrap();
            for number in first..first + 50 {
                let new = record(1000 + number, "gb-hour", 1, now());
                commit(&store, submission("alpha", vec![new]), now()).unwrap();
            }
            let expected = 200 + usize::try_from(first).unwrap() + 50;
            assert_eq!(all_records(&store, "alpha", 33).len(), expected);
            assert_eq!(all_records(&store, "beta", 33).len(), 100);
            while !store.is_idle() {
                std::thread::yield_now();
            }
        }
        is_sound(directory.path());
        let again = restored(directory.path());
        let store = SledStore::open(StoreOptions::new(again.path())).unwrap();
        assert_eq!(all_records(&store, "alpha", 33).len(), 400);
        drop(store);
        is_sound(again.path());
    }
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
fn a_store_of_any_version_with_batches_opens_and_counts_the_same() {
    for directory in stores_of(&VERSIONS, "-batches", write_batches) {
        check_batches(restored(directory.path()).path());
        check_batches(directory.path());
        is_sound(directory.path());
    }
}

fn check_batches(directory: &Path) {
    let report = is_sound(directory);
    assert_eq!((report.batches, report.asset_usages), (BATCHES as u64, BATCHES as u64 * 200));

    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
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

const EVENTS: u128 = 2_000;

/// Events of API usage by number: some duplicates among them would not be told apart from a format that is misread.
fn api_event(number: u128) -> ApiEvent {
    let calls = Calls {
        client: ["portal", "billing"][number as usize % 2],
        user: ["", "ann", "bob"][number as usize % 3],
        template: ["/v1/things", "/v1/things/{id}", "/ä"][number as usize % 3],
        method: HttpMethod::ALL[number as usize % 9],
        platform: ["web", ""][number as usize % 2],
        status: 100 + (number as u16 * 7) % 500,
        count: 1 + number as i64,
    };
    event(number << 32, &calls, now() - SignedDuration::from_hours(number as i64))
}

/// API usage over some months, stored totals, an end of the log to replay, a query and its pages.
fn write_api_usage(directory: &Path) {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 900;
    let store = SledStore::open(options).unwrap();
    for first in (0..EVENTS).step_by(250) {
        let events = (first..first + 250).map(api_event).collect();
        commit_events(&store, "alpha", events, now()).unwrap();
        while !store.is_idle() {
            std::thread::yield_now();
        }
    }
    let page = |first: u64| Page { first, body: vec![first as u8; 6_000] };
    let alpha = organization("alpha");
    store.write_pages(&alpha, "query-1/rows", &[page(0), page(100), page(250)], &[]).unwrap();
    let change = DocumentChange {
        collection: Collection::Queries,
        organization: alpha,
        name: "query-1".to_owned(),
        body: Some(b"{}".to_vec()),
    };
    store.write_documents(&[change]).unwrap();
}

#[test]
fn a_store_of_any_version_with_api_usage_opens_and_counts_the_same() {
    for directory in stores_of(&VERSIONS, "-api-usage", write_api_usage) {
        check_api_usage(restored(directory.path()).path());
        check_api_usage(directory.path());
        is_sound(directory.path());
    }
}

fn check_api_usage(directory: &Path) {
    let report = is_sound(directory);
    assert_eq!((report.api_events, report.records), (EVENTS as u64, 0));

    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
    let memory = MemoryStore::new();
    let events: Vec<ApiEvent> = (0..EVENTS).map(api_event).collect();
    commit_events(&memory, "alpha", events, now()).unwrap();
    let query = ApiTotalsQuery {
        organization: organization("alpha"),
        days: DayRange {
            start: UsageDay::from_number(20_000).unwrap(),
            end: UsageDay::from_number(21_000).unwrap(),
        },
        filter: ApiFilter::default(),
    };
    assert_eq!(api_totals(&store, &query), api_totals(&memory, &query));
    let again = commit_events(&store, "alpha", vec![api_event(3), api_event(EVENTS)], now());
    let decisions = again.unwrap();
    let [Decision::Duplicate(Original::Stored(at)), Decision::Accepted] = decisions[..] else {
        panic!("{decisions:?}");
    };
    let wanted = [(api_event(3).uuid, at)];
    let found = store.original_events(&organization("alpha"), &wanted).unwrap();
    assert_eq!(found[0].as_ref().unwrap().event, api_event(3));
    assert!(
        store.has_api_usage(&organization("alpha"), &caller("alpha", "portal").client).unwrap()
    );
    let page = store.page_at(&organization("alpha"), "query-1/rows", 249).unwrap().unwrap();
    assert_eq!((page.first, page.body), (100, vec![100; 6_000]));
    assert_eq!(store.documents(Collection::Queries).unwrap().remove(0).body, b"{}");
}

/// The store of [`write`], of which the first half was dropped.
fn write_dropped(directory: &Path) {
    write(directory);
    let store = SledStore::open(StoreOptions::new(directory)).unwrap();
    let later = now() + SignedDuration::from_hours(1);
    let records =
        (0..10).map(|number| record(u128::from(RECORDS) + number, "gb-hour", 1, now())).collect();
    commit(&store, submission("alpha", records), later).unwrap();
    while store.drop_records(later).unwrap().more_to_come {
        std::thread::yield_now();
    }
    while !store.is_idle() {
        std::thread::yield_now();
    }
}

#[test]
fn a_store_that_dropped_records_opens() {
    for directory in stores_of(&VERSIONS[1..], "-dropped", write_dropped) {
        for path in [restored(directory.path()).path(), directory.path()] {
            let report = is_sound(path);
            assert_eq!((report.dropped.records, report.records), (RECORDS, 10));
            let store = SledStore::open(StoreOptions::new(path)).unwrap();
            let counted: u64 = ["alpha", "beta"]
                .into_iter()
                .flat_map(|name| all_totals(&store, name))
                .map(|(_, _, total)| total.records)
                .sum();
            assert_eq!(counted, RECORDS + 10);
            let again = submission("alpha", vec![record(10, "gb-hour", i64::MAX, now())]);
            let decisions = commit(&store, again, now()).unwrap();
            assert!(matches!(decisions[..], [Decision::Duplicate(_)]), "{decisions:?}");
        }
    }
}
