//! Stores of every on-disk format that was ever released must still open, and count the same.
//!
//! `tests/fixtures/store-v1.tar.gz` was written by `METERD_WRITE_FIXTURE=1 cargo test format`.

use std::{path::Path, process::Command};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::verdict::Decision,
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions, verify},
    },
};

use crate::support::{
    server::sample_catalog,
    usage::{all_records, all_totals, commit, organization, record, submission},
};

const RECORDS: u64 = 300;

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v1.tar.gz")
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
        tar(&["-czf"], &fixture(), directory.path());
        return;
    }
    tar(&["-xzf"], &fixture(), directory.path());
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
