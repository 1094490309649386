//! kill -9 of the real binary under load, again and again on one growing store.
//!
//! `METERD_KILL_CYCLES` sets how often (default 20), `METERD_KILL_SEED` when exactly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::support::{
    load::{Ledger, settle, write_until_refused},
    process::{MeterdProcess, assert_verified, serve_command},
    random::Random,
};

const WRITERS: usize = 32;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_counts_twice() {
    let cycles = from_environment("METERD_KILL_CYCLES").unwrap_or(20);
    let seed =
        from_environment("METERD_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("kill: METERD_KILL_SEED={seed} METERD_KILL_CYCLES={cycles}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    // A small memtable, so that kills land in flushes and merges as well.
    let start = || {
        let mut command = serve_command(&[], &data_dir);
        command.args(["--memtable-keys-max", "2000", "--log", "warn"]);
        MeterdProcess::start(command)
    };
    for cycle in 0..cycles {
        let server = start();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                tokio::spawn(write_until_refused(
                    server.image(),
                    Arc::clone(&ledger),
                    Arc::clone(&stop),
                ))
            })
            .collect();
        let before = ledger.lock().acknowledged.len();
        tokio::time::sleep(Duration::from_millis(30 + random.next() % 300)).await;
        let log = server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(!log.contains("ERROR"), "{log}");
        let acknowledged = ledger.lock().acknowledged.len();
        eprintln!("cycle {cycle}: {} acknowledged, {acknowledged} in all", acknowledged - before);
        if cycle % 5 == 4 {
            assert_verified(&data_dir);
        }
    }
    let server = start();
    let mut ledger = Arc::into_inner(ledger).unwrap().into_inner();
    let acknowledged = ledger.acknowledged.len() as u64;
    assert!(acknowledged > 0, "nothing was written");
    assert!(server.counted().await >= acknowledged);
    settle(server.image(), &mut ledger).await;
    assert_eq!(server.counted().await, ledger.sent.len() as u64);
    let id = server.id();
    assert!(server.terminate(id), "SIGTERM ends with 0");
    assert_verified(&data_dir);
}
