//! Times the pieces that `instructions` counts, one by one, for people who profile.
//!
//! `cargo bench --bench pieces`, or `-- probe` for one of them. Times are of this machine and this moment; nothing is
//! checked. What `commit` and `commit-lone` take is mostly the disk's.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use criterion::Criterion;

use crate::pieces::PIECES;

#[path = "support/pieces/mod.rs"]
mod pieces;
mod support;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for piece in PIECES {
        // Set up only if it is asked for, and once.
        let mut work = None;
        criterion.bench_function(piece.name, |bencher| {
            let work = work.get_or_insert_with(piece.set_up);
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    work.prepare();
                    let began = Instant::now();
                    work.run();
                    took += began.elapsed();
                }
                took
            });
        });
    }
    criterion.final_summary();
}
