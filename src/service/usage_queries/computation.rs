//! What equal queries share: one run, and one result.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::{
    job::{JobState, Progress},
    query::{Query, Shape},
    rows::Column,
};
use crate::domain::{
    id::{ClientId, OrganizationId},
    usage::LogSequence,
};

/// A digest of what a query asks for and how its rows look: equal for queries that are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Question([u8; 32]);

impl Question {
    /// The question of a query, which `query_text` is, too.
    ///
    /// # Errors
    /// What serde says, which has no reason to say anything.
    pub(super) fn new(query_text: &[u8], shape: &Shape) -> serde_json::Result<Self> {
        let mut digest = Sha256::new();
        digest.update((query_text.len() as u64).to_le_bytes());
        digest.update(query_text);
        digest.update(serde_json::to_vec(shape)?);
        Ok(Self(digest.finalize().into()))
    }
}

/// The names of an organization's clients, as a digest: rows may have them, and filters look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamesDigest([u8; 32]);

impl NamesDigest {
    /// Whether names matter: rows have them, or are looked for by them.
    pub(super) fn is_needed(query: &Query, shape: &Shape) -> bool {
        shape.plan.columns.contains(&Column::ClientName) || !query.client_names.is_empty()
    }

    pub(super) fn of(names: &HashMap<ClientId, String>) -> Self {
        let mut sorted: Vec<(&ClientId, &String)> = names.iter().collect();
        sorted.sort_unstable();
        let mut digest = Sha256::new();
        for (client, name) in sorted {
            for text in [client.as_str(), name] {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
        }
        Self(digest.finalize().into())
    }
}

/// What a run sees, or would see if it began now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// The end of the log.
    pub(super) through: LogSequence,
    /// The names of clients, if they matter.
    pub(super) names: Option<NamesDigest>,
}

/// One run and its result, held by the queries that share it.
#[derive(Debug)]
pub(super) struct Computation {
    /// Names its pages; the id of the query that was the first to ask.
    pub(super) id: String,
    pub(super) organization: OrganizationId,
    /// The client that asked first; whose turn it takes. `None` for queries of earlier versions.
    pub(super) started_by: Option<ClientId>,
    /// What is asked; `None` after a restart, when nothing new shares it.
    pub(super) question: Option<Question>,
    pub(super) created: Timestamp,
    pub(super) shape: Shape,
    pub(super) progress: Mutex<Progress>,
    /// Held while the final state is written and then shown: there is one.
    pub(super) finishing: Mutex<()>,
    /// Raised to end the run. Nothing shares it from then on.
    pub(super) stop: AtomicBool,
    /// What the run sees, once it has begun to read.
    pub(super) seen: Mutex<Option<Moment>>,
    pub(super) totals_read: AtomicU64,
    pub(super) rows_written: AtomicU64,
    /// Bytes of its pages of rows.
    pub(super) bytes_written: AtomicU64,
}

impl Computation {
    pub(super) fn new(
        id: String,
        organization: OrganizationId,
        started_by: Option<ClientId>,
        question: Option<Question>,
        created: Timestamp,
        shape: Shape,
    ) -> Self {
        Self {
            id,
            organization,
            started_by,
            question,
            created,
            shape,
            progress: Mutex::new(Progress { state: JobState::Queued, finished: None }),
            finishing: Mutex::new(()),
            stop: AtomicBool::new(false),
            seen: Mutex::new(None),
            totals_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
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

    /// Whether a query that is started at a moment may have this result. One that has not begun sees all that was
    /// acknowledged before; one that has begun does if nothing came since.
    pub(super) fn serves(&self, moment: &Moment) -> bool {
        if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        match self.progress.lock().state {
            JobState::Queued => true,
            JobState::Running | JobState::Succeeded { .. } => self
                .seen
                .lock()
                .is_some_and(|seen| seen.names == moment.names && seen.through >= moment.through),
            JobState::Failed(_) | JobState::Cancelled => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::usage_queries::{job::Failure, testing};

    fn moment(through: u64) -> Moment {
        Moment { through: LogSequence(through), names: None }
    }

    #[test]
    fn computation_serves_what_it_sees_and_nothing_newer() {
        let computation = testing::computation("one", "alpha", "agent");
        let at = |state: JobState, seen: Option<u64>| {
            computation.progress.lock().state = state;
            *computation.seen.lock() = seen.map(moment);
            [4, 5, 6].map(|through| computation.serves(&moment(through)))
        };
        assert_eq!(at(JobState::Queued, None), [true; 3]);
        assert_eq!(at(JobState::Running, None), [false; 3]);
        assert_eq!(at(JobState::Running, Some(5)), [true, true, false]);
        assert_eq!(at(JobState::Succeeded { rows: 1 }, Some(5)), [true, true, false]);
        assert_eq!(at(JobState::Failed(Failure::OfServer), Some(5)), [false; 3]);
        assert_eq!(at(JobState::Cancelled, Some(5)), [false; 3]);
        computation.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(at(JobState::Queued, None), [false; 3]);
    }

    #[test]
    fn names_of_clients_matter_where_rows_have_them() {
        let names = |name: &str| HashMap::from([(testing::client("c"), name.to_owned())]);
        assert_eq!(NamesDigest::of(&names("a")), NamesDigest::of(&names("a")));
        assert_ne!(NamesDigest::of(&names("a")), NamesDigest::of(&names("b")));
        let (query, mut shape) = (testing::query(), testing::shape());
        assert!(!NamesDigest::is_needed(&query, &shape));
        let filtered = Query { client_names: vec!["a".into()], ..testing::query() };
        assert!(NamesDigest::is_needed(&filtered, &shape));
        shape.plan.columns = vec![Column::ClientName];
        assert!(NamesDigest::is_needed(&query, &shape));
    }
}
