use std::sync::atomic::Ordering;

use futures_util::{FutureExt as _, future::join_all};

use super::*;
use crate::{
    domain::usage::Submission,
    service::{
        clock::ManualClock,
        testing::{Mishap, TestStore, now, organization, submission, uuid},
    },
};

fn start(store: &Arc<TestStore>, limits: CommitterLimits) -> Arc<Committer> {
    let store: Arc<dyn UsageStore> = Arc::clone(store) as _;
    Committer::start(store, Arc::new(ManualClock::new(now())), limits).unwrap()
}

fn limits(queued_records_max: u32) -> CommitterLimits {
    CommitterLimits { queued_records_max, ..CommitterLimits::default() }
}

/// Submits on a task of its own, so that it goes on while the test looks at something else.
fn spawn(
    committer: &Arc<Committer>,
    submission: Submission,
    admission: Admission,
) -> tokio::task::JoinHandle<Result<Vec<Decision>, ServiceError>> {
    let committer = Arc::clone(committer);
    tokio::spawn(async move { committer.submit(submission, admission).await })
}

/// Polls a submission once, which queues it if there is room, and hangs up.
fn submit_and_hang_up(committer: &Committer, submission: Submission, admission: Admission) {
    let answer = committer.submit(submission, admission).now_or_never();
    assert!(answer.is_none(), "nothing is answered while the gate is closed: {answer:?}");
}

fn is_stored(store: &TestStore, number: usize) -> bool {
    store.find(&organization("acme"), uuid(number)).unwrap().is_some()
}

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, ServiceError>) -> bool {
    matches!(result, Err(ServiceError::Unavailable(_)))
}

fn is_overloaded<T: std::fmt::Debug>(result: &Result<T, ServiceError>) -> bool {
    matches!(result, Err(ServiceError::Overloaded { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_concurrent_submissions_of_one_uuid_one_is_accepted() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits::default());
    for round in 0..100 {
        let calls: Vec<_> = (0..64)
            .map(|_| spawn(&committer, submission("acme", [round]), Admission::Wait))
            .collect();
        let mut accepted = 0;
        for answer in join_all(calls).await {
            accepted += usize::from(answer.unwrap().unwrap() == [Decision::Accepted]);
        }
        assert_eq!(accepted, 1, "round {round}");
    }
    assert_eq!(store.memory.records().len(), 100);
}

#[tokio::test]
async fn an_empty_submission_never_reaches_the_store() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits::default());
    assert_eq!(committer.submit(submission("acme", []), Admission::Refuse).await.unwrap(), []);
    committer.shut_down();
    assert!(store.groups().is_empty());
}

#[tokio::test]
async fn what_arrives_during_a_commit_makes_up_the_next_group() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits { group_records_max: 10, ..limits(1000) });
    store.commit_gate.close();
    submit_and_hang_up(&committer, submission("acme", [0]), Admission::Refuse);
    store.commit_gate.await_waiting(1);
    for uuids in [1..5, 5..9, 9..12, 12..40, 40..42] {
        submit_and_hang_up(&committer, submission("acme", uuids), Admission::Refuse);
    }
    store.commit_gate.open();
    committer.shut_down();
    // Never over the limit, except for one submission that is larger by itself.
    assert_eq!(store.groups(), [vec![1], vec![4, 4], vec![3], vec![28], vec![2]]);
}

#[tokio::test]
async fn a_caller_that_hangs_up_changes_nothing() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits::default());
    store.commit_gate.close();
    submit_and_hang_up(&committer, submission("acme", 0..3), Admission::Refuse);
    store.commit_gate.await_waiting(1);
    submit_and_hang_up(&committer, submission("acme", 3..5), Admission::Wait);
    assert_eq!(committer.queued_records(), 5, "hanging up gives no room back");
    store.commit_gate.open();
    let again = committer.submit(submission("acme", 0..6), Admission::Wait).await.unwrap();
    let accepted: Vec<bool> = again.iter().map(|it| *it == Decision::Accepted).collect();
    assert_eq!(accepted, [false, false, false, false, false, true]);
}

#[tokio::test]
async fn a_caller_that_hangs_up_before_there_is_room_leaves_nothing_behind() {
    let store = TestStore::new();
    let committer = start(&store, limits(2));
    store.commit_gate.close();
    submit_and_hang_up(&committer, submission("acme", [0, 1]), Admission::Refuse);
    submit_and_hang_up(&committer, submission("acme", [2]), Admission::Wait);
    store.commit_gate.open();
    // Takes all the room, so it also shows that none was lost.
    committer.submit(submission("acme", [3, 4]), Admission::Wait).await.unwrap();
    assert!(!is_stored(&store, 2));
    assert!(is_stored(&store, 0) && is_stored(&store, 4));
}

#[tokio::test]
async fn a_full_queue_refuses_or_lets_wait() {
    let store = TestStore::new();
    let committer = start(&store, limits(3));
    store.commit_gate.close();
    let first = spawn(&committer, submission("acme", [0, 1]), Admission::Refuse);
    tokio::task::yield_now().await;
    store.commit_gate.await_waiting(1);
    // Under way is not done: its room is taken until it is on the disk.
    let refused = committer.submit(submission("acme", [2, 3]), Admission::Refuse).await;
    assert!(is_overloaded(&refused), "{refused:?}");
    let small = spawn(&committer, submission("acme", [4]), Admission::Refuse);
    let waiting = spawn(&committer, submission("acme", [2, 3]), Admission::Wait);
    tokio::task::yield_now().await;
    assert!(!small.is_finished() && !waiting.is_finished());
    assert_eq!(committer.queued_records(), 3);
    store.commit_gate.open();
    for answer in [first, small, waiting] {
        assert!(answer.await.unwrap().unwrap().iter().all(|it| *it == Decision::Accepted));
    }
    assert_eq!(committer.queued_records(), 0);
}

#[tokio::test]
async fn a_submission_larger_than_the_queue_goes_alone() {
    let store = TestStore::new();
    let committer = start(&store, limits(3));
    for (at, admission) in [Admission::Refuse, Admission::Wait].into_iter().enumerate() {
        let uuids = at * 100..at * 100 + 100;
        let decisions = committer.submit(submission("acme", uuids), admission).await.unwrap();
        assert_eq!(decisions, [Decision::Accepted; 100]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_store_fails_every_caller_and_refuses_what_follows() {
    for mishap in [Mishap::Panic, Mishap::Forget] {
        let store = TestStore::new();
        let committer = start(&store, limits(3));
        store.commit_gate.close();
        store.plan(mishap);
        let first = spawn(&committer, submission("acme", [0, 10]), Admission::Refuse);
        store.commit_gate.await_waiting(1);
        submit_and_hang_up(&committer, submission("acme", [1]), Admission::Refuse);
        let waits = spawn(&committer, submission("acme", [2]), Admission::Wait);
        assert!(committer.is_running());
        store.commit_gate.open();
        assert!(is_unavailable(&first.await.unwrap()));
        assert!(is_unavailable(&waits.await.unwrap()));
        let later = committer.submit(submission("acme", [3]), Admission::Wait).await;
        assert!(is_unavailable(&later), "{later:?}");
        assert!(!committer.is_running());
        assert_eq!(store.groups().len(), 1, "nothing is committed after a panic");
        committer.shut_down();
    }
}

#[tokio::test]
async fn a_failed_commit_fails_its_whole_group_and_says_nothing_of_paths() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits::default());
    store.plan(Mishap::Fail);
    let failed = committer.submit(submission("acme", [0]), Admission::Refuse).await;
    assert!(is_unavailable(&failed), "{failed:?}");
    assert!(!failed.unwrap_err().to_string().contains("secret"));
    assert_eq!(committer.queued_records(), 0);
    // Whether to go on after a failure is the store's decision, not the committer's.
    assert!(committer.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_finishes_what_is_queued() {
    let store = TestStore::new();
    let committer = start(&store, limits(3));
    store.commit_gate.close();
    let first = spawn(&committer, submission("acme", [0]), Admission::Refuse);
    store.commit_gate.await_waiting(1);
    submit_and_hang_up(&committer, submission("acme", [1, 2]), Admission::Refuse);
    let too_late = spawn(&committer, submission("acme", [3]), Admission::Wait);
    let stopping: Vec<_> = (0..2)
        .map(|_| {
            let committer = Arc::clone(&committer);
            tokio::task::spawn_blocking(move || committer.shut_down())
        })
        .collect();
    // Told as soon as the shutdown begins, though the queue is not empty yet.
    assert!(is_unavailable(&too_late.await.unwrap()));
    store.commit_gate.open();
    for stopped in stopping {
        stopped.await.unwrap();
        assert!(is_stored(&store, 2), "whoever asked for the shutdown returns after it");
    }
    assert_eq!(first.await.unwrap().unwrap(), [Decision::Accepted]);
    assert!(!is_stored(&store, 3));
    let later = committer.submit(submission("acme", [4]), Admission::Refuse).await;
    assert!(is_unavailable(&later), "{later:?}");
    assert!(!committer.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_threads_look_uuids_up_on_the_disk() {
    let store = TestStore::new();
    store.needs_read.store(true, Ordering::SeqCst);
    let committer = start(&store, CommitterLimits { probe_threads_max: 2, ..limits(100) });
    store.settle_gate.close();
    let calls: Vec<_> = (0..10)
        .map(|number| spawn(&committer, submission("acme", [number]), Admission::Refuse))
        .collect();
    store.settle_gate.await_waiting(2);
    store.settle_gate.open();
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().unwrap(), [Decision::Accepted]);
    }
    assert_eq!((store.settle_gate.waiting_max(), store.settle_gate.passed()), (2, 10));
}

#[tokio::test]
async fn a_caller_that_hangs_up_during_the_look_up_leaves_nothing_behind() {
    let store = TestStore::new();
    store.needs_read.store(true, Ordering::SeqCst);
    let committer = start(&store, CommitterLimits { probe_threads_max: 1, ..limits(2) });
    store.settle_gate.close();
    let call = spawn(&committer, submission("acme", [0, 1]), Admission::Refuse);
    tokio::task::yield_now().await;
    store.settle_gate.await_waiting(1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(committer.queued_records(), 0);
    store.settle_gate.open();
    committer.submit(submission("acme", [2, 3]), Admission::Refuse).await.unwrap();
    assert!(!is_stored(&store, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogged_store_refuses_callers_but_those_that_wait() {
    let store = TestStore::new();
    let committer = start(&store, CommitterLimits { group_records_max: 2, ..limits(100) });
    store.commit_gate.close();
    store.plan(Mishap::Backlog);
    let first = spawn(&committer, submission("acme", [0]), Admission::Refuse);
    store.commit_gate.await_waiting(1);
    let mut refused = vec![first];
    let mut waiting = Vec::new();
    // More than one group; not all of it is with the store when it refuses.
    for number in 1..10 {
        let admission = if number % 2 == 0 { Admission::Refuse } else { Admission::Wait };
        let call = spawn(&committer, submission("acme", [number]), admission);
        let kind = if number % 2 == 0 { &mut refused } else { &mut waiting };
        kind.push(call);
        while committer.queued_records() < number + 1 {
            tokio::task::yield_now().await;
        }
    }
    store.commit_gate.open();
    for call in refused {
        let answer = call.await.unwrap();
        assert!(is_overloaded(&answer), "{answer:?}");
    }
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), [Decision::Accepted]);
    }
    assert_eq!(committer.queued_records(), 0);
    assert!((0..10).all(|number| is_stored(&store, number) == (number % 2 == 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogged_store_at_shutdown_refuses_all() {
    let store = TestStore::new();
    let committer = start(&store, limits(100));
    store.commit_gate.close();
    store.plan(Mishap::Backlog);
    let waiting = spawn(&committer, submission("acme", [0]), Admission::Wait);
    store.commit_gate.await_waiting(1);
    let stopping = Arc::clone(&committer);
    let stopped = tokio::task::spawn_blocking(move || stopping.shut_down());
    while committer.is_running() {
        tokio::task::yield_now().await;
    }
    store.commit_gate.open();
    assert!(is_overloaded(&waiting.await.unwrap()));
    stopped.await.unwrap();
}
