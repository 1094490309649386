//! How far the writing has come: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::ProgressBar;

use crate::cli::{
    output::grouped,
    terminal::{progress_bar, tell},
};

/// Shared by all callers.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bar: Option<ProgressBar>,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            progress_bar(Some(total), "{bar:40.cyan} {human_pos}/{human_len} records, {eta} left")
        });
        Self(Arc::new(Shared { bar, total, done: AtomicU64::new(0) }))
    }

    /// More records are answered.
    pub(super) fn add(&self, records: usize) {
        let records = records as u64;
        let before = self.0.done.fetch_add(records, Ordering::Relaxed);
        match &self.0.bar {
            Some(bar) => bar.inc(records),
            None => {
                let tenth = |done: u64| done * 10 / self.0.total.max(1);
                if tenth(before) != tenth(before + records) {
                    let (done, total) = (grouped(before + records), grouped(self.0.total));
                    tell(format_args!("{done} of {total} records answered"));
                }
            }
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0.bar {
            bar.finish_and_clear();
        }
    }
}
