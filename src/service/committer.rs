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

use super::{ServiceError, clock::Clock, store_reads::StoreReads};
use crate::{
    domain::{
        api_usage::ApiReport,
        asset_usage::{AssetBatch, BatchDecision},
        usage::Submission,
        verdict::Decision,
    },
    store::{CommitDecisions, CommitGroup, Probe, ProbeResult, Probed, Reported, UsageStore},
};

/// Suggested to callers that are refused: a few groups later there is room again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Threads that may read the store at once for anything but looking uuids up.
const READ_THREADS_MAX: usize = 4;

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
    _patient: Option<OwnedSemaphorePermit>,
}

impl Waiting {
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
    /// [`ServiceError::Unavailable`] if the store does not take writes.
    pub async fn decided(self) -> Result<Vec<Decision>, ServiceError> {
        self.0.await.map_err(|_| stopped())?
    }
}

/// The queue in front of a store, and the thread behind it.
pub struct Committer {
    store: Arc<dyn UsageStore>,
    room: Arc<Semaphore>,
    // Those who wait share this part of the room, so that those who do not find some, too.
    patient_room: Arc<Semaphore>,
    probes: StoreReads,
    reads: StoreReads,
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
            store: Arc::clone(&store),
            room: Arc::new(Semaphore::new(limits.queued_records_max.max(1) as usize)),
            patient_room: Arc::new(Semaphore::new(patient_records_max(&limits) as usize)),
            probes: StoreReads::new(Arc::clone(&store), limits.probe_threads_max),
            reads: StoreReads::new(Arc::clone(&store), READ_THREADS_MAX),
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
                Ok(Room { _records: records, _patient: Some(patient) })
            }
            Admission::Refuse => match room.try_acquire_many_owned(room_permits) {
                Ok(records) => Ok(Room { _records: records, _patient: None }),
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
        let settle = move |store: &dyn UsageStore| {
            let result = store.settle((&report).into())?;
            Ok((report, result))
        };
        self.probes.run(settle).await
    }

    /// Runs a read of the store on one of a few threads that may block, which are not those that look
    /// uuids up.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn UsageStore) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.reads.run(read).await
    }

    /// Records that wait or are under way.
    #[must_use]
    pub fn queued_records(&self) -> usize {
        (self.limits.queued_records_max.max(1) as usize)
            .saturating_sub(self.room.available_permits())
    }

    /// Whether submissions are taken: not after [`Committer::shut_down`], and never again after a panic
    /// in the store, of which the store itself may know nothing.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.queue.lock().as_ref().is_some_and(|queue| !queue.is_closed())
    }

    /// Takes nothing more, finishes what is queued, and ends the thread. Blocks until then.
    pub fn shut_down(&self) {
        self.room.close();
        self.patient_room.close();
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

/// Those who wait for a group, in the order of the group.
#[derive(Default)]
struct Callers {
    submissions: Vec<(Answer<Vec<Decision>>, Room)>,
    api_reports: Vec<(Answer<Vec<Decision>>, Room)>,
    batches: Vec<(Answer<BatchDecision>, Room)>,
}

fn commit_groups(
    store: &dyn UsageStore,
    clock: &dyn Clock,
    mut queue: mpsc::Receiver<Waiting>,
    group_records_max: usize,
) {
    let mut group = CommitGroup::default();
    let mut callers = Callers::default();
    let mut left_over: Option<Waiting> = None;
    while let Some(first) = left_over.take().or_else(|| queue.blocking_recv()) {
        let mut records: usize = 0;
        let mut next = Some(first);
        while let Some(waiting) = next {
            records = records.saturating_add(waiting.records());
            callers.join(&mut group, waiting);
            next = queue.try_recv().ok();
            left_over =
                next.take_if(|next| records.saturating_add(next.records()) > group_records_max);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| store.commit(&group, clock.now())));
        let broken = match outcome {
            Ok(Ok(decisions)) if fits(&group, &decisions) => {
                callers.answer(decisions);
                None
            }
            Ok(Ok(_)) => Some("the store did not decide everything"),
            Ok(Err(error)) => {
                callers.fail(&error.into());
                None
            }
            Err(_) => Some("the store panicked while committing"),
        };
        group = CommitGroup::default();
        if let Some(text) = broken {
            tracing::error!("{text}; restart meterd");
            callers.fail(&ServiceError::Unavailable(text.into()));
            // Nobody can tell what state the store is in. Ending the thread refuses all that follows.
            return;
        }
    }
}

/// Whether there is a decision for everything: one that is missing must not pass for acceptance.
fn fits(group: &CommitGroup, decisions: &CommitDecisions) -> bool {
    let records = group.submissions.iter().map(|probed| probed.report.records.len());
    let events = group.api_reports.iter().map(|probed| probed.report.events.len());
    records.eq(decisions.submissions.iter().map(Vec::len))
        && events.eq(decisions.api_reports.iter().map(Vec::len))
        && group.batches.len() == decisions.batches.len()
}

impl Callers {
    fn join(&mut self, group: &mut CommitGroup, Waiting { work, room }: Waiting) {
        match work {
            Work::Submission(probed, answer) => {
                group.submissions.push(probed);
                self.submissions.push((answer, room));
            }
            Work::ApiReport(probed, answer) => {
                group.api_reports.push(probed);
                self.api_reports.push((answer, room));
            }
            Work::Batch(batch, answer) => {
                group.batches.push(batch);
                self.batches.push((answer, room));
            }
        }
    }

    fn answer(&mut self, decisions: CommitDecisions) {
        answer_all(&mut self.submissions, decisions.submissions.into_iter().map(Ok));
        answer_all(&mut self.api_reports, decisions.api_reports.into_iter().map(Ok));
        answer_all(&mut self.batches, decisions.batches.into_iter().map(Ok));
    }

    fn fail(&mut self, error: &ServiceError) {
        answer_all(&mut self.submissions, std::iter::repeat_with(|| Err(error.clone())));
        answer_all(&mut self.api_reports, std::iter::repeat_with(|| Err(error.clone())));
        answer_all(&mut self.batches, std::iter::repeat_with(|| Err(error.clone())));
    }
}

fn answer_all<T>(
    callers: &mut Vec<(Answer<T>, Room)>,
    answers: impl Iterator<Item = Result<T, ServiceError>>,
) {
    for ((caller, room), answer) in callers.drain(..).zip(answers) {
        drop(room);
        // The caller may have hung up; what it sent is stored all the same.
        let _ = caller.send(answer);
    }
}

#[cfg(test)]
mod tests;
