//! What one commit takes, and what became of it.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::{
    api_usage::ApiReport,
    asset_usage::{AssetBatch, BatchDecision},
    caller::Caller,
    id::OrganizationId,
    series_limits::TooManySeries,
    usage::{LogSequence, Submission},
    verdict::Decision,
};

/// What became of a report: a decision for each of its records or events, in their order, or why nothing of it is stored.
pub type ReportDecision = Result<Vec<Decision>, TooManySeries>;

/// A report whose uuids are looked up before it is committed.
#[derive(Debug, Clone, Copy)]
pub enum Reported<'a> {
    /// Product usage.
    Records(&'a Submission),
    /// API usage.
    Events(&'a ApiReport),
}

impl<'a> From<&'a Submission> for Reported<'a> {
    fn from(submission: &'a Submission) -> Self {
        Self::Records(submission)
    }
}

impl<'a> From<&'a Arc<Submission>> for Reported<'a> {
    fn from(submission: &'a Arc<Submission>) -> Self {
        Self::Records(submission)
    }
}

impl<'a> From<&'a ApiReport> for Reported<'a> {
    fn from(report: &'a ApiReport) -> Self {
        Self::Events(report)
    }
}

impl<'a> Reported<'a> {
    /// Who sends it.
    #[must_use]
    pub fn caller(self) -> &'a Caller {
        match self {
            Self::Records(submission) => &submission.caller,
            Self::Events(report) => &report.caller,
        }
    }

    /// Whose usage it is.
    #[must_use]
    pub fn organization(self) -> &'a OrganizationId {
        &self.caller().organization
    }

    /// How many records or events it has.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Records(submission) => submission.records.len(),
            Self::Events(report) => report.events.len(),
        }
    }

    /// Their uuids, in the order of the report.
    pub fn uuids(self) -> impl Iterator<Item = Uuid> + use<'a> {
        (0..self.count()).filter_map(move |at| match self {
            Self::Records(submission) => submission.records.get(at).map(|record| record.uuid),
            Self::Events(report) => report.events.get(at).map(|event| event.uuid),
        })
    }

    /// When each was used, in the order of the report.
    pub(super) fn times(self) -> impl Iterator<Item = Timestamp> + use<'a> {
        (0..self.count()).filter_map(move |at| match self {
            Self::Records(submission) => submission.records.get(at).map(|record| record.usage_time),
            Self::Events(report) => report.events.get(at).map(|event| event.time),
        })
    }
}

/// What is known about the uuids of a report before it is committed.
#[derive(Debug, Clone, Default)]
pub struct ProbeResult {
    /// Where each uuid was found, in the order of the report; empty when none was.
    pub known: Vec<Option<LogSequence>>,
    /// The state of the store's index that this was read from. The store reads again while
    /// committing if it has moved on in a way that matters.
    pub generation: u64,
}

/// The outcome of a first, memory-only look.
#[derive(Debug, Clone)]
pub enum Probe {
    /// Everything is known.
    Settled(ProbeResult),
    /// Something can only be told by reading from the disk: call
    /// [`UsageStore::settle`](super::UsageStore::settle) where blocking is allowed.
    NeedsRead,
}

/// A report that is ready for the committer.
#[derive(Debug, Clone)]
pub struct Probed<T> {
    /// The report.
    pub report: T,
    /// What is known about its uuids.
    pub probe: ProbeResult,
}

/// What one commit takes: decided in this order, durable together.
#[derive(Debug, Clone, Default)]
pub struct CommitGroup {
    /// Product usage. Shared with whoever waits for its decisions.
    pub submissions: Vec<Probed<Arc<Submission>>>,
    /// API usage.
    pub api_reports: Vec<Probed<ApiReport>>,
    /// Batches of asset usage.
    pub batches: Vec<AssetBatch>,
}

impl From<Vec<Probed<Arc<Submission>>>> for CommitGroup {
    fn from(submissions: Vec<Probed<Arc<Submission>>>) -> Self {
        Self { submissions, ..Self::default() }
    }
}

impl From<Vec<Probed<ApiReport>>> for CommitGroup {
    fn from(api_reports: Vec<Probed<ApiReport>>) -> Self {
        Self { api_reports, ..Self::default() }
    }
}

impl From<Vec<AssetBatch>> for CommitGroup {
    fn from(batches: Vec<AssetBatch>) -> Self {
        Self { batches, ..Self::default() }
    }
}

/// What became of a [`CommitGroup`], in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitDecisions {
    /// One for each submission.
    pub submissions: Vec<ReportDecision>,
    /// One for each report of API usage.
    pub api_reports: Vec<ReportDecision>,
    /// One decision for each batch.
    pub batches: Vec<BatchDecision>,
}
