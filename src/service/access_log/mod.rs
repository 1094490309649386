//! Counting the calls that a proxy has answered, from its access log.
//!
//! Not exactly once: an entry has no identity that a second copy of it would share, so whatever arrives is counted. Each
//! event gets a uuid of its own, and entries that are alike are one event, so that a busy proxy costs little.

mod digest;
mod losses;
mod merge;
mod rules;
mod tally;
mod templates;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use self::losses::Losses;
pub use self::{
    digest::Digest,
    rules::{AccessLogHeaders, AccessLogRules},
    tally::{DropReason, IgnoredValue, Tally},
    templates::TemplateError,
};
use super::{
    ServiceError, acceptance::AcceptanceWindow, api_usage::ApiUsage, clock::Clock,
    committer::Admission,
};
use crate::domain::{api_usage::HttpMethod, caller::Caller};

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntryKind {
    /// The end of a call: what is counted.
    #[default]
    Completed,
    /// Something before the end of a call, or a part of it. The entry on its end will come, or has come.
    Partial,
    /// Something else than a call over HTTP.
    NotHttp,
    /// Something that this version does not know.
    Unknown,
}

/// What a proxy says of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessLogEntry {
    /// What it stands for.
    pub kind: EntryKind,
    /// The name of the route, empty for none.
    pub route_name: String,
    /// The path with its query.
    pub path: String,
    /// The path before the proxy rewrote it, empty if it did not.
    pub original_path: String,
    /// The method, if it is one that is known.
    pub method: Option<HttpMethod>,
    /// The status as the proxy has it, if there was an answer.
    pub status: Option<u32>,
    /// When the call began.
    pub start_time: Option<Timestamp>,
    /// How long it took.
    pub duration: Option<SignedDuration>,
    /// Headers of the request, by their names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// The use case.
#[derive(Debug)]
pub struct AccessLogs {
    api_usage: Arc<ApiUsage>,
    clock: Arc<dyn Clock>,
    window: AcceptanceWindow,
    rules: AccessLogRules,
    losses: Losses,
}

impl AccessLogs {
    /// Puts the use case together.
    #[must_use]
    pub fn new(
        api_usage: Arc<ApiUsage>,
        clock: Arc<dyn Clock>,
        window: AcceptanceWindow,
        rules: AccessLogRules,
    ) -> Self {
        Self { api_usage, clock, window, rules, losses: Losses::default() }
    }

    /// Makes events of the entries that `caller` sent.
    #[must_use]
    pub fn digest(
        &self,
        caller: &Caller,
        entries: impl IntoIterator<Item = AccessLogEntry>,
    ) -> Digest {
        self.rules.digest(caller, entries, &self.window, self.clock.now())
    }

    /// Stores what was made of entries; durable on return. Reports have at most [`API_EVENTS_MAX`](crate::domain::limits::API_EVENTS_MAX) events, and wait for
    /// room in the queue. Answers what became of the entries, also if storing failed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if the store does not take writes; some of the events may be stored then.
    pub async fn store(
        &self,
        caller: &Caller,
        digest: Digest,
    ) -> (Tally, Result<(), ServiceError>) {
        let store = |report| self.api_usage.store(report, Admission::Wait);
        let (tally, outcome) = digest.store_with(caller, store).await;
        self.losses.note(&tally, self.clock.now());
        (tally, outcome)
    }
}

#[cfg(test)]
mod tests;
