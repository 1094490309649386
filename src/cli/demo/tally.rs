//! The demo's own count, made from what it sent and what it was answered, never from a query.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::workload::{Message, Planned, Verdict};
use crate::{
    api::pb::meterd::v1::ProductUsageRow,
    cli::{query::quantity, wire_time},
};

/// What a total is of: hour, product, instance (or empty) and SKU.
pub(super) type TotalKey = (Timestamp, String, String, String);

/// Differences that are spelled out.
const DIFFERENCES_LISTED_MAX: usize = 5;
/// Accepted records that are kept, to be sent once more after the restart.
const KEPT_MAX: usize = 25;

/// What callers counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many records were to get each verdict, and how many did.
    pub(super) verdicts: BTreeMap<Verdict, (u64, u64)>,
    /// Records, and the sum of their quantities.
    pub(super) totals: BTreeMap<TotalKey, (u64, u128)>,
    /// How long each unary call took.
    pub(super) calls: Vec<Duration>,
    /// Differences between plan and answer, or between totals.
    pub(super) differences: Vec<String>,
    pub(super) differences_count: u64,
    /// A message of records that were accepted.
    pub(super) kept: Option<Message>,
}

impl Tally {
    /// Counts the answer to a message. `verdict_of` finds what became of a record by its uuid.
    pub(super) fn count(
        &mut self,
        message: &Message,
        verdict_of: impl Fn(&str) -> Option<Verdict>,
    ) {
        for planned in &message.records {
            self.verdicts.entry(planned.verdict).or_default().0 += 1;
            let Some(verdict) = verdict_of(&planned.record.uuid) else {
                self.differ(format!("{} got no verdict", planned.record.uuid));
                continue;
            };
            self.verdicts.entry(verdict).or_default().1 += 1;
            if verdict != planned.verdict {
                let (uuid, wanted) = (&planned.record.uuid, planned.verdict);
                self.differ(format!("{uuid} got {verdict:?} instead of {wanted:?}"));
            }
            if verdict == Verdict::Accepted {
                self.add(message, planned);
            }
        }
        if self.kept.is_none() {
            let mut kept = message.clone();
            kept.records.retain(|planned| planned.verdict == Verdict::Accepted);
            kept.records.truncate(KEPT_MAX);
            self.kept = (!kept.records.is_empty()).then_some(kept);
        }
    }

    fn add(&mut self, message: &Message, planned: &Planned) {
        let hour = planned.used.as_second().div_euclid(3600) * 3600;
        let key = (
            Timestamp::from_second(hour).unwrap_or_default(),
            message.target.product.to_owned(),
            message.target.instance.unwrap_or_default().to_owned(),
            planned.sku.to_owned(),
        );
        let total = self.totals.entry(key).or_default();
        total.0 += 1;
        total.1 += u128::try_from(planned.record.quantity).unwrap_or_default();
    }

    /// Adds another caller's count.
    pub(super) fn merge(&mut self, other: Self) {
        for (verdict, (planned, got)) in other.verdicts {
            let sum = self.verdicts.entry(verdict).or_default();
            *sum = (sum.0 + planned, sum.1 + got);
        }
        for (key, (records, quantity)) in other.totals {
            let sum = self.totals.entry(key).or_default();
            *sum = (sum.0 + records, sum.1 + quantity);
        }
        self.calls.extend(other.calls);
        self.differences_count += other.differences_count;
        self.differences.extend(other.differences);
        self.differences.truncate(DIFFERENCES_LISTED_MAX);
        if self.kept.is_none() {
            self.kept = other.kept;
        }
    }

    /// Compares hourly totals that the server gave, grouped by product, instance and SKU, with the
    /// count. Answers how many were compared.
    pub(super) fn compare(&mut self, rows: &[ProductUsageRow]) -> usize {
        let mut counted = std::mem::take(&mut self.totals);
        let compared = counted.len().max(rows.len());
        let mut given = BTreeMap::new();
        for row in rows {
            let key = (
                wire_time::from_wire(row.start_time.as_ref()).unwrap_or_default(),
                row.product_id.clone(),
                row.product_instance_id.clone(),
                row.sku_id.clone(),
            );
            given.insert(key, (row.record_count, quantity(row)));
        }
        for (key, (records, sum)) in &counted {
            let (their_records, their_sum) = given.remove(key).unwrap_or_default();
            if (*records, *sum) != (their_records, their_sum) {
                self.differ(format!(
                    "{key:?}: counted {sum} in {records} records, the server says {their_sum} in \
                     {their_records}"
                ));
            }
        }
        for (key, (records, sum)) in given {
            self.differ(format!(
                "{key:?}: counted nothing, the server says {sum} in {records} records"
            ));
        }
        std::mem::swap(&mut self.totals, &mut counted);
        compared
    }

    /// Notes that something is not as it must be.
    pub(super) fn differ(&mut self, what: String) {
        self.differences_count += 1;
        if self.differences.len() < DIFFERENCES_LISTED_MAX {
            self.differences.push(what);
        }
    }
}
