//! Calls that are alike become one event.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::rules::Call;
use crate::domain::api_usage::{ApiEvent, ApiSeries, HttpStatus};

const DAY_SECONDS: i64 = 86_400;

/// What makes calls alike: series, status, and the day in UTC that they count for.
type Kind = (ApiSeries, HttpStatus, i64);

/// Calls so far, in the order of their series.
#[derive(Debug, Default)]
pub(super) struct Merged(BTreeMap<Kind, Group>);

#[derive(Debug)]
struct Group {
    /// The latest time among the calls: one of theirs, so on their day and accepted.
    latest: Timestamp,
    calls: u64,
}

impl Merged {
    pub(super) fn add(&mut self, call: Call) {
        let Call { series, status, time } = call;
        let day = time.as_second().div_euclid(DAY_SECONDS);
        let group =
            self.0.entry((series, status, day)).or_insert_with(|| Group { latest: time, calls: 0 });
        group.latest = group.latest.max(time);
        group.calls = group.calls.saturating_add(1);
    }

    /// Events for each kind, one unless it has more calls than that may stand for.
    pub(super) fn into_events(self) -> Vec<ApiEvent> {
        let events = |((series, status, _), Group { latest, calls }): (Kind, Group)| {
            ApiEvent::of_calls(series, status, latest, calls)
        };
        self.0.into_iter().flat_map(events).collect()
    }
}
