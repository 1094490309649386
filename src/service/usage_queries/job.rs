//! A query that was started: what is known of it in memory, and on the disk.
//!
//! Its document says what became of it; the query itself, which may be large, and the rows are in books of pages. A
//! document that says nothing of an end stands for a query that waits or runs, and is run again after a restart.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Operation, query::Shape};
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
    /// The server failed; the log says more.
    OfServer,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfRequest(text) => f.write_str(text),
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

/// A query.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) organization: OrganizationId,
    pub(super) operation: Operation,
    /// The client that it is about, if its operation names one.
    pub(super) client: Option<ClientId>,
    pub(super) created: Timestamp,
    pub(super) shape: Shape,
    pub(super) progress: Mutex<Progress>,
    /// Held while the final state is written and then shown: there is one.
    pub(super) finishing: Mutex<()>,
    /// Raised to end the run.
    pub(super) stop: AtomicBool,
    pub(super) totals_read: AtomicU64,
    pub(super) rows_written: AtomicU64,
}

/// A job on the disk. The names are part of the file format.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    operation: Operation,
    client: Option<String>,
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
    Succeeded { rows: u64 },
    Failed { failure: Failure },
    Cancelled,
}

impl Job {
    pub(super) fn new(
        id: String,
        organization: OrganizationId,
        operation: Operation,
        client: Option<ClientId>,
        created: Timestamp,
        shape: Shape,
    ) -> Self {
        Self {
            id,
            organization,
            operation,
            client,
            created,
            shape,
            progress: Mutex::new(Progress { state: JobState::Queued, finished: None }),
            finishing: Mutex::new(()),
            stop: AtomicBool::new(false),
            totals_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// The book of its query.
    pub(super) fn query_book(&self) -> String {
        format!("{}/query", self.id)
    }

    /// The book of its rows.
    pub(super) fn rows_book(&self) -> String {
        format!("{}/rows", self.id)
    }

    /// The document that says that it has come so far.
    pub(super) fn document(&self, progress: &Progress) -> Result<DocumentChange, StoreError> {
        let outcome = match &progress.state {
            JobState::Queued | JobState::Running => None,
            JobState::Succeeded { rows } => Some(Outcome::Succeeded { rows: *rows }),
            JobState::Failed(failure) => Some(Outcome::Failed { failure: failure.clone() }),
            JobState::Cancelled => Some(Outcome::Cancelled),
        };
        let end = outcome.zip(progress.finished);
        let end = end.map(|(outcome, time)| End { time: time.to_string(), outcome });
        let stored = Stored {
            operation: self.operation,
            client: self.client.as_ref().map(ClientId::to_string),
            created: self.created.to_string(),
            shape: self.shape.clone(),
            totals_read: self.totals_read.load(Ordering::Relaxed),
            end,
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
            organization: self.organization.clone(),
            name: self.id.clone(),
            body,
        }
    }

    /// The job that a document tells of.
    pub(super) fn from_document(document: Document) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged(format!("the query {}", document.name).into());
        let stored: Stored = serde_json::from_slice(&document.body).map_err(|_| damaged())?;
        let client = stored.client.as_deref().map(ClientId::new).transpose();
        let client = client.map_err(|_| damaged())?;
        let job = Self::new(
            document.name.clone(),
            document.organization.clone(),
            stored.operation,
            client,
            stored.created.parse().map_err(|_| damaged())?,
            stored.shape,
        );
        if let Some(End { time, outcome }) = stored.end {
            let state = match outcome {
                Outcome::Succeeded { rows } => JobState::Succeeded { rows },
                Outcome::Failed { failure } => JobState::Failed(failure),
                Outcome::Cancelled => JobState::Cancelled,
            };
            let finished = Some(time.parse().map_err(|_| damaged())?);
            let progress = Progress { state, finished };
            job.rows_written.store(progress.rows(), Ordering::Relaxed);
            job.totals_read.store(stored.totals_read, Ordering::Relaxed);
            *job.progress.lock() = progress;
        }
        Ok(job)
    }
}

impl Progress {
    pub(super) fn is_over(&self) -> bool {
        self.finished.is_some()
    }

    /// Rows that are kept.
    pub(super) fn rows(&self) -> u64 {
        match self.state {
            JobState::Succeeded { rows } => rows,
            _ => 0,
        }
    }
}
