//! Counts the instructions of hot pieces under callgrind, and compares them with a committed baseline: a slowdown shows
//! without a timed test, on a busy machine as well as on an idle one.
//!
//! `.ci/instructions` checks, and says how to renew the baseline. `cargo bench --bench instructions` only prints the counts
//! of the build as it is released, which are others. Needs valgrind.
//!
//! The program starts itself under callgrind, once for each piece. Only what the calling thread does inside of
//! [`counted_piece`] is counted: neither set-up, nor background threads, nor the disk.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::{hint::black_box, process::ExitCode};

use crate::{
    counting::Counts,
    pieces::{PIECES, Work},
};

#[path = "support/baseline.rs"]
mod baseline;
#[path = "support/counting.rs"]
mod counting;
#[path = "support/pieces/mod.rs"]
mod pieces;
mod support;

/// Runs before counting starts: caches fill, and everything lazy is made.
const WARM_UP_ROUNDS: u32 = 3;
const RENEW: &str = "METERD_WRITE_INSTRUCTIONS";

/// Callgrind finds this function by its name; see [`counting`].
#[inline(never)]
fn counted_piece(work: &mut dyn Work) {
    work.run();
    // What is called last must return to here.
    black_box(());
}

fn run(name: &str) {
    let piece = PIECES.iter().find(|piece| piece.name == name).unwrap();
    let mut work = (piece.set_up)();
    for _ in 0..WARM_UP_ROUNDS {
        work.prepare();
        work.run();
    }
    for _ in 0..piece.rounds {
        work.prepare();
        counted_piece(&mut *work);
    }
}

fn count() -> Counts {
    PIECES
        .iter()
        .map(|piece| (piece.name.to_owned(), counting::count(piece.name, piece.rounds)))
        .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [counting::PIECE, name] => run(name),
        ["--check", ..] if !cfg!(target_arch = "x86_64") => {
            println!("SKIPPED: the baseline is of x86_64, and other processors count otherwise");
        }
        ["--check", ..] if std::env::var_os(RENEW).is_some() => {
            baseline::write(&count());
            println!("{} is renewed; say in the commit what changed the counts", baseline::PATH);
        }
        ["--check", ..] => {
            if !baseline::holds(&count()) {
                eprintln!(
                    "\nWhere they go: callgrind_annotate {}/<piece>.out\nIf they are worth it: {RENEW}=1 .ci/instructions, and commit {}",
                    counting::directory().display(),
                    baseline::PATH
                );
                return ExitCode::FAILURE;
            }
        }
        _ => {
            for (name, count) in count() {
                println!("{name:12} {count:>10}");
            }
        }
    }
    ExitCode::SUCCESS
}
