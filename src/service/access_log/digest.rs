//! What is to be stored of some entries, and storing it part by part.

use super::{DropReason, Tally};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiReport, NewSeries},
        caller::Caller,
        limits::API_EVENTS_MAX,
        verdict::Decision,
    },
    service::ServiceError,
};

/// The events of some entries, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// One for all calls that are alike.
    pub events: Vec<ApiEvent>,
    /// What became of the entries so far.
    pub tally: Tally,
}

impl Digest {
    /// Calls that the events stand for.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.events.iter().map(calls_of).sum()
    }

    /// Hands the events to `store` in reports of at most [`API_EVENTS_MAX`], one after the other, until one fails.
    /// Answers what became of the entries in any case.
    pub(super) async fn store_with<F: Future<Output = Result<Vec<Decision>, ServiceError>>>(
        self,
        caller: &Caller,
        mut store: impl FnMut(ApiReport) -> F,
    ) -> (Tally, Result<(), ServiceError>) {
        let Self { events, mut tally } = self;
        let mut events = events.into_iter();
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let part: Vec<ApiEvent> = events.by_ref().take(API_EVENTS_MAX).collect();
            if part.is_empty() {
                break;
            }
            let calls: Vec<u64> = part.iter().map(calls_of).collect();
            let new_series = NewSeries::Coarsened;
            let report = ApiReport { caller: caller.clone(), events: part, new_series };
            match store(report).await {
                Ok(decisions) => {
                    for (calls, decision) in calls.into_iter().zip(decisions) {
                        match decision {
                            Decision::Accepted => tally.calls += calls,
                            // Two random uuids were the same.
                            Decision::Duplicate(_) => tally.drop(DropReason::NotStored, calls),
                        }
                    }
                }
                Err(error) => {
                    tally.drop(DropReason::NotStored, calls.into_iter().sum());
                    outcome = Err(error);
                }
            }
        }
        tally.drop(DropReason::NotStored, events.map(|event| calls_of(&event)).sum());
        (tally, outcome)
    }
}

fn calls_of(event: &ApiEvent) -> u64 {
    // Never negative.
    event.count.get().unsigned_abs()
}
