//! Recording API usage.

mod rules;
pub mod self_metering;

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ServiceError,
    acceptance::AcceptanceWindow,
    clock::Clock,
    committer::{Admission, Committer},
};
use crate::domain::{
    api_usage::{ApiEvent, ApiReport, EventRejection, NewSeries},
    caller::Caller,
    verdict::{Decision, Original},
};

/// An event as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedEvent {
    /// Should be a UUID.
    pub uuid: String,
    /// The client that called; empty for the one that reports.
    pub client_id: String,
    /// The user; empty if not known.
    pub user_id: String,
    /// Which API.
    pub template_uri: String,
    /// Should be a method of HTTP.
    pub http_method: String,
    /// Should be a status of HTTP.
    pub status: i32,
    /// Through what; empty if not known.
    pub platform: String,
    /// `None` if missing or impossible.
    pub timestamp: Option<Timestamp>,
    /// Should be between 1 and [`API_EVENT_CALLS_MAX`](crate::domain::limits::API_EVENT_CALLS_MAX).
    pub count: i64,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventVerdict {
    /// It is stored.
    Accepted,
    /// It is not.
    Rejected {
        /// The first reason that applies.
        reason: EventRejection,
        /// Of a duplicate: it says something else than the event first accepted.
        conflict: bool,
    },
}

/// The use case.
#[derive(Debug)]
pub struct ApiUsage {
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    window: AcceptanceWindow,
}

impl ApiUsage {
    /// Puts the use case together.
    #[must_use]
    pub fn new(committer: Arc<Committer>, clock: Arc<dyn Clock>, window: AcceptanceWindow) -> Self {
        Self { committer, clock, window }
    }

    /// Judges and stores events; one verdict per event, in their order. What is accepted is durable and visible on
    /// return.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if there are none or too many, or a text is too long. Otherwise what
    /// [`Committer::submit_events`] says.
    pub async fn record(
        &self,
        caller: &Caller,
        events: Vec<ReportedEvent>,
    ) -> Result<Vec<EventVerdict>, ServiceError> {
        rules::check(&events)?;
        let now = self.clock.now();
        let mut verdicts = Vec::with_capacity(events.len());
        // The events that only the store can still refuse, and where each stands in the request.
        let mut places = Vec::with_capacity(events.len());
        let mut judged = Vec::with_capacity(events.len());
        for (place, event) in events.iter().enumerate() {
            match rules::judge(event, caller, now, &self.window) {
                Ok(event) => {
                    places.push(place);
                    judged.push(event);
                    verdicts.push(EventVerdict::Accepted);
                }
                Err(reason) => verdicts.push(EventVerdict::Rejected { reason, conflict: false }),
            }
        }
        if judged.is_empty() {
            return Ok(verdicts);
        }
        let new_series = NewSeries::Refused;
        let report = ApiReport { caller: caller.clone(), events: judged.clone(), new_series };
        let decisions = self.committer.submit_events(report, Admission::Refuse).await?;
        let conflicts = self.conflicts(caller, judged, &decisions).await?;
        for ((place, decision), conflict) in places.into_iter().zip(decisions).zip(conflicts) {
            if let (Some(slot), Decision::Duplicate(_)) = (verdicts.get_mut(place), decision) {
                *slot = EventVerdict::Rejected { reason: EventRejection::Duplicate, conflict };
            }
        }
        Ok(verdicts)
    }

    /// Stores events that need no judging; durable on return.
    ///
    /// # Errors
    /// What [`Committer::submit_events`] says.
    pub async fn store(
        &self,
        report: ApiReport,
        admission: Admission,
    ) -> Result<Vec<Decision>, ServiceError> {
        self.committer.submit_events(report, admission).await
    }

    /// For every event: whether it is a duplicate that differs from its original.
    async fn conflicts(
        &self,
        caller: &Caller,
        events: Vec<ApiEvent>,
        decisions: &[Decision],
    ) -> Result<Vec<bool>, ServiceError> {
        if decisions.iter().all(|decision| *decision == Decision::Accepted) {
            return Ok(vec![false; decisions.len()]);
        }
        let organization = caller.organization.clone();
        let decisions = decisions.to_vec();
        let compare = move |store: &dyn crate::store::UsageStore| {
            let original = |(event, decision): (&ApiEvent, &Decision)| match decision {
                Decision::Duplicate(Original::Stored(sequence)) => Some((event.uuid, *sequence)),
                Decision::Accepted | Decision::Duplicate(Original::InSubmission(_)) => None,
            };
            let wanted: Vec<_> = events.iter().zip(&decisions).filter_map(original).collect();
            let mut originals = store.original_events(&organization, &wanted)?.into_iter();
            let differs = |(event, decision)| match original((event, decision)) {
                // What is no longer kept cannot be compared.
                Some(_) => {
                    originals.next().flatten().is_some_and(|original| original.event != *event)
                }
                None => false,
            };
            Ok(events.iter().zip(&decisions).map(differs).collect())
        };
        self.committer.read_for_write(caller, compare).await
    }
}

#[cfg(test)]
mod tests;
