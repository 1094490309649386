//! Pages that the kernel could not write and forgot, told to somebody else than the commit that needs them.

use std::{
    fs::{DirEntry, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use meterd::store::{StoreStatus, UsageStore as _, sled::SledStore};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    reading::{DATA_DIR, now, options, usage},
    writing::start,
};
use crate::support::{
    disk::{Access, Disk, Effect, Fault, PAGE_BYTES},
    load::{Ledger, send, settle},
    process::{MeterdProcess, assert_verified},
    usage::{commit, submission},
};

/// Another descriptor of the *same* opening of a file for writing that this process has, as its threads share one.
fn shared(path: &Path) -> File {
    let is_meant = |number: &String| {
        let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        let about = about.unwrap_or_default();
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
        target.is_ok_and(|target| target == path) && flags.is_some_and(|flags| flags.ends_with('2'))
    };
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let number = |entry: io::Result<DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let found = all.map(number).find(is_meant).expect("the store has it open");
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(process, found.parse().unwrap(), PidfdGetfdFlags::empty()).unwrap().into()
}

/// sled syncs with fsync as well, when it shortens its file. If that is told of a page that could not be written, the
/// fdatasync of a commit that comes after it succeeds, though the page may have been its own.
#[test]
fn a_commit_fails_if_another_sync_was_told_of_a_lost_page() {
    let Some(disk) = Disk::mount_cached_or_skip() else { return };
    let store = SledStore::open(options(&disk)).unwrap();
    let write = |first: u64| {
        commit(&store, submission("alpha", (first..first + 25).map(usage).collect()), now())
    };
    write(0).unwrap();
    while !store.is_idle() {
        std::thread::yield_now();
    }
    let path = disk.join(DATA_DIR).join("db");
    let shared = shared(&path);
    // A page is written once more as it is, and lost.
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut page = [0; PAGE_BYTES];
    let bytes = file.read_at(&mut page, 0).unwrap();
    disk.plant(Fault::always("db", Access::Write, Effect::Error(libc::EIO)));
    file.write_all_at(&page[..bytes], 0).unwrap();
    assert_eq!(shared.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    disk.heal();
    shared.sync_all().expect("it is told once");
    assert!(write(25).is_err(), "the commit was told of nothing, and acknowledged");
    assert!(matches!(store.status(), StoreStatus::Failed(_)));
    drop(store);
    // The store that failed keeps its file open, and nothing may be left to write when this process ends.
    file.sync_all().expect_err("everybody is told");
    file.sync_all().unwrap();
    drop((file, shared));
    disk.abandon();
}

const RECORDS_PER_CALL: usize = 25;
const LOST_CALLS: usize = 64;

/// The records of a call that are new, and those that are known.
type Answer = (Vec<Uuid>, Vec<Uuid>);

/// A call that is under way.
fn call(server: &MeterdProcess, ledger: &mut Ledger) -> JoinHandle<Result<Answer, Status>> {
    let uuids: Vec<Uuid> = (0..RECORDS_PER_CALL).map(|_| Uuid::new_v4()).collect();
    ledger.sent.extend(&uuids);
    let mut client = server.image();
    tokio::spawn(async move { send(&mut client, &uuids).await })
}

/// The page cache goes on to show what could not be written. A server that is started again must not take it for stored:
/// callers who send it once more would hear that it is known, and it would be gone with the power.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_cache_alone_is_not_taken_for_stored() {
    let Some(disk) = Disk::mount_cached_or_skip() else { return };
    let data_dir = disk.join(DATA_DIR);
    let server = start(&data_dir);
    let mut ledger = Ledger::default();
    // While one call waits for the disk, many others gather for the next commit, which takes many pages.
    let stall = Effect::Stall(Duration::from_secs(1));
    disk.plant(Fault { times: 1, ..Fault::always("db", Access::Sync, stall) });
    let stored = call(&server, &mut ledger);
    while disk.strikes() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    disk.plant(Fault::always("db", Access::Write, Effect::Error(libc::EIO)));
    let lost: Vec<_> = (0..LOST_CALLS).map(|_| call(&server, &mut ledger)).collect();
    ledger.acknowledged.extend(stored.await.unwrap().unwrap().0);
    for call in lost {
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    server.kill();
    disk.heal();
    let server = start(&data_dir);
    for uuids in ledger.sent.chunks(RECORDS_PER_CALL) {
        let (accepted, known) = send(&mut server.image(), uuids).await.unwrap();
        ledger.acknowledged.extend([accepted, known].concat());
    }
    assert_eq!(ledger.acknowledged.len(), ledger.sent.len());
    // The power fails, and the cache is gone.
    let left = disk.tree();
    server.kill();
    let directory = tempfile::tempdir().unwrap();
    left.write_to(directory.path()).unwrap();
    let data_dir = directory.path().join(DATA_DIR);
    assert_verified(&data_dir);
    let server = start(&data_dir);
    assert_eq!(server.counted().await, ledger.sent.len() as u64);
    settle(server.image(), &mut ledger).await;
    server.kill();
    assert_verified(&data_dir);
}
