//! What is measured while callers call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::{
    schedule::Schedule,
    verdict::{Failure, Tally, Verdict},
    workload::Message,
};
use crate::cli::CommandResult;

/// Latencies from a microsecond to an hour, to three digits.
const LATENCY_MICROSECONDS_MAX: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// A run under way. Shared by all callers.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) schedule: Arc<Schedule>,
    warm_up: Duration,
    /// One for each connection, so that callers seldom wait for each other, and the histograms stay few.
    counts: Vec<Mutex<Counts>>,
    /// All that was answered so far, for showing.
    answered_records: AtomicU64,
}

/// What the callers of one connection counted.
#[derive(Debug)]
pub(super) struct Counts {
    /// Of calls that were to start after the warm-up, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// Answered between the end of the warm-up and the end of the run.
    pub(super) calls: u64,
    pub(super) records: u64,
    /// Of everything, the warm-up included.
    pub(super) tally: Tally,
}

impl Counts {
    fn new() -> CommandResult<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MICROSECONDS_MAX, LATENCY_DIGITS)
            .context("cannot make a histogram")?;
        Ok(Self { latency, calls: 0, records: 0, tally: Tally::default() })
    }

    fn record_latency(&mut self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(microseconds.max(1));
    }
}

impl Run {
    pub(super) fn new(
        schedule: Arc<Schedule>,
        warm_up: Duration,
        connections: usize,
    ) -> CommandResult<Arc<Self>> {
        let counts = (0..connections).map(|_| Ok(Mutex::new(Counts::new()?)));
        let counts = counts.collect::<CommandResult<_>>()?;
        Ok(Arc::new(Self { schedule, warm_up, counts, answered_records: AtomicU64::new(0) }))
    }

    /// A call on a connection was answered.
    pub(super) fn answered(
        &self,
        connection: usize,
        intended: Instant,
        message: &Message,
        verdicts: &[Verdict],
    ) {
        let now = Instant::now();
        let records = message.records.len() as u64;
        self.answered_records.fetch_add(records, Ordering::Relaxed);
        let Some(counts) = self.counts.get(connection) else { return };
        let measured_from = self.schedule.started() + self.warm_up;
        let counts = &mut *counts.lock();
        counts.tally.judge(message, verdicts);
        if intended >= measured_from {
            counts.record_latency(now.duration_since(intended));
        }
        if now >= measured_from
            && now.duration_since(self.schedule.started()) < self.schedule.length()
        {
            counts.calls += 1;
            counts.records += records;
        }
    }

    /// A call on a connection failed.
    pub(super) fn failed(&self, connection: usize, failure: &Failure) {
        if let Some(counts) = self.counts.get(connection) {
            counts.lock().tally.fail(failure);
        }
    }

    pub(super) fn answered_records(&self) -> u64 {
        self.answered_records.load(Ordering::Relaxed)
    }

    /// What all connections counted; afterwards they begin anew. Calls that were due and never started count with the
    /// time that they had waited, and are numbered in the second answer.
    pub(super) fn take(&self) -> CommandResult<(Counts, u64)> {
        let mut sum = Counts::new()?;
        for counts in &self.counts {
            let counts = std::mem::replace(&mut *counts.lock(), Counts::new()?);
            sum.latency.add(counts.latency).context("cannot add latencies up")?;
            sum.calls += counts.calls;
            sum.records += counts.records;
            sum.tally.merge(counts.tally);
        }
        let end = self.schedule.started() + self.schedule.length();
        let mut not_started = 0;
        for intended in self.schedule.not_started() {
            not_started += 1;
            if intended >= self.schedule.started() + self.warm_up {
                sum.record_latency(end.saturating_duration_since(intended));
            }
        }
        Ok((sum, not_started))
    }

    /// How long was measured.
    pub(super) fn measured(&self) -> Duration {
        self.schedule.length().saturating_sub(self.warm_up)
    }
}
