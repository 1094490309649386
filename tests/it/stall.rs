//! A commit that does not end, because the disk does not answer or the engine waits for itself: the store says so and
//! refuses writes, instead of leaving its callers to wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use meterd::{
    domain::verdict::Decision,
    store::{
        StoreError, StoreStatus, UsageStore,
        sled::{FaultAction, FaultPoint, SledStore, StoreOptions, verify},
    },
};

use crate::support::usage::{commit, record, submission};

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

#[test]
fn a_commit_that_does_not_end_fails_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(directory.path());
    options.disk_timeout = Duration::from_millis(50);
    let faults = options.faults.clone();
    let store = Arc::new(SledStore::open(options).unwrap());
    let write = |uuid| submission("alpha", vec![record(uuid, "sku", 5, now())]);
    assert!(matches!(commit(&*store, write(1), now()).unwrap()[..], [Decision::Accepted]));
    assert_eq!(store.status(), StoreStatus::Ready);

    faults.arm(FaultPoint::CommitFlush, 0, FaultAction::Stall);
    let stalled = {
        let (store, submission) = (Arc::clone(&store), write(2));
        std::thread::spawn(move || commit(&*store, submission, now()))
    };
    let began = Instant::now();
    let reason = loop {
        match store.status() {
            StoreStatus::Failed(reason) => break reason,
            StoreStatus::Ready => std::thread::yield_now(),
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nobody noticed");
    };
    assert!(reason.contains("a write has taken"), "{reason}");
    assert!(!stalled.is_finished(), "it was noticed while it lasted");
    faults.release();
    let refused = stalled.join().unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
    assert!(matches!(commit(&*store, write(3), now()), Err(StoreError::Failed(_))));

    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().differences, Vec::<String>::new());
    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    assert!(matches!(commit(&store, write(1), now()).unwrap()[..], [Decision::Duplicate(_)]));
    commit(&store, write(2), now()).unwrap();
    commit(&store, write(3), now()).unwrap();
    assert_eq!(store.statistics().records, 3);
}
