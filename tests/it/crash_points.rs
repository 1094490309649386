//! The process dies at each step of the store in turn. What it acknowledged is there afterwards, once.
//!
//! The steps are in the middle of other people's threads, so the dying is done by a child: this test
//! binary again, with one test and some variables.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::verdict::{Decision, Original},
    store::{
        StoreError, UsageStore,
        sled::{FaultAction, FaultPoint, SledStore, StoreOptions, verify},
    },
};
use uuid::Uuid;

use crate::support::{
    closed_store::open_tree,
    usage::{all_totals, commit, organization, record, submission},
};

const POINTS: [FaultPoint; 10] = [
    FaultPoint::CommitWrite,
    FaultPoint::CommitFlush,
    FaultPoint::CommitPublish,
    FaultPoint::RunPage,
    FaultPoint::RunComplete,
    FaultPoint::RollupBatch,
    FaultPoint::ManifestWrite,
    FaultPoint::ManifestPublish,
    FaultPoint::RunRemoval,
    FaultPoint::LogDrop,
];
const DIRECTORY: &str = "METERD_CRASH_DIRECTORY";
const POINT: &str = "METERD_CRASH_POINT";
const PASSES: &str = "METERD_CRASH_PASSES";

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn options(directory: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 50;
    options.merge_fan_in = 2;
    options.cache_bytes = 8 << 20;
    options
}

/// Not a test of its own: the child. Commits until it dies, and says what was acknowledged.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let options = options(Path::new(&directory));
    let faults = options.faults.clone();
    let store = SledStore::open(options).unwrap();
    faults.arm(POINTS[number(POINT)], u32::try_from(number(PASSES)).unwrap(), FaultAction::Abort);
    for _ in 0..400 {
        let uuids: Vec<Uuid> = (0..10).map(|_| Uuid::new_v4()).collect();
        let records = uuids.iter().map(|uuid| record(uuid.as_u128(), "sku", 1, now())).collect();
        let decisions = commit(&store, submission("alpha", records), now()).unwrap();
        assert!(decisions.iter().all(|decision| *decision == Decision::Accepted));
        let mut said = std::io::stderr().lock();
        for uuid in uuids {
            writeln!(said, "acknowledged {uuid}").unwrap();
        }
        if POINTS[number(POINT)] == FaultPoint::LogDrop {
            store.drop_records(now() + SignedDuration::from_secs(1)).unwrap();
        }
    }
    panic!("{:?} was never reached", POINTS[number(POINT)]);
}

#[test]
fn dying_at_any_step_loses_nothing_that_was_acknowledged() {
    for (point, name) in POINTS.iter().enumerate() {
        // One growing store per step, dying early and late.
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        for passes in [0, 3, 17] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash_points::child", "--nocapture"])
                .env(DIRECTORY, directory.path())
                .env(POINT, point.to_string())
                .env(PASSES, passes.to_string())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && !said.contains("was never reached"),
                "{name:?}: {said}"
            );
            let uuids = said
                .lines()
                .filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<Uuid>().ok());
            acknowledged.extend(uuids);

            let report = verify(directory.path(), &mut |_| {}).unwrap();
            assert_eq!(report.differences, Vec::<String>::new(), "{name:?} after {passes}");
            let store = SledStore::open(options(directory.path())).unwrap();
            for uuid in &acknowledged {
                let again = submission("alpha", vec![record(uuid.as_u128(), "sku", 1, now())]);
                let decisions = commit(&store, again, now()).unwrap();
                assert!(
                    matches!(decisions[..], [Decision::Duplicate(Original::Stored(_))]),
                    "{name:?} after {passes}: {uuid} was acknowledged and is gone"
                );
                match store.find(&organization("alpha"), *uuid) {
                    Err(StoreError::Dropped(_)) => assert_eq!(*name, FaultPoint::LogDrop),
                    found => assert!(found.unwrap().is_some()),
                }
            }
            let counted: u64 =
                all_totals(&store, "alpha").iter().map(|(_, _, total)| total.records).sum();
            assert_eq!(counted, store.statistics().records, "{name:?} after {passes}");
            assert_eq!(runs_left_over(store, directory.path()), 0, "{name:?} after {passes}");
        }
    }
}

/// Runs that something is stored of, beyond those of the index, once all work in the background is done. Closes the store.
fn runs_left_over(store: SledStore, directory: &Path) -> usize {
    let began = Instant::now();
    while !store.is_idle() {
        assert!(began.elapsed() < Duration::from_secs(60), "the store is never done");
        std::thread::sleep(Duration::from_millis(1));
    }
    let statistics = store.statistics();
    assert_eq!(statistics.background_bytes_owed, 0, "nothing to do, and something owed");
    drop(store);
    // Pages, fences and filters: a byte for the kind, then the run.
    let ids =
        open_tree(directory).range([0x20]..[0x23]).map(|entry| entry.unwrap().0[1..5].to_vec());
    ids.collect::<BTreeSet<_>>().len() - statistics.index_runs
}
