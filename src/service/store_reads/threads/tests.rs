use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::service::testing::{Gate, TestStore, caller};

const IN_TURN: Execution = Execution::InTurn { commit_time: Duration::ZERO };

fn threads(
    running_max: usize,
    organization_running_max: usize,
    execution: Execution,
) -> ReadThreads {
    let limits =
        QueueLimits { running_max, organization_running_max, organization_waiting_max: 100 };
    ReadThreads::new(TestStore::new(), limits, execution)
}

/// Reads on a task of its own, and stands before a gate while it does.
fn spawn(
    threads: &Arc<ReadThreads>,
    organization: &str,
    gate: &Arc<Gate>,
) -> tokio::task::JoinHandle<Result<(), ServiceError>> {
    let turn = threads.wait(&caller(organization));
    let (threads, gate) = (Arc::clone(threads), Arc::clone(gate));
    tokio::spawn(async move {
        let read = move |_: &dyn UsageStore| {
            gate.pass();
            Ok(())
        };
        threads.run(turn, read).await
    })
}

async fn read(threads: &ReadThreads, organization: &str) -> Result<u64, ServiceError> {
    let turn = threads.wait(&caller(organization));
    threads.run(turn, |store| Ok(store.statistics().records)).await
}

#[tokio::test]
async fn panic_is_an_error_and_frees_its_thread() {
    for execution in [Execution::Threads, IN_TURN] {
        let threads = threads(1, 1, execution);
        let turn = threads.wait(&caller("acme"));
        let panicked = threads.run(turn, |_| -> Result<(), StoreError> { panic!("planned") }).await;
        assert!(matches!(panicked, Err(ServiceError::Internal(_))), "{panicked:?}");
        assert_eq!(read(&threads, "acme").await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_of_one_organization_leave_threads_to_others() {
    let threads = Arc::new(threads(4, 2, Execution::Threads));
    let gate = Arc::new(Gate::default());
    gate.close();
    let long: Vec<_> = (0..10).map(|_| spawn(&threads, "evil", &gate)).collect();
    gate.await_waiting(2);
    for _ in 0..20 {
        assert_eq!(read(&threads, "acme").await.unwrap(), 0);
    }
    assert_eq!((gate.waiting_max(), threads.waiting()), (2, 8));
    gate.open();
    for read in long {
        read.await.unwrap().unwrap();
    }
    assert_eq!((gate.waiting_max(), gate.passed(), threads.waiting()), (2, 10, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_whose_caller_left_while_it_waited_never_runs() {
    let threads = Arc::new(threads(1, 1, Execution::Threads));
    let gate = Arc::new(Gate::default());
    gate.close();
    let running = spawn(&threads, "acme", &gate);
    gate.await_waiting(1);
    let waiting: Vec<_> = (0..5).map(|_| spawn(&threads, "acme", &gate)).collect();
    assert_eq!(threads.waiting(), 5);
    for read in waiting {
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
    }
    assert_eq!(threads.waiting(), 0);
    gate.open();
    running.await.unwrap().unwrap();
    assert_eq!(read(&threads, "acme").await.unwrap(), 0);
    assert_eq!(gate.passed(), 1);
}

#[tokio::test]
async fn read_whose_caller_left_before_it_began_never_runs() {
    let threads = threads(1, 1, IN_TURN);
    let turn = threads.wait(&caller("acme"));
    // It has its turn, and would run as soon as the runtime gets to it.
    let begun = threads.run(turn, |_| -> Result<(), StoreError> { panic!("nobody waits for it") });
    assert!(begun.now_or_never().is_none());
    assert_eq!(read(&threads, "acme").await.unwrap(), 0);
    // A turn that nobody used goes to the next one, too.
    drop(threads.wait(&caller("acme")));
    assert_eq!(read(&threads, "acme").await.unwrap(), 0);
}

#[tokio::test]
async fn reads_in_turn_run_in_the_order_of_the_queue() {
    let order = || async {
        let threads = Arc::new(threads(1, 1, IN_TURN));
        let ran = Arc::new(Mutex::new(Vec::new()));
        let reads = ["evil", "evil", "evil", "acme", "other", "acme"].map(|organization| {
            let turn = threads.wait(&caller(organization));
            let (threads, ran) = (Arc::clone(&threads), Arc::clone(&ran));
            tokio::spawn(async move {
                let read = move |_: &dyn UsageStore| {
                    ran.lock().push(organization);
                    Ok(())
                };
                threads.run(turn, read).await
            })
        });
        for read in reads {
            read.await.unwrap().unwrap();
        }
        Arc::try_unwrap(ran).unwrap().into_inner()
    };
    let first = order().await;
    assert_eq!(first, ["evil", "evil", "acme", "other", "evil", "acme"]);
    assert_eq!(order().await, first);
}
