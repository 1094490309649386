//! Writes and syncs that fail under the real binary.

use std::sync::{Arc, atomic::AtomicBool};

use parking_lot::Mutex;
use tonic::Code;
use uuid::Uuid;

use crate::{
    power_loss::{
        crash::{Replay, honest},
        survival::Survival,
    },
    support::{
        disk::{Access, Disk, Effect, Event, Fault, Tree},
        load::{Ledger, send, settle, write_until_refused},
        process::{MeterdProcess, assert_verified, http_get, serve_command},
        random::Random,
    },
};

/// Calls of 25 records that are acknowledged before the disk fails.
const WRITERS: usize = 8;
const RECORDS_BEFORE: usize = 1_000;
const DATA_DIR: &str = "data";

/// `meterd serve` on a disk, with a memtable so small that background work runs as well.
pub fn start(data_dir: &std::path::Path) -> MeterdProcess {
    let mut command = serve_command(&[], data_dir);
    command.args(["--memtable-keys-max", "2000", "--log", "warn"]);
    MeterdProcess::start(command)
}

/// Writers that go on until they are refused or told to stop.
struct Writing {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    writers: Vec<tokio::task::JoinHandle<Option<tonic::Status>>>,
}

impl Writing {
    fn start(server: &MeterdProcess) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let write = |_| {
            let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
            tokio::spawn(write_until_refused(server.image(), ledger, stop))
        };
        let writers = (0..WRITERS).map(write).collect();
        Self { ledger, stop, writers }
    }

    /// Waits until so many records have been acknowledged since the beginning.
    async fn acknowledged(&self, records: usize) {
        while self.ledger.lock().acknowledged.len() < records {
            assert!(!self.writers.iter().all(|writer| writer.is_finished()), "all were refused");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Waits for all to end; what refused each, and what they did.
    async fn end(self) -> (Vec<Option<tonic::Status>>, Ledger) {
        let mut outcomes = Vec::new();
        for writer in self.writers {
            outcomes.push(writer.await.unwrap());
        }
        (outcomes, Arc::into_inner(self.ledger).unwrap().into_inner())
    }
}

/// The worst that the disk may hold after its faults, in a directory of a healthy one.
fn after_power_cut(events: &[Event]) -> tempfile::TempDir {
    let mut replay = Replay::new(honest);
    events.iter().for_each(|event| replay.apply(event));
    let directory = tempfile::tempdir().unwrap();
    replay.cut(&mut Random::new(0), Survival::Nothing).write_to(directory.path()).unwrap();
    directory
}

/// Starts again on a healthy disk: what was acknowledged is there, and sent again everything counts once.
async fn start_again(events: &[Event], mut ledger: Ledger) {
    let directory = after_power_cut(events);
    let data_dir = directory.path().join(DATA_DIR);
    assert_verified(&data_dir);
    let server = start(&data_dir);
    assert!(server.counted().await >= ledger.acknowledged.len() as u64);
    settle(server.image(), &mut ledger).await;
    assert_eq!(server.counted().await, ledger.sent.len() as u64);
    server.kill();
    assert_verified(&data_dir);
}

async fn is_refused(name: &str, fault: Fault) {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let server = start(&disk.join(DATA_DIR));
    let writing = Writing::start(&server);
    writing.acknowledged(RECORDS_BEFORE).await;
    disk.plant(fault);
    let (outcomes, ledger) = writing.end().await;
    assert!(disk.strikes() > 0, "{name}: the disk never failed");
    for status in outcomes {
        let status = status.unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}");
        assert!(status.message().contains("storage is not available"), "{name}: {status:?}");
    }
    // The disk is well again, and that changes nothing: what it lost is not known.
    disk.heal();
    let late = send(&mut server.image(), &[Uuid::new_v4()]).await;
    assert_eq!(late.unwrap_err().code(), Code::Unavailable, "{name}");
    let ready = http_get(server.admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("restart meterd"), "{ready}");
    assert!(http_get(server.admin, "/healthz").starts_with("HTTP/1.1 200"));
    match server.try_counted().await {
        // What was in flight may show up as well, never less than what was acknowledged.
        Ok(counted) => assert!(counted >= ledger.acknowledged.len() as u64, "{name}"),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}"),
    }
    let log = server.kill();
    assert!(log.contains("the store failed and refuses writes"), "{name}: {log}");
    assert!(log.contains("then restart meterd"), "{name}: {log}");
    assert_eq!(log.matches("ERROR").count(), 1, "{name}: one line per problem: {log}");
    assert!(!log.contains("panicked"), "{name}: {log}");
    let events = disk.finish();
    if let Some(failed) = events.iter().position(|event| matches!(event, Event::SyncFailed { .. }))
    {
        // A sync that comes after could say that all is well without having written what the first one lost.
        let Event::SyncFailed { inode: struck } = events[failed] else { unreachable!() };
        let again = events[failed + 1..].iter().filter(
            |event| matches!(event, Event::SyncFile { inode, .. } | Event::SyncFailed { inode } if *inode == struck),
        );
        assert_eq!(again.count(), 0, "{name}: the file was synced again");
    }
    start_again(&events, ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_is_refused() {
    is_refused("EIO", Fault::always("db", Access::Write, Effect::Error(libc::EIO))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_no_room_is_refused() {
    is_refused("ENOSPC", Fault::always("db", Access::Extend, Effect::Error(libc::ENOSPC))).await;
}

/// Once only: the next one succeeds, and must not be believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_failed_once_is_never_tried_again() {
    let fault = Fault { times: 1, ..Fault::always("db", Access::Sync, Effect::Error(libc::EIO)) };
    is_refused("sync", fault).await;
}

/// Halves of writes are carried on with, and nothing is noticed but that it takes longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_writes_are_carried_on() {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let server = start(&disk.join(DATA_DIR));
    let writing = Writing::start(&server);
    disk.plant(Fault { times: 2_000, ..Fault::always("db", Access::Write, Effect::Short) });
    writing.acknowledged(RECORDS_BEFORE * 2).await;
    assert!(disk.strikes() > 100, "the disk never fell short");
    writing.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (outcomes, ledger) = writing.end().await;
    assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    assert_eq!(server.counted().await, ledger.acknowledged.len() as u64);
    let log = server.kill();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    start_again(&disk.finish(), ledger).await;
}

/// The head is a second opinion: without it, usage is still taken, and the log says once that it is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_cannot_be_written_is_told_once() {
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let server = start(&disk.join(DATA_DIR));
    let writing = Writing::start(&server);
    disk.plant(Fault::always("head", Access::Write, Effect::Error(libc::EIO)));
    writing.acknowledged(RECORDS_BEFORE).await;
    writing.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (outcomes, ledger) = writing.end().await;
    assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    assert!(http_get(server.admin, "/readyz").starts_with("HTTP/1.1 200"));
    let log = server.kill();
    assert_eq!(log.matches("cannot write the head file").count(), 1, "{log}");
    start_again(&disk.finish(), ledger).await;
}
