//! The loop behind the queue: takes what waits as one group, has it stored, and answers.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{Answer, Room, Waiting, Work};
use crate::{
    domain::{asset_usage::BatchDecision, verdict::Decision},
    service::{ServiceError, clock::Clock},
    store::{CommitDecisions, CommitGroup, ReportDecision, StoreError, UsageStore},
};

/// Commits what is queued, group by group.
pub(super) struct GroupCommit {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Waiting>,
    group_records_max: usize,
    // What came before the queue: what did not fit the group, and, while the store is backlogged, those who wait.
    deferred: VecDeque<Waiting>,
    group: CommitGroup,
    callers: Callers,
    // Dropped at the end, after the store: whoever watches it knows that the loop is over.
    _running: watch::Sender<()>,
}

/// What the store made of a group; an error of the thread if it panicked.
type Outcome = std::thread::Result<Result<CommitDecisions, StoreError>>;

impl GroupCommit {
    pub(super) fn new(
        store: Arc<dyn UsageStore>,
        clock: Arc<dyn Clock>,
        queue: mpsc::Receiver<Waiting>,
        group_records_max: usize,
        running: watch::Sender<()>,
    ) -> Self {
        Self {
            store,
            clock,
            queue,
            group_records_max,
            deferred: VecDeque::new(),
            group: CommitGroup::default(),
            callers: Callers::default(),
            _running: running,
        }
    }

    /// Commits until the queue is closed and empty, or the store panics. Blocks.
    pub(super) fn run(mut self) {
        loop {
            if self.has_nothing_to_do() {
                self.deferred.extend(self.queue.blocking_recv());
            }
            if !self.gather() {
                return;
            }
            let outcome = self.store();
            if self.answer(outcome).is_break() {
                return;
            }
        }
    }

    /// The same as a task. A commit takes its time: a group that is dropped early was not stored, and one that is
    /// dropped late was, and nobody heard of it.
    pub(super) async fn run_in_turn(mut self, commit_time: Duration) {
        loop {
            if self.has_nothing_to_do() {
                self.deferred.extend(self.queue.recv().await);
            }
            if !self.gather() {
                return;
            }
            tokio::time::sleep(commit_time / 2).await;
            let outcome = self.store();
            tokio::time::sleep(commit_time / 2).await;
            if self.answer(outcome).is_break() {
                return;
            }
        }
    }

    fn has_nothing_to_do(&self) -> bool {
        self.callers.are_none() && self.deferred.is_empty()
    }

    /// Takes whatever waits, within the limit of a group. Whether there is anything to store.
    fn gather(&mut self) -> bool {
        let mut records = group_records(&self.group);
        while let Some(waiting) = self.deferred.pop_front().or_else(|| self.queue.try_recv().ok()) {
            records = records.saturating_add(waiting.records());
            if records > self.group_records_max && !self.callers.are_none() {
                self.deferred.push_front(waiting);
                break;
            }
            self.callers.join(&mut self.group, waiting);
        }
        !self.callers.are_none()
    }

    fn store(&self) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.store.commit(&self.group, self.clock.now())))
    }

    /// Wakes the callers of the group. Whether to go on.
    fn answer(&mut self, outcome: Outcome) -> ControlFlow<()> {
        if matches!(outcome, Ok(Err(StoreError::Backlogged))) {
            self.shed();
            return ControlFlow::Continue(());
        }
        let group = std::mem::take(&mut self.group);
        let broken = match outcome {
            Ok(Ok(decisions)) if fits(&group, &decisions) => {
                self.callers.answer(decisions);
                None
            }
            Ok(Ok(_)) => Some("the store did not decide everything"),
            Ok(Err(error)) => {
                self.callers.fail(&error.into());
                None
            }
            Err(_) => Some("the store panicked while committing"),
        };
        let Some(text) = broken else { return ControlFlow::Continue(()) };
        tracing::error!("{text}; restart meterd");
        self.callers.fail(&ServiceError::Unavailable(text.into()));
        // Nobody can tell what state the store is in. Ending the loop refuses all that follows.
        ControlFlow::Break(())
    }

    /// Refuses the callers that do not wait; the others are stored when the store is ready again. After a shutdown has begun
    /// nobody waits for that.
    fn shed(&mut self) {
        let error = ServiceError::from(StoreError::Backlogged);
        let may_wait = !self.queue.is_closed();
        self.callers.shed(&mut self.group, may_wait, &error);
        while let Ok(waiting) = self.queue.try_recv() {
            self.deferred.push_back(waiting);
        }
        // Refused in place: those who wait are bounded by their part of the queue.
        for waiting in std::mem::take(&mut self.deferred) {
            if may_wait && waiting.room.waits() {
                self.deferred.push_back(waiting);
            } else {
                waiting.refuse(&error);
            }
        }
    }
}

fn group_records(group: &CommitGroup) -> usize {
    let records = group.submissions.iter().map(|probed| probed.report.records.len());
    let events = group.api_reports.iter().map(|probed| probed.report.events.len());
    let usages = group.batches.iter().map(|batch| batch.usages.len());
    records.chain(events).chain(usages).sum()
}

/// Whether there is a decision for everything: one that is missing must not pass for acceptance.
fn fits(group: &CommitGroup, decisions: &CommitDecisions) -> bool {
    let records = group.submissions.iter().map(|probed| probed.report.records.len());
    let events = group.api_reports.iter().map(|probed| probed.report.events.len());
    decides(records, &decisions.submissions)
        && decides(events, &decisions.api_reports)
        && group.batches.len() == decisions.batches.len()
}

/// Whether every report, of so many records or events, is decided.
fn decides(counts: impl ExactSizeIterator<Item = usize>, decisions: &[ReportDecision]) -> bool {
    let is_decided = |(count, decision): (usize, &ReportDecision)| {
        decision.as_ref().map_or(true, |decisions| decisions.len() == count)
    };
    counts.len() == decisions.len() && counts.zip(decisions).all(is_decided)
}

/// Those who wait for a group, in the order of the group.
#[derive(Default)]
struct Callers {
    submissions: Vec<(Answer<Vec<Decision>>, Room)>,
    api_reports: Vec<(Answer<Vec<Decision>>, Room)>,
    batches: Vec<(Answer<BatchDecision>, Room)>,
}

impl Callers {
    fn are_none(&self) -> bool {
        self.submissions.is_empty() && self.api_reports.is_empty() && self.batches.is_empty()
    }

    /// Refuses those that do not wait, and takes what they sent out of the group.
    fn shed(&mut self, group: &mut CommitGroup, may_wait: bool, error: &ServiceError) {
        shed(&mut group.submissions, &mut self.submissions, may_wait, error);
        shed(&mut group.api_reports, &mut self.api_reports, may_wait, error);
        shed(&mut group.batches, &mut self.batches, may_wait, error);
    }

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
        let answer = |decision: ReportDecision| decision.map_err(ServiceError::from);
        answer_all(&mut self.submissions, decisions.submissions.into_iter().map(answer));
        answer_all(&mut self.api_reports, decisions.api_reports.into_iter().map(answer));
        answer_all(&mut self.batches, decisions.batches.into_iter().map(Ok));
    }

    fn fail(&mut self, error: &ServiceError) {
        answer_all(&mut self.submissions, std::iter::repeat_with(|| Err(error.clone())));
        answer_all(&mut self.api_reports, std::iter::repeat_with(|| Err(error.clone())));
        answer_all(&mut self.batches, std::iter::repeat_with(|| Err(error.clone())));
    }
}

fn shed<W, T>(
    sent: &mut Vec<W>,
    callers: &mut Vec<(Answer<T>, Room)>,
    may_wait: bool,
    error: &ServiceError,
) {
    let all = std::mem::take(sent).into_iter().zip(std::mem::take(callers));
    for (report, (caller, room)) in all {
        if may_wait && room.waits() {
            sent.push(report);
            callers.push((caller, room));
        } else {
            // The caller may have hung up; nothing was stored.
            let _ = caller.send(Err(error.clone()));
        }
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
