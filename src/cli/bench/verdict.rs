//! Every verdict is compared with the one that was to come.

use std::collections::BTreeMap;

use super::workload::{Message, Planned};

/// Wrong verdicts that are spelled out.
const WRONG_LISTED_MAX: usize = 5;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// A duplicate that says the same.
    Identical,
    /// A duplicate that says something else.
    Conflicting,
    /// For any other reason.
    Rejected,
    /// The answer does not say.
    Missing,
}

/// The server's answer cannot be an answer to what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Verdict {
    /// That of a number of the vendor's reasons.
    pub(super) fn rejected(reason: u64, conflict: bool) -> Self {
        match (reason, conflict) {
            (1, false) => Self::Identical,
            (1, true) => Self::Conflicting,
            _ => Self::Rejected,
        }
    }
}

/// Why a call has no verdicts.
#[derive(Debug)]
pub(super) struct Failure {
    /// The gRPC code, in the protocol's spelling.
    pub(super) code: String,
    pub(super) message: String,
    /// Nothing of the call can have been stored.
    pub(super) nothing_stored: bool,
}

/// What was sent, and what became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Records of answered calls that were to be accepted, and to be duplicates.
    pub(super) new: u64,
    pub(super) repeated: u64,
    /// Records that were sent once more because their call had failed: either verdict is right.
    pub(super) uncertain: u64,
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) wrong: u64,
    pub(super) wrong_listed: Vec<String>,
    /// Failed calls by code, and what the first of them said.
    pub(super) failures: BTreeMap<String, (u64, String)>,
}

impl Tally {
    /// Counts the answer to a message.
    pub(super) fn judge(&mut self, message: &Message, verdicts: &[Verdict]) {
        for (planned, verdict) in message.records.iter().zip(verdicts) {
            match verdict {
                Verdict::Accepted => self.accepted += 1,
                Verdict::Identical | Verdict::Conflicting => self.duplicates += 1,
                Verdict::Rejected | Verdict::Missing => {}
            }
            let may_be_either = message.uncertain && !planned.repeated;
            if may_be_either {
                self.uncertain += 1;
            } else if planned.repeated {
                self.repeated += 1;
            } else {
                self.new += 1;
            }
            let right = match verdict {
                Verdict::Accepted => !planned.repeated,
                Verdict::Identical => planned.repeated || may_be_either,
                Verdict::Conflicting | Verdict::Rejected | Verdict::Missing => false,
            };
            if !right {
                self.differ(planned, *verdict);
            }
        }
    }

    fn differ(&mut self, planned: &Planned, verdict: Verdict) {
        self.wrong += 1;
        if self.wrong_listed.len() < WRONG_LISTED_MAX {
            let wanted = if planned.repeated { "a duplicate" } else { "accepted" };
            let uuid = String::from_utf8_lossy(&planned.uuid);
            self.wrong_listed.push(format!("{uuid} was to be {wanted} and is {verdict:?}"));
        }
    }

    /// Counts a call that failed.
    pub(super) fn fail(&mut self, failure: &Failure) {
        let entry = self.failures.entry(failure.code.clone());
        entry.or_insert_with(|| (0, failure.message.clone())).0 += 1;
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.new += other.new;
        self.repeated += other.repeated;
        self.uncertain += other.uncertain;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.wrong += other.wrong;
        self.wrong_listed.extend(other.wrong_listed);
        self.wrong_listed.truncate(WRONG_LISTED_MAX);
        for (code, (calls, message)) in other.failures {
            self.failures.entry(code).or_insert((0, message)).0 += calls;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::bench::{
        uuids::UuidVersion,
        workload::{Lane, MessageShape, Plan, PlanSize},
    };

    #[test]
    fn only_what_was_sent_before_may_be_a_duplicate() {
        let size = PlanSize {
            seed: 5,
            version: UuidVersion::V4,
            lanes: 1,
            products: 1,
            skus: 1,
            usage_spread: std::time::Duration::from_mins(15),
        };
        let plan = Arc::new(Plan::new(size, "2026-11-20T12:00:00Z".parse().unwrap()));
        let mut lane = Lane::new(&plan, 0);
        let mut message = Message::default();
        let mut tally = Tally::default();
        lane.compose(&mut message, MessageShape { records: 2, duplicates_percent: 0 });
        tally.judge(&message, &[Verdict::Accepted, Verdict::Accepted]);
        assert_eq!((tally.new, tally.accepted, tally.wrong), (2, 2, 0));
        tally.judge(&message, &[Verdict::Identical, Verdict::Rejected]);
        assert_eq!((tally.duplicates, tally.wrong), (1, 2));
        message.uncertain = true;
        tally.judge(&message, &[Verdict::Identical, Verdict::Conflicting]);
        assert_eq!((tally.uncertain, tally.duplicates, tally.wrong), (2, 3, 3));
        lane.settle(&message);
        lane.compose(&mut message, MessageShape { records: 2, duplicates_percent: 100 });
        tally.judge(&message, &[Verdict::Identical, Verdict::Accepted]);
        assert_eq!((tally.repeated, tally.wrong), (2, 4));
        assert_eq!(tally.wrong_listed.len(), 4);
    }
}
