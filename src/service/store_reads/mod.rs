//! Reads of the store, which block: off the async workers, a few at a time, organizations and their clients in turn.
//!
//! Who must not wait for whom has threads of its own: answers to callers, what a write waits for, and looking uuids up.
//! However much one organization asks for, another's answers wait for one read of each other organization at most, if
//! there is a thread that is not held by long reads, and its writes wait for no answers at all.

mod fair_queue;
mod threads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use self::{
    fair_queue::{QueueFull, QueueLimits},
    threads::ReadThreads,
};
use super::{ServiceError, committer::Admission, execution::Execution};
use crate::{
    domain::caller::Caller,
    store::{StoreError, UsageStore},
};

/// Threads for the reads that writes wait for. They are short.
const WRITE_READ_THREADS: usize = 4;

/// Suggested to callers that are refused: the threads have taken many turns then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds of the reads that answer callers.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Reads that run at once; those of one organization take half of the threads at most, at least one. Default 4.
    pub threads: usize,
    /// Reads of one organization that may wait for a thread; those of one client may be three quarters of them.
    /// Streams of answers are bounded elsewhere and do not count. Default 256.
    pub queued_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { threads: 4, queued_max: 256 }
    }
}

/// How much waits and was refused, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadStatistics {
    /// Reads that answer callers and wait.
    pub queued_answers: usize,
    /// Reads that writes wait for and that wait themselves.
    pub queued_for_writes: usize,
    /// Look-ups of uuids that wait.
    pub queued_probes: usize,
    /// Reads that were refused because too many of their organization waited.
    pub refused_of_organizations: u64,
    /// Reads that were refused because too many of their client waited.
    pub refused_of_clients: u64,
}

/// The threads that read a store.
pub struct StoreReads {
    answers: ReadThreads,
    for_writes: ReadThreads,
    probes: ReadThreads,
    refused_of_organizations: AtomicU64,
    refused_of_clients: AtomicU64,
}

impl std::fmt::Debug for StoreReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreReads").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

impl StoreReads {
    pub(super) fn new(
        store: &Arc<dyn UsageStore>,
        limits: ReadLimits,
        probe_threads: usize,
        execution: Execution,
    ) -> Self {
        let threads = |limits| ReadThreads::new(Arc::clone(store), limits, execution);
        let half_each = |threads: usize, waiting_max: usize| QueueLimits {
            running_max: threads.max(1),
            organization_running_max: (threads / 2).max(1),
            organization_waiting_max: waiting_max.max(1),
        };
        // Nothing of these is refused: the calls that wait for them are bounded themselves.
        let unlimited = usize::MAX;
        Self {
            answers: threads(half_each(limits.threads, limits.queued_max)),
            for_writes: threads(half_each(WRITE_READ_THREADS, unlimited)),
            // They are so short that taking turns is enough.
            probes: threads(QueueLimits {
                organization_running_max: probe_threads.max(1),
                ..half_each(probe_threads, unlimited)
            }),
            refused_of_organizations: AtomicU64::new(0),
            refused_of_clients: AtomicU64::new(0),
        }
    }

    /// Reads for an answer to a caller. Dropping the future withdraws a read that has not begun.
    ///
    /// # Errors
    /// [`ServiceError::TooManyReads`] if too many of the caller's wait and `admission` says to refuse; otherwise what
    /// the store says.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        caller: &Caller,
        admission: Admission,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let turn = match admission {
            Admission::Wait => self.answers.wait(caller),
            Admission::Refuse => {
                self.answers.wait_or_refuse(caller).map_err(|full| self.refuse(full))?
            }
        };
        self.answers.run(turn, read).await
    }

    /// Counts a read that is refused; what to tell its caller.
    fn refuse(&self, full: QueueFull) -> ServiceError {
        let (refused, whose, queued_max) = match full {
            QueueFull::Organization(max) => (&self.refused_of_organizations, "organization", max),
            QueueFull::Client(max) => (&self.refused_of_clients, "client", max),
        };
        refused.fetch_add(1, Ordering::Relaxed);
        ServiceError::TooManyReads { whose, queued_max, retry_after: RETRY_AFTER }
    }

    /// Reads what a write waits for: never behind reads for answers, and never refused. Dropping the future withdraws a
    /// read that has not begun.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn for_write<T: Send + 'static>(
        &self,
        caller: &Caller,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.for_writes.run(self.for_writes.wait(caller), read).await
    }

    /// Looks uuids up, before a write is queued. Dropping the future withdraws a look-up that has not begun.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn probe<T: Send + 'static>(
        &self,
        caller: &Caller,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.probes.run(self.probes.wait(caller), read).await
    }

    /// How much waits and was refused.
    #[must_use]
    pub fn statistics(&self) -> ReadStatistics {
        ReadStatistics {
            queued_answers: self.answers.waiting(),
            queued_for_writes: self.for_writes.waiting(),
            queued_probes: self.probes.waiting(),
            refused_of_organizations: self.refused_of_organizations.load(Ordering::Relaxed),
            refused_of_clients: self.refused_of_clients.load(Ordering::Relaxed),
        }
    }
}
