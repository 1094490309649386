//! The demo, with the real binary.

use crate::support::{
    command::{meterd, run},
    process::assert_verified,
};

#[test]
fn the_demo_shows_checks_and_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = meterd(&["demo", "--records", "2000"]);
    demo.env("TMPDIR", directory.path());
    let ran = run(demo);
    assert!(ran.stderr.contains("2,000 of 2,000 records answered"), "{}", ran.stderr);
    let shown = ran.ok();
    for part in [
        "accepted",
        "DUPLICATE (identical)",
        "DUPLICATE (conflicting)",
        "INVALID_ID",
        "EXPIRED",
        "object-storage",
        "gigabyte-hour",
        "█",
        "48h",
        "Checked: every verdict",
        "Reported a batch of 3 asset usages",
        "/marketplace/metering/v1/imageProductUsage/write",
        "Restarted: totals are unchanged",
    ] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn what_the_demo_keeps_is_a_sound_store() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept");
    let demo = ["demo", "--records", "500", "--keep", kept.to_str().unwrap()];
    assert!(run(meterd(&demo)).ok().contains("The data stay in"));
    assert_verified(&kept);
    run(meterd(&demo)).fails(2, &["holds something"]);
}
