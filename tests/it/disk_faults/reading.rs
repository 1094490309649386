//! Reads that fail, or find something else than was written, under an open store.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        calendar::{QuarterHour, QuarterRange},
        quantity::Total,
        totals::{TotalsQuery, UsageFilter},
        usage::UsageRecord,
    },
    store::{
        StoreError, StoreStatus, UsageStore,
        sled::{SledStore, StoreOptions, verify},
    },
};
use uuid::Uuid;

use crate::support::{
    disk::{Access, Disk, Effect, Fault, Tree},
    usage::{commit, organization, record, submission},
};

pub const RECORDS: u64 = 12_000;
const QUANTITY: i64 = 5;
pub const DATA_DIR: &str = "data";

pub fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Hardly any cache, so that reads reach the disk.
pub fn options(disk: &Disk) -> StoreOptions {
    let mut options = StoreOptions::new(disk.join(DATA_DIR));
    options.memtable_keys_max = 2_000;
    options.filter_bits_per_key = 2;
    options.cache_bytes = 64 << 10;
    options
}

/// A record of its hour and SKU, so that totals are on many pages, of which those written last are few.
pub fn usage(number: u64) -> UsageRecord {
    let ago = SignedDuration::from_hours((number / 6) as i64);
    record(u128::from(number), &format!("sku-{}", number % 7), QUANTITY, now() - ago)
}

/// Fills a disk with a store; answers how it was when half of it was written, and at the end.
pub fn write_store(disk: &Disk) -> (Tree, Tree) {
    let store = SledStore::open(options(disk)).unwrap();
    let mut half = None;
    for first in (0..RECORDS).step_by(250) {
        let records = (first..first + 250).map(usage).collect();
        commit(&store, submission("alpha", records), now()).unwrap();
        if first >= RECORDS / 2 && half.is_none() {
            half = Some(disk.tree());
        }
    }
    while !store.is_idle() {
        std::thread::yield_now();
    }
    drop(store);
    (half.unwrap(), disk.tree())
}

/// The sum of everything, or why there is none.
pub fn sum(store: &SledStore) -> Result<Total, StoreError> {
    let range = QuarterRange { start: QuarterHour(-4_000_000), end: QuarterHour(8_000_000) };
    let query =
        TotalsQuery { organization: organization("alpha"), range, filter: UsageFilter::default() };
    let mut sum = Total::default();
    store.totals(&query, &mut |_, _, total| Ok(sum.add(total)?))?;
    Ok(sum)
}

/// What the sum must be.
pub fn right() -> Total {
    Total { records: RECORDS, quantity: u128::from(RECORDS) * 5 }
}

/// What a read may meet with, where the disk may return what it held when it was `old`.
pub fn effects(old: &Tree) -> [(&'static str, Effect); 3] {
    [
        ("an error", Effect::Error(libc::EIO)),
        ("zeros", Effect::Zeros),
        ("what was there before", Effect::Stale(old.clone())),
    ]
}

pub fn assert_verified(data_dir: &Path) {
    let report = verify(data_dir, &mut |_| {}).unwrap();
    assert_eq!((report.differences, report.records), (Vec::new(), RECORDS));
}

/// What came of reads: errors and right answers, and nothing else.
#[derive(Debug, Default)]
struct Outcomes {
    errors: usize,
    answers: usize,
}

impl Outcomes {
    fn add<T: PartialEq + std::fmt::Debug>(
        &mut self,
        name: &str,
        right: &T,
        ask: impl FnOnce() -> Result<T, StoreError>,
    ) {
        match catch_unwind(AssertUnwindSafe(ask)) {
            Ok(Ok(answer)) => {
                assert_eq!(answer, *right, "{name}");
                self.answers += 1;
            }
            Ok(Err(StoreError::Damaged(_) | StoreError::Engine(_))) => self.errors += 1,
            Ok(Err(error)) => panic!("{name}: {error}"),
            Err(_) => panic!("{name}: a panic"),
        }
    }
}

#[test]
fn a_bad_read_is_an_error_and_never_a_wrong_answer() {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let (half, _) = write_store(&disk);
    for (name, effect) in effects(&half) {
        let (mut sums, mut finds) = (Outcomes::default(), Outcomes::default());
        let fault = || Fault::always("db", Access::Read, effect.clone());
        // sled keeps what it has read, so that only a store just opened reads much.
        for opening in 0..8 {
            let store = SledStore::open(options(&disk)).unwrap();
            disk.plant(Fault { passes: opening * 4, times: 3, ..fault() });
            sums.add(name, &right(), || sum(&store));
            disk.heal();
            for number in (u64::from(opening) * 100..RECORDS).step_by(1_100) {
                disk.plant(Fault { times: 1, ..fault() });
                let uuid = Uuid::from_u128(u128::from(number));
                let found = || store.find(&organization("alpha"), uuid);
                finds.add(name, &Some(usage(number)), || Ok(found()?.map(|stored| stored.record)));
                disk.heal();
            }
            // Nothing was harmed by it.
            assert_eq!(store.status(), StoreStatus::Ready, "{name}");
            assert_eq!(sum(&store).unwrap(), right(), "{name}");
        }
        eprintln!("a read that finds {name}: of sums {sums:?}, of records {finds:?}");
        assert!(sums.errors > 0 && finds.errors > 0, "{name}: nothing was noticed");
        assert!(sums.answers + finds.answers > 0, "{name}: everything failed");
        assert_verified(&disk.join(DATA_DIR));
    }
}

/// A uuid that cannot be looked up is not taken for a new one, and neither is the rest of its call.
#[test]
fn what_cannot_be_looked_up_is_not_accepted() {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    write_store(&disk);
    let store = SledStore::open(options(&disk)).unwrap();
    disk.plant(Fault::always("db", Access::Read, Effect::Error(libc::EIO)));
    let mut refused = 0;
    for first in (0..RECORDS).step_by(600) {
        let report = submission("alpha", (first..first + 10).map(usage).collect());
        refused += usize::from(store.settle((&report).into()).is_err());
    }
    disk.heal();
    assert!(refused > 0, "nothing was read");
    for first in (0..RECORDS).step_by(600) {
        let report = submission("alpha", (first..first + 10).map(usage).collect());
        let decisions = commit(&store, report, now()).unwrap();
        let is_new = |decision: &&_| **decision == meterd::domain::verdict::Decision::Accepted;
        assert_eq!(decisions.iter().filter(is_new).count(), 0);
    }
    assert_eq!(sum(&store).unwrap(), right());
}
