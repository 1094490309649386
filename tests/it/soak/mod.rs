//! Many callers at four fifths of what the server takes, for as long as wanted, with a restart now and then: every other
//! one by kill -9. Nothing is lost or counted twice, and neither memory nor descriptors grow with time. What memory does
//! grow with is the number of uuids that are remembered.
//!
//! `METERD_SOAK_SECONDS` sets for how long (default 12), `METERD_SOAK_LIVES` how many servers share that time (default 3),
//! `METERD_SOAK_SEED` who calls what. `METERD_TEST_BINARY` may name a release build, and `TMPDIR` a disk: a record
//! takes some 200 bytes of it.

mod load;
mod sampling;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    soak::{
        load::{Callers, Load},
        sampling::{Life, Samples, growth},
    },
    support::process::{MeterdProcess, assert_verified, serve_command},
};

/// What part of a life finds out how much the server takes; the rest has four fifths of that.
const FULL_LOAD_PART: u32 = 8;
const SAMPLE_PERIOD: Duration = Duration::from_millis(500);
/// What the filters of the index take for each uuid, twice for when they are merged, and half as much again for what is not
/// full.
const MEMORY_OF_RECORD_BYTES: u64 = 8;
/// Memtables, rows of totals and caches, which fill in the first minutes of each life.
const MEMORY_OF_LIFE_BYTES: u64 = 320 << 20;
/// Connections of callers come and go within so many.
const DESCRIPTORS_SPREAD: usize = 8;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_for_long_stays_as_it_is() {
    let seconds = from_environment("METERD_SOAK_SECONDS", 12);
    let lives = from_environment("METERD_SOAK_LIVES", 3).max(2);
    let seed = from_environment("METERD_SOAK_SEED", u64::from(std::process::id()));
    eprintln!(
        "soak: METERD_SOAK_SEED={seed} METERD_SOAK_SECONDS={seconds} METERD_SOAK_LIVES={lives}"
    );
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let start = || {
        let mut command = serve_command(&[], &data_dir);
        command.args(["--accept-past", "7d", "--log", "warn"]);
        MeterdProcess::start(command)
    };
    let load = Arc::new(Load::new(seed));
    let span = Duration::from_secs(seconds) / u32::try_from(lives).unwrap();
    let mut past: Vec<Life> = Vec::new();
    for number in 0..lives {
        let server = start();
        assert!(server.counted().await >= load.acknowledged_records());
        let samples = Samples::begin(server.id());
        let callers = Callers::begin(&load, &server);
        tokio::time::sleep(span / FULL_LOAD_PART).await;
        let most = callers.calls() as f64 / (span / FULL_LOAD_PART).as_secs_f64();
        callers.pace(most * 0.8);
        let (paced_since, before) = (Instant::now(), callers.calls());
        while paced_since.elapsed() < span - span / FULL_LOAD_PART {
            tokio::time::sleep(SAMPLE_PERIOD).await;
            samples.take(load.acknowledged_records() + load.new_rows());
        }
        let reached = (callers.calls() - before) as f64 / paced_since.elapsed().as_secs_f64();
        let life = samples.end(load.acknowledged_records() + load.new_rows());
        eprintln!("life {number}: {reached:.0} of {most:.0} calls/s, {life}");
        past.push(life);
        callers.expect_end();
        // What was under way is not known to have been stored, and is sent again in the next life.
        let log = if number % 2 == 0 {
            let process = server.id();
            let log = server.log();
            assert!(server.terminate(process), "SIGTERM ends with 0");
            log
        } else {
            server.kill()
        };
        callers.end().await;
        assert!(!log.contains("ERROR"), "{log}");
    }
    let server = start();
    load.settle(&server).await;
    assert_eq!(server.counted().await, load.sent_records());
    eprintln!("soak: {} rows of totals were new", load.new_rows());
    assert_eq!(load.counted_new_rows(&server).await, load.new_rows());
    let process = server.id();
    assert!(server.terminate(process), "SIGTERM ends with 0");
    assert_verified(&data_dir);

    eprintln!("soak: {}", growth(&past));
    let most = past.iter().map(|life| life.descriptors).max().unwrap();
    let first = past[0].descriptors;
    assert!(most <= first + DESCRIPTORS_SPREAD, "descriptors grow: {first} at first, then {most}");
    for life in &past {
        let expected = MEMORY_OF_LIFE_BYTES + MEMORY_OF_RECORD_BYTES * life.records;
        assert!(life.memory <= expected, "{} MiB with {} records", life.memory >> 20, life.records);
    }
}
