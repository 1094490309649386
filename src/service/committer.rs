//! Group commit: one thread decides and stores, for everybody.
//!
//! It takes whatever arrived while the disk was busy with the group before, hands it to the store as
//! one group, and wakes the callers when all of it is on the disk. Under load hundreds of calls share
//! the cost of one fdatasync; a lone caller waits for one.
//!
//! Once a submission is in the queue its fate is the committer's: a caller that hangs up changes
//! nothing. Answers leave in the order of the queue, duplicates included, so nobody is told of a
//! duplicate whose original is not yet on the disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use super::{ServiceError, clock::Clock};
use crate::{
    domain::{usage::Submission, verdict::Decision},
    store::{Probe, ProbeResult, ProbedSubmission, UsageStore},
};

/// Suggested to callers that are refused: a few groups later there is room again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub struct CommitterLimits {
    /// Records that may wait or be under way. Default 65,536.
    pub queued_records_max: u32,
    /// Records of one group: bounds how long a caller waits behind others. Default 16,384.
    pub group_records_max: usize,
    /// Threads that may read the uuid index at once. Default 4.
    pub probe_threads_max: usize,
}

impl Default for CommitterLimits {
    fn default() -> Self {
        Self { queued_records_max: 65_536, group_records_max: 16_384, probe_threads_max: 4 }
    }
}

/// What to do when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Refuse, so that the caller can go elsewhere or try again.
    Refuse,
    /// Wait, which slows the caller down.
    Wait,
}

type Answer = oneshot::Sender<Result<Vec<Decision>, ServiceError>>;

struct Waiting {
    probed: ProbedSubmission,
    answer: Answer,
    _room: OwnedSemaphorePermit,
}

/// The queue in front of a store, and the thread behind it.
pub struct Committer {
    store: Arc<dyn UsageStore>,
    room: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    limits: CommitterLimits,
    // Taken by `shut_down`.
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts the committer of a store.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if no thread can be started.
    pub fn start(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        limits: CommitterLimits,
    ) -> Result<Arc<Self>, ServiceError> {
        // The permits bound what waits; every submission takes at least one, so this is never full.
        let (sender, receiver) = mpsc::channel(limits.queued_records_max.max(1) as usize);
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn({
                let store = Arc::clone(&store);
                move || commit_groups(&*store, &*clock, receiver, limits.group_records_max)
            })
            .map_err(|error| ServiceError::Internal(error.to_string().into()))?;
        Ok(Arc::new(Self {
            store,
            room: Arc::new(Semaphore::new(limits.queued_records_max.max(1) as usize)),
            probes: Arc::new(Semaphore::new(limits.probe_threads_max.max(1))),
            limits,
            queue: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Has a submission decided and stored; durable on return. Dropping the future before it was
    /// queued withdraws the submission; afterwards it changes nothing.
    ///
    /// # Errors
    /// [`ServiceError::Overloaded`] if there is no room and `admission` says to refuse;
    /// [`ServiceError::Unavailable`] if the store does not take writes or meterd shuts down.
    pub async fn submit(
        &self,
        submission: Submission,
        admission: Admission,
    ) -> Result<Vec<Decision>, ServiceError> {
        if submission.records.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.enter(submission.records.len(), admission).await?;
        let (submission, probe) = self.probe(submission).await?;
        let (answer, answered) = oneshot::channel();
        let waiting =
            Waiting { probed: ProbedSubmission { submission, probe }, answer, _room: room };
        let queue = self.queue.lock().clone().ok_or_else(shutting_down)?;
        queue.send(waiting).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    async fn enter(
        &self,
        records: usize,
        admission: Admission,
    ) -> Result<OwnedSemaphorePermit, ServiceError> {
        // A submission larger than the whole queue goes alone.
        let permits =
            u32::try_from(records).unwrap_or(u32::MAX).min(self.limits.queued_records_max.max(1));
        let room = Arc::clone(&self.room);
        match admission {
            Admission::Wait => room.acquire_many_owned(permits).await.map_err(|_| shutting_down()),
            Admission::Refuse => {
                room.try_acquire_many_owned(permits).map_err(|error| match error {
                    TryAcquireError::NoPermits => {
                        ServiceError::Overloaded { retry_after: RETRY_AFTER }
                    }
                    TryAcquireError::Closed => shutting_down(),
                })
            }
        }
    }

    /// Looks the uuids up; on a thread that may block if memory cannot tell.
    async fn probe(
        &self,
        submission: Submission,
    ) -> Result<(Submission, ProbeResult), ServiceError> {
        if let Probe::Settled(result) = self.store.probe(&submission) {
            return Ok((submission, result));
        }
        self.read(move |store| {
            let result = store.settle(&submission)?;
            Ok((submission, result))
        })
        .await
    }

    /// Runs a read of the store on one of a few threads that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permit = Arc::clone(&self.probes).acquire_owned().await.map_err(|_| shutting_down())?;
        let store = Arc::clone(&self.store);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&*store)
        });
        match reading.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServiceError::Internal(error.to_string().into())),
        }
    }

    /// Records that wait or are under way.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        (self.limits.queued_records_max.max(1) as usize)
            .saturating_sub(self.room.available_permits())
    }

    /// Takes nothing more, finishes what is queued, and ends the thread. Blocks until then.
    pub fn shut_down(&self) {
        self.room.close();
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // A panic in the store was caught inside.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn shutting_down() -> ServiceError {
    ServiceError::Unavailable("meterd is shutting down".into())
}

fn stopped() -> ServiceError {
    ServiceError::Unavailable("the committer has stopped".into())
}

fn commit_groups(
    store: &dyn UsageStore,
    clock: &dyn Clock,
    mut queue: mpsc::Receiver<Waiting>,
    group_records_max: usize,
) {
    let mut group = Vec::new();
    let mut answers = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut records = 0;
        let mut next = Some(first);
        while let Some(waiting) = next {
            records += waiting.probed.submission.records.len();
            group.push(waiting.probed);
            answers.push((waiting.answer, waiting._room));
            next = if records < group_records_max { queue.try_recv().ok() } else { None };
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| store.commit(&group, clock.now())));
        let panicked = outcome.is_err();
        match outcome {
            Ok(Ok(decisions)) => {
                debug_assert_eq!(
                    decisions.len(),
                    answers.len(),
                    "one list of decisions per submission"
                );
                for ((answer, room), decisions) in answers.drain(..).zip(decisions) {
                    drop(room);
                    // The caller may have hung up; its records are stored all the same.
                    let _ = answer.send(Ok(decisions));
                }
            }
            Ok(Err(error)) => fail(&mut answers, &error.into()),
            Err(_) => fail(
                &mut answers,
                &ServiceError::Unavailable("the store panicked while committing".into()),
            ),
        }
        group.clear();
        if panicked {
            // Nobody can tell what state the store is in. Ending the thread refuses all that follows.
            tracing::error!("the store panicked while committing; restart meterd");
            return;
        }
    }
}

fn fail(answers: &mut Vec<(Answer, OwnedSemaphorePermit)>, error: &ServiceError) {
    for (answer, _) in answers.drain(..) {
        let _ = answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests;
