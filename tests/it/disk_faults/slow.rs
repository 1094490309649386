//! A disk that is slow: callers wait or are told to come again, and nothing is lost.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tonic::Code;
use uuid::Uuid;

use crate::support::{
    disk::{Access, Disk, Effect, Fault, Tree},
    load::{Ledger, send, settle},
    process::{MeterdProcess, assert_verified, http_get, serve_command},
};

const STALL: Duration = Duration::from_secs(2);
const STALLS: u32 = 3;
/// Records that may wait, and calls of 25 at once that are more than that.
const QUEUED_RECORDS_MAX: usize = 1_000;
const CALLS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_or_are_refused_while_the_disk_stalls() {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let data_dir = disk.join("data");
    let mut command = serve_command(&[], &data_dir);
    command.args(["--queued-records-max", &QUEUED_RECORDS_MAX.to_string(), "--log", "warn"]);
    let server = MeterdProcess::start(command);
    // Every sync but a few in between: a store that writes runs at the same time has more of them.
    disk.plant(Fault { times: STALLS, ..Fault::always("db", Access::Sync, Effect::Stall(STALL)) });
    let began = Instant::now();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let mut client = server.image();
            tokio::spawn(async move {
                let uuids: Vec<Uuid> = (0..25).map(|_| Uuid::new_v4()).collect();
                (send(&mut client, &uuids).await, uuids)
            })
        })
        .collect();
    // Being slow is no failure: the store takes what it has room for.
    while disk.strikes() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the disk never stalled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ready = http_get(server.admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let mut ledger = Ledger::default();
    let mut refused = HashSet::new();
    for call in calls {
        let (outcome, uuids) = call.await.unwrap();
        ledger.sent.extend(&uuids);
        match outcome {
            Ok((accepted, _)) => {
                assert_eq!(accepted.len(), uuids.len());
                ledger.acknowledged.extend(accepted);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                refused.extend(uuids);
            }
        }
    }
    eprintln!(
        "slow disk: {} records acknowledged and {} refused in {:.1?}",
        ledger.acknowledged.len(),
        refused.len(),
        began.elapsed()
    );
    assert!(!refused.is_empty(), "more was sent than there is room for");
    assert!(!ledger.acknowledged.is_empty(), "what there is room for is taken");
    assert_eq!(server.counted().await, ledger.acknowledged.len() as u64);
    // What was refused comes again.
    settle(server.image(), &mut ledger).await;
    assert_eq!(server.counted().await, ledger.sent.len() as u64);
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    assert_verified(&data_dir);
}
