//! A simulated billing month, with the real binary: twenty seeds (`METERD_SIMULATE_SEEDS` for more,
//! `METERD_SIMULATE_SEED` for one).

use std::{
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;

use crate::support::{
    command::{meterd, run},
    process::assert_verified,
};

const SEEDS: u64 = 20;

/// Simulations that run at once: they wait for the disk more than they compute.
const AT_ONCE: usize = 4;

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("METERD_SIMULATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("METERD_SIMULATE_SEEDS").unwrap_or(SEEDS),
    }
}

/// Simulates a month of one seed; answers the report.
fn simulate(directory: &Path, arguments: &[&str]) -> Value {
    let mut command = meterd(&["simulate", "--output", "json"]);
    command.args(arguments).env("TMPDIR", directory);
    let ran = run(command);
    assert!(!ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["result"]), (0, &"PASS".into()), "{report:#}{}", ran.stderr);
    report
}

#[test]
fn months_of_many_seeds_hold_every_invariant() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let one_after_another = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            eprintln!("simulating: METERD_SIMULATE_SEED={seed}");
            let number = seed.to_string();
            let arguments = ["--seed", &number, "--days", "31", "--customers", "40"];
            let report = simulate(directory.path(), &arguments);
            assert_checked(&report);
        }
    };
    std::thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(one_after_another)));
    });
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

/// Nothing of the report is empty: a month has some of everything.
#[track_caller]
fn assert_checked(report: &Value) {
    for line in report["invariants"].as_array().unwrap() {
        assert!(line["checked"].as_u64().unwrap() > 0, "{line} in {report:#}");
        assert_eq!(line["violated"], 0, "{line}");
    }
    let simulated = |section: &str, name: &str| {
        let count = report["simulated"][section][name].as_u64().unwrap_or_default();
        assert!(count > 0, "{section}: {name} in {report:#}");
    };
    for name in ["crashes", "full disks", "restarts", "clock set back", "clock set forward"] {
        simulated("server", name);
    }
    for name in ["answers lost", "calls hung up", "calls made again", "usage times of wrong clocks"]
    {
        simulated("clients", name);
    }
    for name in
        ["Duplicate", "Duplicate with a conflict", "Expired", "InvalidTimestamp", "accepted"]
    {
        simulated("verdicts on records", name);
        simulated("verdicts on events", name);
    }
    for name in ["InvalidId", "InvalidProductId", "InvalidQuantity", "InvalidSkuId"] {
        simulated("verdicts on records", name);
    }
    for name in ["accepted", "another one was recorded before", "invalid", "recorded before"] {
        simulated("verdicts on batches", name);
    }
    assert!(report["clock_changes"].as_u64().unwrap() > 0, "{report:#}");
}

#[test]
fn what_a_simulation_prints_and_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept");
    let kept_text = kept.to_str().unwrap();
    let size = ["simulate", "--seed", "3", "--days", "2", "--customers", "12"];
    let simulate = |more: &[&str]| {
        let mut command = meterd(&size);
        command.args(more).env("TMPDIR", directory.path());
        run(command)
    };
    let shown = simulate(&["--keep", kept_text]).ok();
    for part in
        ["simulated", "invariant", "2. a uuid", "an invoice is the sum", "server", "crashes"]
    {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert_eq!(shown.lines().last(), Some("PASS seed=3"), "{shown}");
    assert_verified(&kept);
    simulate(&["--keep", kept_text]).fails(2, &["holds something"]);
}

#[test]
fn sizes_have_limits_with_names() {
    for (arguments, parts) in [
        (["--days", "0"], ["--days", "1..=366"]),
        (["--days", "367"], ["--days", "1..=366"]),
        (["--customers", "0"], ["--customers", "1..=10000"]),
        (["--customers", "10001"], ["--customers", "1..=10000"]),
        (["--seed", "-1"], ["--seed", "invalid"]),
    ] {
        let mut command = meterd(&["simulate"]);
        command.args(arguments);
        run(command).fails(2, &parts);
    }
}
