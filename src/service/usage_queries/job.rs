//! A query that was started: what is known of it in memory, and on the disk.
//!
//! Its document says what became of it, and whose result it has; the query itself, which may be large, and the rows are in
//! books of pages of that. A document that says nothing of an end stands for a query that waits or runs, and is run again
//! after a restart.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Operation, computation::Computation, query::Shape};
use crate::{
    domain::id::{ClientId, OrganizationId},
    store::{
        StoreError,
        document::{Collection, Document, DocumentChange},
    },
};

/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running,
    /// Its result can be read.
    Succeeded {
        /// How many rows it has.
        rows: u64,
    },
    /// It failed.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// What was asked for cannot be answered; the text says why, for the caller.
    OfRequest(String),
    /// It cannot be answered now, for lack of room on the disk, say; the text says why, and what to do.
    Unavailable(String),
    /// The server failed; the log says more.
    OfServer,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfRequest(text) | Self::Unavailable(text) => f.write_str(text),
            Self::OfServer => f.write_str("internal failure"),
        }
    }
}

/// A state, and since when it is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) state: JobState,
    pub(super) finished: Option<Timestamp>,
}

impl Progress {
    pub(super) fn is_over(&self) -> bool {
        self.finished.is_some()
    }
}

/// A query.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) operation: Operation,
    /// The client that it is about, if its operation names one.
    pub(super) client: Option<ClientId>,
    /// The client that started it; `None` for queries of earlier versions.
    pub(super) started_by: Option<ClientId>,
    pub(super) created: Timestamp,
    /// What runs for it, and has its rows.
    pub(super) computation: Arc<Computation>,
    /// When it was cancelled, though what it shares may go on.
    pub(super) cancelled: Mutex<Option<Timestamp>>,
}

/// A job on the disk. The names are part of the file format.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    operation: Operation,
    client: Option<String>,
    #[serde(default)]
    started_by: Option<String>,
    /// Whose result it has; its own if absent.
    #[serde(default)]
    result: Option<String>,
    created: String,
    shape: Shape,
    totals_read: u64,
    end: Option<End>,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    time: String,
    outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Succeeded {
        rows: u64,
        #[serde(default)]
        bytes: u64,
    },
    Failed {
        failure: Failure,
    },
    Cancelled,
    Removed,
}

/// A job as its document tells of it.
#[derive(Debug)]
pub(super) struct StoredJob {
    pub(super) job: Job,
    /// It was removed, and what it had may be there still.
    pub(super) is_removed: bool,
}

impl Job {
    pub(super) fn new(
        id: String,
        operation: Operation,
        client: Option<ClientId>,
        started_by: Option<ClientId>,
        created: Timestamp,
        computation: Arc<Computation>,
    ) -> Self {
        let cancelled = Mutex::new(None);
        Self { id, operation, client, started_by, created, computation, cancelled }
    }

    pub(super) fn organization(&self) -> &OrganizationId {
        &self.computation.organization
    }

    /// How far it has come. What it shares may have ended before it was started.
    pub(super) fn progress(&self) -> Progress {
        if let Some(cancelled) = *self.cancelled.lock() {
            return Progress { state: JobState::Cancelled, finished: Some(cancelled) };
        }
        let Progress { state, finished } = self.computation.progress();
        Progress { state, finished: finished.map(|finished| finished.max(self.created)) }
    }

    /// The document that says that it has come so far.
    pub(super) fn document(&self, progress: &Progress) -> Result<DocumentChange, StoreError> {
        let outcome = match &progress.state {
            JobState::Queued | JobState::Running => None,
            JobState::Succeeded { rows } => {
                let bytes = self.computation.bytes_written.load(Ordering::Relaxed);
                Some(Outcome::Succeeded { rows: *rows, bytes })
            }
            JobState::Failed(failure) => Some(Outcome::Failed { failure: failure.clone() }),
            JobState::Cancelled => Some(Outcome::Cancelled),
        };
        self.document_of(outcome.zip(progress.finished))
    }

    /// The document that says that it is removed, for as long as that takes.
    pub(super) fn removed_document(&self, now: Timestamp) -> Result<DocumentChange, StoreError> {
        self.document_of(Some((Outcome::Removed, now)))
    }

    fn document_of(&self, end: Option<(Outcome, Timestamp)>) -> Result<DocumentChange, StoreError> {
        let stored = Stored {
            operation: self.operation,
            client: self.client.as_ref().map(ClientId::to_string),
            started_by: self.started_by.as_ref().map(ClientId::to_string),
            result: (self.computation.id != self.id).then(|| self.computation.id.clone()),
            created: self.created.to_string(),
            shape: self.computation.shape.clone(),
            totals_read: self.computation.totals_read.load(Ordering::Relaxed),
            end: end.map(|(outcome, time)| End { time: time.to_string(), outcome }),
        };
        let body = serde_json::to_vec(&stored)
            .map_err(|_| StoreError::Unrepresentable("a query that is no JSON"))?;
        Ok(self.change(Some(body)))
    }

    /// Removes the document.
    pub(super) fn removal(&self) -> DocumentChange {
        self.change(None)
    }

    fn change(&self, body: Option<Vec<u8>>) -> DocumentChange {
        DocumentChange {
            collection: Collection::Queries,
            organization: self.organization().clone(),
            name: self.id.clone(),
            body,
        }
    }
}

impl StoredJob {
    /// The job that a document tells of, with a computation of its own; those of one id are made one by whoever keeps them.
    pub(super) fn from_document(document: Document) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged(format!("the query {}", document.name).into());
        let stored: Stored = serde_json::from_slice(&document.body).map_err(|_| damaged())?;
        let client = |id: Option<&str>| id.map(ClientId::new).transpose().map_err(|_| damaged());
        let about = client(stored.client.as_deref())?;
        let started_by = client(stored.started_by.as_deref())?;
        let created = stored.created.parse().map_err(|_| damaged())?;
        let computation = Computation::new(
            stored.result.unwrap_or_else(|| document.name.clone()),
            document.organization.clone(),
            started_by.clone(),
            None,
            created,
            stored.shape,
        );
        let mut cancelled = None;
        let mut is_removed = false;
        if let Some(End { time, outcome }) = stored.end {
            let finished: Timestamp = time.parse().map_err(|_| damaged())?;
            let ended = match outcome {
                Outcome::Succeeded { rows, bytes } => {
                    computation.rows_written.store(rows, Ordering::Relaxed);
                    computation.bytes_written.store(bytes, Ordering::Relaxed);
                    Some(JobState::Succeeded { rows })
                }
                Outcome::Failed { failure } => Some(JobState::Failed(failure)),
                Outcome::Cancelled => {
                    cancelled = Some(finished);
                    None
                }
                Outcome::Removed => {
                    is_removed = true;
                    None
                }
            };
            computation.totals_read.store(stored.totals_read, Ordering::Relaxed);
            if let Some(state) = ended {
                *computation.progress.lock() = Progress { state, finished: Some(finished) };
            }
        }
        let computation = Arc::new(computation);
        let job =
            Job::new(document.name, stored.operation, about, started_by, created, computation);
        *job.cancelled.lock() = cancelled;
        Ok(Self { job, is_removed })
    }
}
