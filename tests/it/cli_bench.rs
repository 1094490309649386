//! The bench, with the real binary. Nothing here depends on how fast it is.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    command::{Ran, meterd, run},
    process::{MeterdProcess, assert_verified, serve_command},
    server::TOKEN,
};

const SHORT: [&str; 4] = ["--duration", "300ms", "--warm-up", "100ms"];
const FEW: [&str; 6] = ["--connections", "2", "--callers", "3", "--products", "3"];

/// The cases of a comparison without PostgreSQL.
const MEASURED_ALWAYS: [&str; 6] =
    ["unary, one caller", "no-op unary", "unary", "no-op stream", "stream", "REST"];

/// A short run that keeps its temporary files in `directory`.
fn bench(directory: &Path, arguments: &[&str]) -> Ran {
    let mut all = vec!["bench"];
    all.extend(SHORT);
    all.extend(FEW);
    all.extend(arguments);
    let mut command = meterd(&all);
    command.env("TMPDIR", directory);
    run(command)
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

/// Checks the counts of a run; answers how many records it had stored.
#[track_caller]
fn checked(outcome: &Value, duplicates: bool) -> u64 {
    let count = |name: &str| outcome["verdicts"][name].as_u64().unwrap();
    assert!(count("records") > 0, "{outcome:#}");
    assert_eq!(count("accepted"), count("expected_accepted"), "{outcome:#}");
    assert_eq!(count("duplicates"), count("expected_duplicates"), "{outcome:#}");
    assert_eq!(count("records"), count("accepted") + count("duplicates"), "{outcome:#}");
    assert_eq!(count("duplicates") > 0, duplicates, "{outcome:#}");
    for none in ["wrong", "unanswered", "expected_either"] {
        assert_eq!(count(none), 0, "{outcome:#}");
    }
    assert!(outcome["failures"].as_object().unwrap().is_empty(), "{outcome:#}");
    count("accepted")
}

#[test]
fn a_server_of_its_own_is_measured_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let ran = bench(directory.path(), &["--mode", "unary", "--uuid", "v7", "--seed", "42"]);
    assert!(ran.stderr.contains("seed 42"), "{}", ran.stderr);
    let shown = ran.ok();
    for part in [
        "records/s",
        "calls/s",
        "latency p99.9",
        "accepted",
        "s per million records",
        "bytes/record stored",
        "MiB at most",
        "verdicts are the expected ones",
    ] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_holds_what_every_mode_says_it_stored() {
    let directory = tempfile::tempdir().unwrap();
    let server = MeterdProcess::start(serve_command(&[], &directory.path().join("data")));
    let url = format!("http://{}", server.api);
    let mut stored = 0;
    for (mode, more) in [
        ("unary", ["--records", "7"].as_slice()),
        ("unary", &["--rate", "2000", "--uuid", "v7"]),
        ("stream", &["--records", "100", "--stored", "2500"]),
        ("stream", &["--rate", "20000"]),
        ("rest", &["--records", "25"]),
        ("rest", &["--rate", "500"]),
    ] {
        let mut all = vec!["--target", &url, "--token", TOKEN, "--output", "json"];
        all.extend(["--mode", mode, "--duplicates", "20"]);
        all.extend(more);
        let outcome = json(bench(directory.path(), &all));
        assert_eq!(outcome["mode"], mode);
        assert!(outcome["server"].is_null(), "nobody can tell what a foreign server uses");
        assert_eq!(outcome["rate_records_per_second"].is_null(), !more.contains(&"--rate"));
        // What was stored before the run is not counted as its own, and comes in whole messages.
        let before = if more.contains(&"--stored") { 3000 } else { 0 };
        stored += checked(&outcome, true) + before;
        assert_eq!(server.counted().await, stored, "{outcome:#}");
    }
    let process = server.id();
    assert!(server.terminate(process));
}

#[test]
fn a_server_that_knows_better_fails_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("kept");
    let arguments = ["--seed", "7", "--data-dir", data_dir.to_str().unwrap()];
    bench(directory.path(), &arguments).ok();
    assert_verified(&data_dir);
    // The same uuids again: none of them is new.
    bench(directory.path(), &arguments)
        .fails(1, &["verdicts are not the expected ones", "was to be accepted"]);
}

#[test]
fn a_sweep_is_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("latency.svg");
    let arguments = ["--sweep=25,50", "--plot", plot.to_str().unwrap(), "--output", "json"];
    let sweep = json(bench(directory.path(), &arguments));
    checked(&sweep["closed"], false);
    let steps = sweep["open"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    for (step, percent) in steps.iter().zip([25, 50]) {
        assert_eq!(step["percent"], percent);
        checked(step, false);
    }
    let svg = std::fs::read_to_string(plot).unwrap();
    assert_eq!(svg.matches("<circle").count(), 4);
}

#[test]
fn ways_to_report_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let compared =
        json(bench(directory.path(), &["--compare", "--repeats", "1", "--output", "json"]));
    let cases = compared["cases"].as_array().unwrap();
    let names: Vec<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names, MEASURED_ALWAYS);
    for case in cases {
        let outcomes = case["outcomes"].as_array().unwrap();
        assert_eq!(outcomes.len(), 1);
        checked(&outcomes[0], false);
    }
    let disk = compared["disk"].as_array().unwrap();
    assert_eq!(disk.len(), 1);
    assert!(disk[0]["appends_per_second"].as_f64().unwrap() > 0.0, "{disk:#?}");
    let ratios = compared["ratios"].as_array().unwrap();
    assert!(ratios.iter().all(|ratio| ratio["min"] == ratio["max"]));
    let figures: Vec<&str> = ratios.iter().map(|ratio| ratio["of"].as_str().unwrap()).collect();
    assert_eq!(figures[..4], ["records_per_second"; 4]);
    assert_eq!(figures[4..], ["p50_ms"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn an_overloaded_server_refuses_and_nothing_counts_twice() {
    let directory = tempfile::tempdir().unwrap();
    // Room for one call only, so that most are refused.
    let arguments = ["--output", "json", "--duplicates", "10", "--", "--calls-in-flight-max", "1"];
    let outcome = json(bench(directory.path(), &arguments));
    assert!(outcome["failures"]["RESOURCE_EXHAUSTED"].as_u64().unwrap() > 0, "{outcome:#}");
    assert_eq!(outcome["verdicts"]["wrong"], 0, "{outcome:#}");
}

#[test]
fn an_interrupted_run_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = meterd(&["bench", "--warm-up", "0s", "--duration", "1h", "--output", "json"]);
    command
        .env("TMPDIR", directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It says that it measures once everything is prepared.
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("measuring") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0);
    }
    let status = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["interrupted"], true);
    assert_eq!(outcome["verdicts"]["wrong"], 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn options_that_cannot_be_meant_are_named_with_their_limits() {
    for (arguments, parts) in [
        (["--records", "26"].as_slice(), ["--records is 26", "at most 25"]),
        (&["--mode", "stream", "--records", "1001"], ["--records is 1001", "at most 1000"]),
        (&["--products", "1000", "--skus", "10"], ["--products 1000", "10000"]),
        (&["--duration", "0s"], ["--duration is 0s", ""]),
        (&["--duration", "25h"], ["--duration", "24h"]),
        (&["--usage-spread", "14m"], ["--usage-spread is 14m", "from 15m to 366d"]),
        (&["--usage-spread", "367d"], ["--usage-spread", "366d"]),
        (&["--duration", "41m", "--target", "http://127.0.0.1:1"], ["--duration", "40m"]),
        (&["--duplicates", "101"], ["--duplicates", "0..=100"]),
        (&["--connections", "0"], ["--connections", "1..=256"]),
        (&["--callers", "1025"], ["--callers", "1..=1024"]),
        (&["--target", "localhost"], ["--target", "http://127.0.0.1:8080"]),
        (&["--target", "http://127.0.0.1:1", "--data-dir", "x"], ["--target", "--data-dir"]),
        (&["--rate", "1", "--sweep"], ["--rate", "--sweep"]),
        (&["--sweep=0"], ["--sweep", "1..=200"]),
        (&["--repeats", "2"], ["--compare", ""]),
        (&["--compare", "--mode", "rest"], ["--compare", "--mode"]),
        (&["--postgres", "postgres://127.0.0.1/usage"], ["--compare", ""]),
        (&["--compare", "--postgres", "127.0.0.1"], ["--postgres", "postgres://"]),
        (
            &["--compare", "--postgres", "postgres://127.0.0.1/usage?sslmode=require"],
            ["--postgres demands TLS", "sslmode=disable"],
        ),
    ] {
        let mut all = vec!["bench"];
        all.extend(arguments);
        run(meterd(&all)).fails(2, &parts);
    }
    let nowhere = ["bench", "--target", "http://127.0.0.1:1"];
    run(meterd(&nowhere)).fails(1, &["cannot reach the server"]);
    let nowhere = ["bench", "--compare", "--postgres", "postgres://u:secret@127.0.0.1:1/usage"];
    let ran = run(meterd(&nowhere));
    ran.fails(1, &["cannot reach PostgreSQL (--postgres)"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}
