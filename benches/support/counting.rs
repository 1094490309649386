//! This program again, under callgrind.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// Name → instructions of one run, in the order of the pieces.
pub(crate) type Counts = Vec<(String, u64)>;

/// The argument that says which piece to run.
pub(crate) const PIECE: &str = "--piece";

/// Where callgrind leaves what it saw.
pub(crate) fn directory() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().and_then(|deps| deps.parent()).unwrap().join("instructions")
}

/// The instructions of one run of a piece.
pub(crate) fn count(name: &str, rounds: u32) -> u64 {
    let directory = directory();
    std::fs::create_dir_all(&directory).unwrap();
    let output = Command::new("valgrind")
        // Collects inside of this function alone, on the thread that is in it. The stars are for what compilers put
        // around a name.
        .args(["--tool=callgrind", "--toggle-collect=*counted_piece*"])
        .arg(format!("--callgrind-out-file={}", directory.join(format!("{name}.out")).display()))
        .arg(std::env::current_exe().unwrap())
        .args([PIECE, name])
        .stdin(Stdio::null())
        .output()
        .expect("valgrind cannot be started; install it (apt-get install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed under valgrind:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let collected: u64 = collected.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0);
    assert!(collected > 0, "callgrind counted nothing in {name}:\n{said}");
    collected / u64::from(rounds)
}
