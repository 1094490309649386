//! A simulated billing month, with the real binary: twenty seeds (`METERD_SIMULATE_SEEDS` for more,
//! `METERD_SIMULATE_SEED` for one).

use std::{
    io::{BufRead as _, BufReader, Read as _},
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;

use crate::support::{
    command::{meterd, run},
    process::assert_verified,
};

const SEEDS: u64 = 20;

/// Few: a month has 744 rounds, in each of which there is something to do whoever reports.
const CUSTOMERS: &str = "12";

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
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return reports;
            }
            eprintln!("simulating: METERD_SIMULATE_SEED={seed}");
            let number = seed.to_string();
            let arguments = ["--seed", &number, "--days", "31", "--customers", CUSTOMERS];
            reports.push(simulate(directory.path(), &arguments));
        }
    };
    let reports: Vec<Value> = std::thread::scope(|scope| {
        let threads = [(); AT_ONCE].map(|()| scope.spawn(one_after_another));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    reports.iter().for_each(assert_checked);
    // A single month need not have the rarest of mistakes.
    if reports.len() as u64 >= SEEDS {
        assert_diverse(&reports);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

/// Every invariant was looked at, in a month in which clocks were set and the server had all its troubles.
#[track_caller]
fn assert_checked(report: &Value) {
    for line in report["invariants"].as_array().unwrap() {
        assert!(line["checked"].as_u64().unwrap() > 0, "{line} in {report:#}");
        assert_eq!(line["violated"], 0, "{line}");
    }
    for name in [
        "catalog changes",
        "crashes",
        "failed writes",
        "full disks",
        "queries held while clients call",
        "restarts",
    ] {
        let count = report["simulated"]["server"][name].as_u64().unwrap_or_default();
        assert!(count > 0, "{name} in {report:#}");
    }
    assert!(report["clock_changes"].as_u64().unwrap() > 0, "{report:#}");
}

/// Together, months have some of everything that clients do.
#[track_caller]
fn assert_diverse(reports: &[Value]) {
    let simulated = |section: &str, name: &str| {
        let of_report = |report: &Value| report["simulated"][section][name].as_u64();
        let count: u64 = reports.iter().filter_map(of_report).sum();
        assert!(count > 0, "{section}: {name}");
    };
    for name in ["clock set back", "clock set forward"] {
        simulated("server", name);
    }
    for name in ["answers lost", "calls hung up", "calls made again", "usage times of wrong clocks"]
    {
        simulated("clients", name);
    }
    for name in
        ["accepted", "duplicate", "duplicate with a conflict", "expired", "invalid timestamp"]
    {
        simulated("verdicts on records", name);
        simulated("verdicts on events", name);
    }
    for name in ["invalid id", "invalid product id", "invalid quantity", "invalid sku id"] {
        simulated("verdicts on records", name);
    }
    for name in ["accepted", "another one was recorded before", "invalid", "recorded before"] {
        simulated("verdicts on batches", name);
    }
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
        (["--seed", "one"], ["--seed", "invalid"]),
    ] {
        let mut command = meterd(&["simulate"]);
        command.args(arguments);
        run(command).fails(2, &parts);
    }
}

#[test]
fn an_interrupted_simulation_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = meterd(&["simulate", "--days", "366", "--customers", "50"]);
    command.env("TMPDIR", directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("seed "), "{said}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("error: interrupted\n") && output.stdout.is_empty(), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}
