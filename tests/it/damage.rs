//! Damaged files: noticed, named, and never served as a wrong sum.

use std::path::Path;

use jiff::Timestamp;
use meterd::{
    domain::{quantity::Total, usage::LogSequence},
    store::{
        StoreError, UsageStore,
        sled::{OpenError, SledStore, StoreOptions, verify},
    },
};
use uuid::Uuid;

use crate::support::{
    closed_store::open_tree,
    usage::{all_records, all_totals, commit, organization, record, submission},
};

const LOG: u8 = 0x10;
const RUN_PAGE: u8 = 0x20;
const ROLLUP: u8 = 0x30;
const RECORDS: u64 = 400;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn options(directory: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 100;
    options.cache_bytes = 8 << 20;
    options
}

/// Twenty commits of twenty records; the first ones are in runs and stored totals.
fn write_store(directory: &Path) {
    let store = SledStore::open(options(directory)).unwrap();
    for group in 0..20 {
        let records = (0..20).map(|at| record(group * 20 + at, "sku", 5, now())).collect();
        commit(&store, submission("alpha", records), now()).unwrap();
    }
    while !store.is_idle() {
        std::thread::yield_now();
    }
}

fn sum(store: &SledStore) -> Total {
    let mut sum = Total::default();
    for (_, _, total) in all_totals(store, "alpha") {
        sum.add(total).unwrap();
    }
    sum
}

/// Changes a stored value behind the store's back.
fn tamper(directory: &Path, prefix: u8, nth: usize, change: impl Fn(&mut Vec<u8>)) {
    let tree = open_tree(directory);
    let (key, value) = tree.scan_prefix([prefix]).nth(nth).unwrap().unwrap();
    let mut value = value.to_vec();
    change(&mut value);
    tree.insert(key, value).unwrap();
    tree.flush().unwrap();
}

fn differences(directory: &Path) -> Vec<String> {
    verify(directory, &mut |_| {}).unwrap().differences
}

#[test]
fn an_untouched_store_has_no_differences() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((report.records, report.index_keys, report.log_chunks), (RECORDS, RECORDS, 20));
    assert_eq!(report.differences, Vec::<String>::new());
}

#[test]
fn every_flipped_byte_of_a_log_chunk_is_named_and_sums_stay_right() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    for at in (0..600).step_by(23) {
        let flip = |value: &mut Vec<u8>| {
            let at = at % value.len();
            value[at] ^= 0x10;
        };
        tamper(directory.path(), LOG, 2, flip);
        let found = differences(directory.path());
        assert!(found.iter().any(|text| text.starts_with("log chunk 3: ")), "byte {at}: {found:?}");
        {
            let store = SledStore::open(options(directory.path())).unwrap();
            assert_eq!(sum(&store).records, RECORDS, "totals do not come from the damaged chunk");
            let error = store
                .original(&organization("alpha"), Uuid::from_u128(45), LogSequence(3))
                .unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged(what) if what.contains("log chunk 3")),
                "{error}"
            );
        }
        tamper(directory.path(), LOG, 2, flip);
    }
    assert_eq!(differences(directory.path()), Vec::<String>::new());
}

#[test]
fn a_damaged_chunk_that_must_be_replayed_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    tamper(directory.path(), LOG, 19, |value| *value.last_mut().unwrap() ^= 1);
    let error = SledStore::open(options(directory.path())).unwrap_err();
    assert!(
        matches!(&error, OpenError::Store(StoreError::Damaged(what)) if what.contains("log chunk 20")),
        "{error}"
    );
    assert!(differences(directory.path())[0].starts_with("log chunk 20: checksum mismatch"));
}

#[test]
fn damaged_totals_and_index_pages_are_errors_and_not_answers() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    tamper(directory.path(), ROLLUP, 0, |value| value[9] ^= 1);
    {
        let store = SledStore::open(options(directory.path()));
        // The row is needed to replay the end of the log, so the store may not even open.
        if let Ok(store) = store {
            assert!(
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sum(&store))).is_err()
            );
        }
    }
    assert!(differences(directory.path())[0].starts_with("totals row of"));
    tamper(directory.path(), ROLLUP, 0, |value| value[9] ^= 1);

    tamper(directory.path(), RUN_PAGE, 0, |value| value[50] ^= 1);
    let found = differences(directory.path());
    assert!(found.iter().any(|text| text.contains("page 0: checksum mismatch")), "{found:?}");
    let store = SledStore::open(options(directory.path())).unwrap();
    let again = submission("alpha", vec![record(0, "sku", 5, now())]);
    assert!(
        store.settle((&again).into()).is_err(),
        "whether the uuid is new cannot be told, so it is not"
    );
}

#[test]
fn a_lost_end_of_the_log_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    {
        let tree = open_tree(directory.path());
        let keys: Vec<_> = tree.scan_prefix([LOG]).keys().skip(10).map(Result::unwrap).collect();
        keys.iter().for_each(|key| drop(tree.remove(key).unwrap()));
        tree.flush().unwrap();
    }
    let error = SledStore::open(options(directory.path())).unwrap_err();
    assert!(
        matches!(&error, OpenError::Store(StoreError::Damaged(what)) if what.contains("is missing")),
        "{error}"
    );
}

#[test]
fn a_snapshot_that_was_not_finished_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    for name in ["snap.FFFFFFFFFFFFFFFF.generating", "snap.0000000000000001.generating"] {
        std::fs::write(directory.path().join(name), b"half").unwrap();
    }
    let store = SledStore::open(options(directory.path())).unwrap();
    assert_eq!(sum(&store).records, RECORDS);
    assert_eq!(all_records(&store, "alpha", 100).len() as u64, RECORDS);
}

#[test]
fn other_peoples_data_and_a_second_process_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    {
        let tree = sled::open(directory.path()).unwrap();
        tree.insert(b"somebody", b"else").unwrap();
        tree.flush().unwrap();
    }
    assert!(matches!(SledStore::open(options(directory.path())), Err(OpenError::NotAStore(_))));

    let directory = tempfile::tempdir().unwrap();
    let _store = SledStore::open(options(directory.path())).unwrap();
    assert!(matches!(SledStore::open(options(directory.path())), Err(OpenError::InUse(_))));
}

/// Flips bytes anywhere in sled's own file. Whatever sled makes of it, the store must not open with
/// wrong sums and a clean `verify`: either opening or verifying says so, or nothing was harmed.
#[test]
fn a_flipped_byte_of_the_file_is_never_a_silently_wrong_sum() {
    let pristine = tempfile::tempdir().unwrap();
    write_store(pristine.path());
    let bytes = std::fs::read(pristine.path().join("db")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // `None` leaves the copy as it is: the copying itself must do no harm.
    let look_at_copy = |flipped: Option<usize>| {
        let directory = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(pristine.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
            }
        }
        let mut copy = bytes.clone();
        if let Some(at) = flipped {
            copy[at] ^= 0x20;
        }
        std::fs::write(directory.path().join("db"), copy).unwrap();
        std::panic::catch_unwind(move || {
            let report =
                verify(directory.path(), &mut |_| {}).map_err(|error| error.to_string())?;
            if report.differences.is_empty() {
                Ok(report.records)
            } else {
                Err(report.differences[0].clone())
            }
        })
    };
    assert_eq!(look_at_copy(None).unwrap(), Ok(RECORDS));
    let mut outcomes = [0; 3];
    for step in 0..60 {
        match look_at_copy(Some(used * step / 60 + 7)) {
            Err(_) => outcomes[0] += 1,
            Ok(Err(what)) => {
                outcomes[1] += 1;
                eprintln!("step {step}: {what}");
            }
            Ok(Ok(RECORDS)) => outcomes[2] += 1,
            Ok(Ok(records)) => {
                panic!("step {step}: {records} records, and verify finds nothing wrong")
            }
        }
    }
    eprintln!(
        "sled panicked {}, an error or a difference {}, harmless {}",
        outcomes[0], outcomes[1], outcomes[2]
    );
}
