//! Group commit: one thread decides and stores, for everybody.
//!
//! It takes whatever arrived while the disk was busy with the group before, hands it to the store as
//! one group, and wakes the callers when all of it is on the disk. Under load hundreds of calls share
//! the cost of one fdatasync; a lone caller waits for one.
//!
//! Once a submission is in the queue its fate is the committer's: a caller that hangs up changes
//! nothing. Answers leave in the order of the queue, duplicates included, so nobody is told of a
//! duplicate whose original is not yet on the disk.

mod group_commit;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch};

use self::group_commit::GroupCommit;
use super::{
    ServiceError,
    clock::Clock,
    execution::Execution,
    store_reads::{ReadLimits, StoreReads},
};
use crate::{
    domain::{
        api_usage::ApiReport,
        asset_usage::{AssetBatch, BatchDecision},
        caller::Caller,
        usage::Submission,
        verdict::Decision,
    },
    store::{Probe, ProbeResult, Probed, Reported, StoreError, UsageStore},
};

/// Suggested to callers that are refused: a few groups later there is room again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub struct CommitterLimits {
    /// Records that may wait or be under way. Default 65,536.
    pub queued_records_max: u32,
    /// Records of one group: bounds how long a caller waits behind others. A submission with more is
    /// a group of its own. Default 16,384.
    pub group_records_max: usize,
    /// Threads that may read the uuid index at once. Default 4.
    pub probe_threads_max: usize,
    /// Bounds of the reads that answer callers.
    pub reads: ReadLimits,
}

impl Default for CommitterLimits {
    fn default() -> Self {
        Self {
            queued_records_max: 65_536,
            group_records_max: 16_384,
            probe_threads_max: 4,
            reads: ReadLimits::default(),
        }
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

type Answer<T> = oneshot::Sender<Result<T, ServiceError>>;

enum Work {
    Submission(Probed<Arc<Submission>>, Answer<Vec<Decision>>),
    ApiReport(Probed<ApiReport>, Answer<Vec<Decision>>),
    Batch(AssetBatch, Answer<BatchDecision>),
}

struct Waiting {
    work: Work,
    room: Room,
}

/// A submission's place in the queue.
struct Room {
    _records: OwnedSemaphorePermit,
    /// Of those who wait.
    patient: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Whether its caller prefers waiting to being refused.
    fn waits(&self) -> bool {
        self.patient.is_some()
    }
}

impl Waiting {
    /// Answers that nothing was stored, and why.
    fn refuse(self, error: &ServiceError) {
        // The caller may have hung up.
        match self.work {
            Work::Submission(_, answer) | Work::ApiReport(_, answer) => {
                let _ = answer.send(Err(error.clone()));
            }
            Work::Batch(_, answer) => {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }

    fn records(&self) -> usize {
        match &self.work {
            Work::Submission(probed, _) => probed.report.records.len(),
            Work::ApiReport(probed, _) => probed.report.events.len(),
            Work::Batch(batch, _) => batch.usages.len(),
        }
    }
}

/// A report that has its place in the queue. Dropping it does not withdraw it.
#[derive(Debug)]
pub struct Queued(oneshot::Receiver<Result<Vec<Decision>, ServiceError>>);

impl Queued {
    /// What was decided; durable on return.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if the store does not take writes, [`ServiceError::TooManySeries`] if it would begin too
    /// many series.
    pub async fn decided(self) -> Result<Vec<Decision>, ServiceError> {
        self.0.await.map_err(|_| stopped())?
    }
}

/// The queue in front of a store, and what commits behind it.
pub struct Committer {
    store: Arc<dyn UsageStore>,
    room: Arc<Semaphore>,
    // Those who wait share this part of the room, so that those who do not find some, too.
    patient_room: Arc<Semaphore>,
    reads: Arc<StoreReads>,
    limits: CommitterLimits,
    // Taken by `shut_down`.
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    // Closed once nothing is committed any more.
    running: watch::Receiver<()>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts the committer of a store on a thread of its own.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if no thread can be started.
    pub fn start(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        limits: CommitterLimits,
    ) -> Result<Arc<Self>, ServiceError> {
        Self::start_with(store, clock, limits, Execution::Threads)
    }

    /// Starts the committer of a store. Unless it gets a thread, it belongs to the runtime of the caller, and is over
    /// with it.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if no thread can be started.
    pub fn start_with(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        limits: CommitterLimits,
        execution: Execution,
    ) -> Result<Arc<Self>, ServiceError> {
        // The permits bound what waits; every submission takes at least one, so this is never full.
        let (sender, receiver) = mpsc::channel(limits.queued_records_max.max(1) as usize);
        let (ending, running) = watch::channel(());
        let commits =
            GroupCommit::new(Arc::clone(&store), clock, receiver, limits.group_records_max, ending);
        let thread = match execution {
            Execution::Threads => {
                let thread = std::thread::Builder::new().name("committer".into());
                let spawned = thread.spawn(move || commits.run());
                Some(spawned.map_err(|error| ServiceError::Internal(error.to_string().into()))?)
            }
            Execution::InTurn { commit_time } => {
                tokio::spawn(commits.run_in_turn(commit_time));
                None
            }
        };
        let reads = StoreReads::new(&store, limits.reads, limits.probe_threads_max, execution);
        Ok(Arc::new(Self {
            store: Arc::clone(&store),
            room: Arc::new(Semaphore::new(limits.queued_records_max.max(1) as usize)),
            patient_room: Arc::new(Semaphore::new(patient_records_max(&limits) as usize)),
            reads: Arc::new(reads),
            limits,
            queue: Mutex::new(Some(sender)),
            thread: Mutex::new(thread),
            running,
        }))
    }

    /// Has a submission decided and stored; durable on return. Dropping the future before it was
    /// queued withdraws the submission; afterwards it changes nothing.
    ///
    /// # Errors
    /// [`ServiceError::Overloaded`] if there is no room and `admission` says to refuse; [`ServiceError::TooManySeries`];
    /// [`ServiceError::Unavailable`] if the store does not take writes or meterd shuts down.
    pub async fn submit(
        &self,
        submission: impl Into<Arc<Submission>>,
        admission: Admission,
    ) -> Result<Vec<Decision>, ServiceError> {
        self.queue(submission.into(), admission).await?.decided().await
    }

    /// Gives a submission its place: on return it is decided before every one that is queued later.
    ///
    /// # Errors
    /// What [`Self::submit`] says.
    pub async fn queue(
        &self,
        submission: Arc<Submission>,
        admission: Admission,
    ) -> Result<Queued, ServiceError> {
        self.enqueue(submission, admission, Work::Submission).await
    }

    /// Has events of API usage decided and stored; durable on return. Dropping the future before they were queued
    /// withdraws them; afterwards it changes nothing.
    ///
    /// # Errors
    /// What [`Self::submit`] says.
    pub async fn submit_events(
        &self,
        report: ApiReport,
        admission: Admission,
    ) -> Result<Vec<Decision>, ServiceError> {
        self.enqueue(report, admission, Work::ApiReport).await?.decided().await
    }

    async fn enqueue<T: Send + 'static>(
        &self,
        report: T,
        admission: Admission,
        work: impl FnOnce(Probed<T>, Answer<Vec<Decision>>) -> Work,
    ) -> Result<Queued, ServiceError>
    where
        for<'a> &'a T: Into<Reported<'a>>,
    {
        let (answer, answered) = oneshot::channel();
        let count = Into::<Reported<'_>>::into(&report).count();
        if count == 0 {
            let _ = answer.send(Ok(Vec::new()));
            return Ok(Queued(answered));
        }
        let room = self.enter(count, admission).await?;
        let (report, probe) = self.probe(report).await?;
        self.send(Waiting { work: work(Probed { report, probe }, answer), room }).await?;
        Ok(Queued(answered))
    }

    /// Has a batch of asset usage decided and stored; durable on return. Dropping the future before it was
    /// queued withdraws the batch; afterwards it changes nothing.
    ///
    /// # Errors
    /// What [`Self::submit`] says, with [`Admission::Refuse`].
    pub async fn submit_batch(&self, batch: AssetBatch) -> Result<BatchDecision, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let room = self.enter(batch.usages.len(), Admission::Refuse).await?;
        self.send(Waiting { work: Work::Batch(batch, answer), room }).await?;
        answered.await.map_err(|_| stopped())?
    }

    async fn send(&self, waiting: Waiting) -> Result<(), ServiceError> {
        let queue = self.queue.lock().clone().ok_or_else(shutting_down)?;
        queue.send(waiting).await.map_err(|_| stopped())
    }

    async fn enter(&self, records: usize, admission: Admission) -> Result<Room, ServiceError> {
        // A submission larger than the whole queue goes alone.
        let permits =
            |records_max: u32| u32::try_from(records).unwrap_or(u32::MAX).min(records_max);
        let room_permits = permits(self.limits.queued_records_max.max(1));
        let room = Arc::clone(&self.room);
        match admission {
            Admission::Wait => {
                let patient = Arc::clone(&self.patient_room);
                let patient_permits = permits(patient_records_max(&self.limits));
                let patient = patient
                    .acquire_many_owned(patient_permits)
                    .await
                    .map_err(|_| shutting_down())?;
                let records =
                    room.acquire_many_owned(room_permits).await.map_err(|_| shutting_down())?;
                Ok(Room { _records: records, patient: Some(patient) })
            }
            Admission::Refuse => match room.try_acquire_many_owned(room_permits) {
                Ok(records) => Ok(Room { _records: records, patient: None }),
                Err(TryAcquireError::NoPermits) => {
                    Err(ServiceError::Overloaded { retry_after: RETRY_AFTER })
                }
                Err(TryAcquireError::Closed) => Err(shutting_down()),
            },
        }
    }

    /// Looks the uuids up; on a thread that may block if memory cannot tell.
    async fn probe<T: Send + 'static>(&self, report: T) -> Result<(T, ProbeResult), ServiceError>
    where
        for<'a> &'a T: Into<Reported<'a>>,
    {
        if let Probe::Settled(result) = self.store.probe((&report).into()) {
            return Ok((report, result));
        }
        let caller = Into::<Reported<'_>>::into(&report).caller().clone();
        let settle = move |store: &dyn UsageStore| {
            let result = store.settle((&report).into())?;
            Ok((report, result))
        };
        self.reads.probe(&caller, settle).await
    }

    /// Runs a read of the store that answers a caller, when it is the caller's turn. Dropping the future withdraws a
    /// read that has not begun.
    ///
    /// # Errors
    /// [`ServiceError::TooManyReads`] if too many of the caller's wait and `admission` says to refuse.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        caller: &Caller,
        admission: Admission,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.reads.answer(caller, admission, read).await
    }

    /// Runs a read of the store that a write of the caller waits for: on other threads, and never refused.
    pub(super) async fn read_for_write<T: Send + 'static>(
        &self,
        caller: &Caller,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.reads.for_write(caller, read).await
    }

    /// The threads that read the store, for use cases that do nothing else.
    #[must_use]
    pub fn reads(&self) -> &Arc<StoreReads> {
        &self.reads
    }

    /// Records that wait or are under way.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        (self.limits.queued_records_max.max(1) as usize)
            .saturating_sub(self.room.available_permits())
    }

    /// Whether submissions are taken: not during and after a shutdown, and never again after a panic
    /// in the store, of which the store itself may know nothing.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.queue.lock().as_ref().is_some_and(|queue| !queue.is_closed())
    }

    /// Takes nothing more, and waits until what is queued is stored.
    pub async fn finish(&self) {
        self.close();
        let mut running = self.running.clone();
        // Nothing is ever sent; it fails once the other side is gone.
        let _ = running.changed().await;
    }

    /// Takes nothing more, finishes what is queued, and ends the thread. Blocks until then. Without a thread it does
    /// not wait.
    pub fn shut_down(&self) {
        self.close();
        if let Some(thread) = self.thread.lock().take() {
            // A panic in the store was caught inside.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        self.room.close();
        self.patient_room.close();
        drop(self.queue.lock().take());
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Three quarters of the queue.
fn patient_records_max(limits: &CommitterLimits) -> u32 {
    (limits.queued_records_max / 4 * 3).max(1)
}

fn shutting_down() -> ServiceError {
    ServiceError::Unavailable("meterd is shutting down".into())
}

fn stopped() -> ServiceError {
    ServiceError::Unavailable("the committer has stopped".into())
}

#[cfg(test)]
mod tests;
