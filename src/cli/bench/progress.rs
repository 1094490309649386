//! How far a run has come, on a terminal.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::measure::Run;
use crate::cli::{output::grouped, terminal::progress_bar};

const REFRESH_INTERVAL: Duration = Duration::from_millis(250);

/// A bar on stderr, of the time or of the records to store.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    counts_records: bool,
    started: Instant,
}

impl Progress {
    pub(super) fn measuring(warm_up: Duration, duration: Duration) -> Self {
        let length = u64::try_from((warm_up + duration).as_millis()).unwrap_or(u64::MAX);
        let bar = progress_bar(Some(length), "{bar:40.cyan} {elapsed} {msg}");
        Self { bar, counts_records: false, started: Instant::now() }
    }

    pub(super) fn filling(records: u64) -> Self {
        let template = "{bar:40.cyan} {human_pos}/{human_len} records stored, {eta} left";
        let bar = progress_bar(Some(records), template);
        Self { bar, counts_records: true, started: Instant::now() }
    }

    /// Shows what becomes of a run; does not end by itself.
    pub(super) async fn follow(&self, run: &Run) {
        let mut before = (Instant::now(), run.answered_records());
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            let now = (Instant::now(), run.answered_records());
            if self.counts_records {
                self.bar.set_position(now.1);
                continue;
            }
            let elapsed = self.started.elapsed().as_millis();
            self.bar.set_position(u64::try_from(elapsed).unwrap_or(u64::MAX));
            let seconds = now.0.duration_since(before.0).as_secs_f64();
            let rate = (now.1 - before.1) as f64 / seconds.max(0.001);
            self.bar.set_message(format!("{} records/s", grouped(rate as u64)));
            before = now;
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
