//! This program again, under callgrind.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
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

/// Pieces take seconds. One that takes this long waits for something that does not come.
const PIECE_TIMEOUT: Duration = Duration::from_mins(5);

/// The instructions of one run of a piece.
pub(crate) fn count(name: &str, rounds: u32) -> u64 {
    let directory = directory();
    std::fs::create_dir_all(&directory).unwrap();
    let log = directory.join(format!("{name}.log"));
    let valgrind = Command::new("valgrind")
        // Collects inside of this function alone, on the thread that is in it. The stars are for what compilers put
        // around a name.
        .args(["--tool=callgrind", "--toggle-collect=*counted_piece*"])
        // It runs one thread at a time: none may keep the others from ever having a turn.
        .arg("--fair-sched=try")
        .arg(format!("--callgrind-out-file={}", directory.join(format!("{name}.out")).display()))
        .arg(std::env::current_exe().unwrap())
        .args([PIECE, name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .expect("valgrind cannot be started; install it (apt-get install valgrind)");
    let ended = wait(valgrind);
    let said = std::fs::read_to_string(&log).unwrap();
    let ended = ended.unwrap_or_else(|| panic!("{name} did not end in {PIECE_TIMEOUT:?}:\n{said}"));
    assert!(ended.success(), "{name} failed under valgrind:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let collected: u64 = collected.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0);
    assert!(collected > 0, "callgrind counted nothing in {name}:\n{said}");
    collected / u64::from(rounds)
}

/// How it ended; `None` if it had to be ended.
fn wait(mut child: Child) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < PIECE_TIMEOUT {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}
