//! What the engine answered to a call, verdict by verdict.

use std::fmt::Debug;

use super::{Auditor, Invariant};
use crate::{
    cli::simulate::{
        clients::{Call, Report},
        figures::Figures,
        model::{BatchOutcome, Expected, ExpectedAnswer},
        world::Answer,
    },
    domain::{api_usage::EventRejection, verdict::RejectionReason},
    service::{ServiceError, api_usage::EventVerdict, product_usage::RecordVerdict},
};

/// A verdict on a record, an event or a batch.
trait Verdict: PartialEq + Debug + Copy {
    fn is_accepted(&self) -> bool;
    fn is_duplicate(&self) -> bool;
    /// Says of what was in doubt that it is there, as it was said.
    fn is_the_same_again(&self) -> bool;
    /// What it is counted as.
    fn name(&self) -> String;
}

impl Verdict for RecordVerdict {
    fn is_accepted(&self) -> bool {
        *self == Self::Accepted
    }

    fn is_duplicate(&self) -> bool {
        matches!(self, Self::Rejected { reason: RejectionReason::Duplicate, .. })
    }

    fn is_the_same_again(&self) -> bool {
        *self == Self::Rejected { reason: RejectionReason::Duplicate, conflict: false }
    }

    fn name(&self) -> String {
        match self {
            Self::Accepted => "accepted".into(),
            Self::Rejected { reason, conflict } => rejected(reason, *conflict),
        }
    }
}

impl Verdict for EventVerdict {
    fn is_accepted(&self) -> bool {
        *self == Self::Accepted
    }

    fn is_duplicate(&self) -> bool {
        matches!(self, Self::Rejected { reason: EventRejection::Duplicate, .. })
    }

    fn is_the_same_again(&self) -> bool {
        *self == Self::Rejected { reason: EventRejection::Duplicate, conflict: false }
    }

    fn name(&self) -> String {
        match self {
            Self::Accepted => "accepted".into(),
            Self::Rejected { reason, conflict } => rejected(reason, *conflict),
        }
    }
}

impl Auditor {
    /// Compares the answer to a call with what the model says of it.
    pub(in crate::cli::simulate) fn answer(
        &mut self,
        call: &Call,
        expected: &ExpectedAnswer,
        answer: &Answer,
        figures: &mut Figures,
    ) {
        count_call(call, figures);
        match (expected, answer) {
            (_, Answer::Unheard) => figures.count("calls", "answers that nobody waited for", 1),
            (ExpectedAnswer::Records(expected), Answer::Records(actual)) => {
                self.verdicts(call, "verdicts on records", expected, actual, figures);
            }
            (ExpectedAnswer::Events(expected), Answer::Events(actual)) => {
                self.verdicts(call, "verdicts on events", expected, actual, figures);
            }
            (ExpectedAnswer::Batch(expected), Answer::Batch(actual)) => {
                self.batch(call, expected, actual, figures);
            }
            (expected, answer) => {
                let what = || format!("{call:?}: {answer:?} instead of {expected:?}");
                self.check(Invariant::Verdicts, false, what);
            }
        }
    }

    /// Nothing may be accepted once a write has failed. Answers whether the call was refused for that.
    pub(in crate::cli::simulate) fn refused(&mut self, call: &Call, answer: &Answer) -> bool {
        let accepts = match answer {
            Answer::Records(verdicts) => verdicts.iter().any(Verdict::is_accepted),
            Answer::Events(verdicts) => verdicts.iter().any(Verdict::is_accepted),
            Answer::Batch(outcome) => matches!(outcome, BatchOutcome::Recorded { .. }),
            Answer::Unheard => false,
            Answer::Failed(error) => !matches!(error, ServiceError::Unavailable(_)),
        };
        self.check(Invariant::FailsClosed, !accepts, || {
            format!("{call:?}: {answer:?} after a failed write")
        });
        matches!(answer, Answer::Failed(_))
    }

    fn verdicts<V: Verdict>(
        &mut self,
        call: &Call,
        section: &'static str,
        expected: &[Expected<V>],
        actual: &[V],
        figures: &mut Figures,
    ) {
        self.check(Invariant::Verdicts, expected.len() == actual.len(), || {
            format!("{call:?}: {} verdicts", actual.len())
        });
        for (place, (expected, actual)) in expected.iter().zip(actual).enumerate() {
            let (holds, invariant, name) = match expected {
                Expected::Exactly(verdict) => {
                    let once = verdict.is_duplicate() || actual.is_duplicate();
                    let invariant = if once { Invariant::CountedOnce } else { Invariant::Verdicts };
                    (verdict == actual, invariant, verdict.name())
                }
                Expected::Settled => {
                    let holds = actual.is_accepted() || actual.is_the_same_again();
                    (holds, Invariant::CountedOnce, "accepted after a failed write".into())
                }
            };
            figures.count(section, &name, 1);
            self.check(invariant, holds, || {
                format!("{actual:?} instead of {expected:?}, at {place} of {call:?}")
            });
        }
        let both = expected.iter().zip(actual);
        let settled: Vec<bool> = both
            .filter(|(expected, _)| matches!(expected, Expected::Settled))
            .map(|(_, actual)| actual.is_accepted())
            .collect();
        if let Some(first) = settled.first() {
            // A failed write leaves a call as a whole, or nothing of it.
            self.check(Invariant::Together, settled.iter().all(|other| other == first), || {
                format!("a part of {call:?} was there: {actual:?}")
            });
        }
    }

    fn batch(
        &mut self,
        call: &Call,
        expected: &Expected<BatchOutcome>,
        actual: &BatchOutcome,
        figures: &mut Figures,
    ) {
        let (holds, name) = match expected {
            Expected::Exactly(outcome) => {
                let name = match outcome {
                    BatchOutcome::Recorded { .. } => "accepted",
                    BatchOutcome::Taken { identical: true, .. } => "recorded before",
                    BatchOutcome::Taken { identical: false, .. } => {
                        "another one was recorded before"
                    }
                    BatchOutcome::Invalid { .. } => "invalid",
                };
                (outcome == actual, name)
            }
            Expected::Settled => {
                let usages = match &call.report {
                    Report::Batch { usages, .. } => usages.len(),
                    _ => 0,
                };
                let recorded = BatchOutcome::Recorded { usages };
                let taken = BatchOutcome::Taken { identical: true, usages };
                (*actual == recorded || *actual == taken, "accepted after a failed write")
            }
        };
        figures.count("verdicts on batches", name, 1);
        let once = match expected {
            Expected::Exactly(outcome) => is_taken(outcome) || is_taken(actual),
            Expected::Settled => true,
        };
        let invariant = if once { Invariant::CountedOnce } else { Invariant::Verdicts };
        self.check(invariant, holds, || format!("{call:?}: {actual:?} instead of {expected:?}"));
    }
}

/// A reason in words: `InvalidSkuId` is an invalid sku id.
fn rejected(reason: &impl Debug, conflict: bool) -> String {
    let mut name = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push(' ');
        }
        name.extend(letter.to_lowercase());
    }
    if conflict {
        name.push_str(" with a conflict");
    }
    name
}

fn is_taken(outcome: &BatchOutcome) -> bool {
    matches!(outcome, BatchOutcome::Taken { .. })
}

fn count_call(call: &Call, figures: &mut Figures) {
    match &call.report {
        Report::Product(report) => {
            figures.count("calls", "product usage", 1);
            figures.count("calls", "records in them", report.records.len());
            if report.validate_only {
                figures.count("calls", "product usage, only to be validated", 1);
            }
        }
        Report::ApiUsage(events) => {
            figures.count("calls", "API usage", 1);
            figures.count("calls", "events in them", events.len());
        }
        Report::Batch { usages, .. } => {
            figures.count("calls", "batches of asset usage", 1);
            figures.count("calls", "usages in them", usages.len());
        }
    }
}
