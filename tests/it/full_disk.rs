//! A disk that runs full: writes are refused with a clear error, the process says that it is not
//! ready, and after space was freed and a restart everything acknowledged is there.

use std::sync::{Arc, atomic::AtomicBool};

use parking_lot::Mutex;
use tonic::Code;

use crate::support::{
    load::{Ledger, settle, write_until_refused},
    process::{MeterdProcess, assert_verified, http_get, serve_command},
    small_disk::SmallDisk,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path(), 24 << 20) else { return };
    let ballast = disk.mount_point.join("ballast");
    std::fs::write(&ballast, vec![7; 14 << 20]).unwrap();
    let data_dir = disk.mount_point.join("data");
    let ledger = Arc::new(Mutex::new(Ledger::default()));

    let server = MeterdProcess::start(serve_command(&[], &data_dir));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(write_until_refused(
                server.image(),
                Arc::clone(&ledger),
                Arc::clone(&stop),
            ))
        })
        .collect();
    for writer in writers {
        let status = writer.await.unwrap().expect("the disk is small");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("storage is not available"), "{}", status.message());
    }
    let ready = http_get(server.admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("restart meterd"), "{ready}");
    assert!(http_get(server.admin, "/healthz").starts_with("HTTP/1.1 200"));
    let acknowledged = ledger.lock().acknowledged.len() as u64;
    eprintln!("{acknowledged} records were acknowledged before the disk was full");
    assert!(acknowledged > 0);
    // Reading goes on where sled still can; a wrong answer is never among what it gives.
    match server.try_counted().await {
        Ok(counted) => assert!(counted >= acknowledged),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    }
    let log = server.log();
    assert!(log.contains("the store failed and refuses writes"), "{log}");
    assert_eq!(log.matches("ERROR").count(), 1, "one line per problem: {log}");
    let id = server.id();
    assert!(!server.terminate(id), "an end after a failure is no success");

    std::fs::remove_file(&ballast).unwrap();
    assert_verified(&data_dir);
    let server = MeterdProcess::start(serve_command(&[], &data_dir));
    let mut ledger = Arc::into_inner(ledger).unwrap().into_inner();
    settle(server.image(), &mut ledger).await;
    assert_eq!(server.counted().await, ledger.sent.len() as u64);
    server.kill();
    assert_verified(&data_dir);
}
