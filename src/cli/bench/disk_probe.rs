//! What the disk does on its own: no server can acknowledge a lone call faster than this.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{load::Interrupted, temporary_directory};
use crate::cli::CommandResult;

/// About what a commit writes: its records, and the pages around them.
const APPEND_BYTES: usize = 64 * 1024;
const LENGTH: Duration = Duration::from_secs(2);
/// 512 MiB in all. Where fdatasync costs nothing, as in memory, the time alone would be no limit.
const APPENDS_MAX: u64 = 8192;
const LATENCY_MICROSECONDS_MAX: u64 = 3_600_000_000;

/// Appends, each of them durable before the next.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DiskProbe {
    append_bytes: usize,
    appends: u64,
    pub(super) appends_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl DiskProbe {
    pub(super) const NAME: &'static str = "fdatasync 64 KiB";

    /// Appends to a new file below `parent`, where the servers' data directories are as well.
    pub(super) async fn run(
        parent: Option<&Path>,
        interrupted: &Interrupted,
    ) -> CommandResult<Self> {
        let directory = temporary_directory(parent)?;
        let file = directory.path().join("appended");
        let interrupted = interrupted.clone();
        let probe =
            tokio::task::spawn_blocking(move || append(&file, || *interrupted.borrow())).await;
        Ok(probe.context("the probe of the disk failed")??)
    }
}

fn append(file: &Path, enough: impl Fn() -> bool) -> anyhow::Result<DiskProbe> {
    let cannot = || format!("cannot append to {}", file.display());
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_MICROSECONDS_MAX, 3)?;
    // Not of zeros, which some disks do not write.
    let mut block = vec![0; APPEND_BYTES];
    getrandom::fill(&mut block).context("cannot make up what to append")?;
    let mut file =
        OpenOptions::new().create_new(true).append(true).open(file).with_context(cannot)?;
    let started = Instant::now();
    while started.elapsed() < LENGTH && latencies.len() < APPENDS_MAX && !enough() {
        let before = Instant::now();
        file.write_all(&block).with_context(cannot)?;
        file.sync_data().with_context(cannot)?;
        let microseconds = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        latencies.saturating_record(microseconds.max(1));
    }
    let seconds = started.elapsed().as_secs_f64();
    let milliseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(DiskProbe {
        append_bytes: APPEND_BYTES,
        appends: latencies.len(),
        appends_per_second: latencies.len() as f64 / seconds.max(0.001),
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn appends_are_counted_and_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("appended");
        let left = Cell::new(5);
        let probe = append(&file, || left.replace(left.get() - 1) == 0).unwrap();
        assert_eq!(probe.appends, 5);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 5 * 64 * 1024);
        assert!(probe.p50_ms > 0.0 && probe.p50_ms <= probe.p99_ms);
        assert!(probe.appends_per_second > 0.0);
        // Never into a file that is there.
        assert!(append(&file, || true).is_err());
    }
}
