//! The loop behind the queue: takes what waits as one group, has it stored, and answers.

use std::{
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
    store::{CommitDecisions, CommitGroup, StoreError, UsageStore},
};

/// Commits what is queued, group by group.
pub(super) struct GroupCommit {
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Waiting>,
    group_records_max: usize,
    // What did not fit the group before.
    left_over: Option<Waiting>,
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
            left_over: None,
            group: CommitGroup::default(),
            callers: Callers::default(),
            _running: running,
        }
    }

    /// Commits until the queue is closed and empty, or the store panics. Blocks.
    pub(super) fn run(mut self) {
        while let Some(first) = self.left_over.take().or_else(|| self.queue.blocking_recv()) {
            self.gather(first);
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
            let first = match self.left_over.take() {
                Some(first) => Some(first),
                None => self.queue.recv().await,
            };
            let Some(first) = first else { return };
            self.gather(first);
            tokio::time::sleep(commit_time / 2).await;
            let outcome = self.store();
            tokio::time::sleep(commit_time / 2).await;
            if self.answer(outcome).is_break() {
                return;
            }
        }
    }

    /// Takes whatever waits, within the limit of a group.
    fn gather(&mut self, first: Waiting) {
        let mut records: usize = 0;
        let mut next = Some(first);
        while let Some(waiting) = next {
            records = records.saturating_add(waiting.records());
            self.callers.join(&mut self.group, waiting);
            next = self.queue.try_recv().ok();
            self.left_over = next
                .take_if(|next| records.saturating_add(next.records()) > self.group_records_max);
        }
    }

    fn store(&self) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.store.commit(&self.group, self.clock.now())))
    }

    /// Wakes the callers of the group. Whether to go on.
    fn answer(&mut self, outcome: Outcome) -> ControlFlow<()> {
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
}

/// Whether there is a decision for everything: one that is missing must not pass for acceptance.
fn fits(group: &CommitGroup, decisions: &CommitDecisions) -> bool {
    let records = group.submissions.iter().map(|probed| probed.report.records.len());
    let events = group.api_reports.iter().map(|probed| probed.report.events.len());
    records.eq(decisions.submissions.iter().map(Vec::len))
        && events.eq(decisions.api_reports.iter().map(Vec::len))
        && group.batches.len() == decisions.batches.len()
}

/// Those who wait for a group, in the order of the group.
#[derive(Default)]
struct Callers {
    submissions: Vec<(Answer<Vec<Decision>>, Room)>,
    api_reports: Vec<(Answer<Vec<Decision>>, Room)>,
    batches: Vec<(Answer<BatchDecision>, Room)>,
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
