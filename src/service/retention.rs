//! Dropping records that are older than they are to be kept.
//!
//! What they add up to, and the uuids, stay for ever. A clock that is wrong by years can at worst make records go too
//! early, which no total notices.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::sync::watch;

use super::{ServiceError, clock::Clock, execution::Execution};
use crate::store::{RecordsDropped, UsageStore};

/// How often old records are looked for, at most.
const LOOK_INTERVAL_MAX: Duration = Duration::from_hours(1);
/// And at least.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long to rest after each call to the store, in lengths of that call: commits need the disk more.
const REST: u32 = 4;
/// The shortest rest: what is waited for may be a checkpoint.
const REST_MIN: Duration = Duration::from_millis(50);

/// Drops old records, now and then.
pub struct Retention {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    keep: SignedDuration,
    execution: Execution,
}

impl std::fmt::Debug for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retention").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl Retention {
    /// Keeps records for so long after they were stored, and looks for older ones where `execution` says.
    #[must_use]
    pub fn new(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        keep: SignedDuration,
        execution: Execution,
    ) -> Self {
        Self { store, clock, keep, execution }
    }

    /// Drops what is too old, again and again, until `stopping` says true.
    pub async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let interval = (self.keep.unsigned_abs() / 10).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX);
        loop {
            let rest = match self.drop_some().await {
                Ok((dropped, took)) if dropped.more_to_come => (took * REST).max(REST_MIN),
                Ok(_) => interval,
                Err(error) => {
                    let error = error.internal_text().unwrap_or_default();
                    tracing::warn!(error, "old records could not be dropped");
                    interval
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Drops a bounded number; says how long that took.
    async fn drop_some(&self) -> Result<(RecordsDropped, Duration), ServiceError> {
        let begun = tokio::time::Instant::now();
        // Before the calendar nothing was stored.
        let Ok(oldest) = self.clock.now().checked_sub(self.keep) else {
            return Ok((RecordsDropped::default(), Duration::ZERO));
        };
        let store = Arc::clone(&self.store);
        let dropped = self.execution.complete(move || store.drop_records(oldest)).await??;
        if dropped.chunks > 0 {
            tracing::info!(
                chunks = dropped.chunks,
                records = dropped.records,
                stored_before = %oldest,
                "dropped records that were kept for long enough; their totals and uuids stay"
            );
        }
        Ok((dropped, begun.elapsed()))
    }
}
