//! What the demo's callers report: invented usage whose verdicts are known beforehand.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::cli::random::Random;
use crate::{
    api::pb::meterd::v1::{ProductUsageRecord, RejectionReason},
    cli::wire_time::to_wire,
};

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Accepted,
    /// Its uuid is taken, by a record that says the same.
    Identical,
    /// Its uuid is taken, by a record that says something else.
    Conflicting,
    Rejected(RejectionReason),
}

/// What a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) product: &'static str,
    /// Usage is reported for it, where there is one.
    pub(super) instance: Option<&'static str>,
}

/// A record, and what must become of it.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) record: ProductUsageRecord,
    pub(super) sku: &'static str,
    pub(super) used: Timestamp,
    pub(super) verdict: Verdict,
}

/// Records of one call.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) target: Target,
    pub(super) records: Vec<Planned>,
}

/// Targets of the sample catalog, their SKUs, and the largest quantity of one record.
type Offer = (Target, [(&'static str, u64); 2]);

const OFFERS: [Offer; 4] = [
    (sold("object-storage"), [("storage-gb-hour", 900), ("requests-1k", 40)]),
    (sold("gpu-compute"), [("gpu-second-l4", 3600), ("gpu-second-h100", 1200)]),
    (instance("team-chat-northwind"), [("active-user-day", 3), ("messages-1k", 12)]),
    (instance("team-chat-contoso"), [("active-user-day", 2), ("messages-1k", 9)]),
];

/// Is in no catalog.
const UNKNOWN: Target = sold("no-such-product");
/// Stands in the sample catalog, retired.
const RETIRED_SKU: &str = "gpu-second-v100";

const fn sold(product: &'static str) -> Target {
    Target { product, instance: None }
}

const fn instance(instance: &'static str) -> Target {
    Target { product: "team-chat", instance: Some(instance) }
}

/// How busy each hour of the day is (UTC).
const HOUR_WEIGHTS: [u64; 24] =
    [3, 2, 2, 2, 3, 4, 6, 9, 13, 16, 18, 19, 18, 19, 20, 19, 17, 15, 13, 11, 9, 7, 5, 4];

/// Of a thousand records: duplicates (every third of them conflicting) and records with a fault.
const DUPLICATES_PER_MILLE: u64 = 30;
const FAULTS_PER_MILLE: u64 = 20;
/// How many accepted records of one target a caller remembers for repeating them.
const REMEMBERED_MAX: usize = 4096;

/// Times that usage may be of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    /// The first instant; a full hour.
    pub(super) start: Timestamp,
    /// Now.
    pub(super) now: Timestamp,
}

/// One caller's messages, made as they are sent.
#[derive(Debug)]
pub(super) struct Workload {
    random: Random,
    period: Period,
    /// Which hours, as often as they are busy.
    hours: Vec<i64>,
    records_left: u64,
    message_records_max: usize,
    /// Messages that must lie between a record and its repetition, so that the first is answered.
    distance: u64,
    messages: u64,
    /// Accepted records of each target with their messages, oldest first.
    remembered: BTreeMap<Target, VecDeque<(u64, Planned)>>,
}

impl Workload {
    /// Plans `records` in messages of at most `message_records_max`. Different seeds make different
    /// uuids.
    pub(super) fn new(
        seed: u64,
        period: Period,
        records: u64,
        message_records_max: usize,
        distance: u64,
    ) -> Self {
        let first = period.start.as_second().div_euclid(3600);
        let last = period.now.as_second().div_euclid(3600);
        let hours = (first..=last)
            .flat_map(|hour| {
                let of_day = usize::try_from(hour.rem_euclid(24)).unwrap_or_default();
                let weight = HOUR_WEIGHTS.get(of_day).copied().unwrap_or(1);
                std::iter::repeat_n(hour, usize::try_from(weight).unwrap_or(1))
            })
            .collect();
        Self {
            random: Random::new(seed),
            period,
            hours,
            records_left: records,
            message_records_max,
            distance,
            messages: 0,
            remembered: BTreeMap::new(),
        }
    }

    /// The next message; `None` when all is sent.
    pub(super) fn next(&mut self) -> Option<Message> {
        if self.records_left == 0 {
            return None;
        }
        let room = usize::try_from(self.records_left).unwrap_or(usize::MAX);
        let count = room.min(self.message_records_max);
        self.messages += 1;
        // A product is unknown for a whole message: rare, and short.
        let unknown_every = 300 / FAULTS_PER_MILLE * 20;
        let message = if self.messages % unknown_every == 3 {
            let records = (0..count.min(5)).map(|_| self.of_unknown_product()).collect();
            Message { target: UNKNOWN, records }
        } else {
            let offer = self.random.pick(&OFFERS);
            let records = (0..count).map(|_| self.record(&offer)).collect();
            Message { target: offer.0, records }
        };
        self.records_left -= message.records.len() as u64;
        Some(message)
    }

    fn record(&mut self, offer: &Offer) -> Planned {
        let dice = self.random.below(1000);
        if dice < DUPLICATES_PER_MILLE
            && let Some(repeated) = self.repeat(offer.0)
        {
            return repeated;
        }
        if (DUPLICATES_PER_MILLE..DUPLICATES_PER_MILLE + FAULTS_PER_MILLE).contains(&dice) {
            return self.faulty(offer);
        }
        let planned = self.valid(offer);
        // Some are enough, and those spread over what was sent.
        if self.random.below(8) == 0 {
            let of_target = self.remembered.entry(offer.0).or_default();
            if of_target.len() < REMEMBERED_MAX {
                of_target.push_back((self.messages, planned.clone()));
            }
        }
        planned
    }

    /// An earlier record once more, if one of the target was surely answered. Each is repeated once.
    fn repeat(&mut self, target: Target) -> Option<Planned> {
        let answered_before = self.messages.checked_sub(self.distance)?;
        let of_target = self.remembered.get_mut(&target)?;
        let (_, mut planned) =
            of_target.pop_front_if(|(message, _)| *message <= answered_before)?;
        planned.verdict = Verdict::Identical;
        if self.random.below(3) == 0 {
            planned.record.quantity += 1;
            planned.verdict = Verdict::Conflicting;
        }
        Some(planned)
    }

    fn valid(&mut self, (_, skus): &Offer) -> Planned {
        let (sku, quantity_max) = self.random.pick(skus);
        let hour = self.random.pick(&self.hours);
        let second = hour * 3600 + i64::try_from(self.random.below(3600)).unwrap_or_default();
        let used = Timestamp::from_second(second).unwrap_or(self.period.now).min(self.period.now);
        let quantity = i64::try_from(1 + self.random.below(quantity_max)).unwrap_or(1);
        let record = ProductUsageRecord {
            uuid: self.random.uuid().to_string(),
            sku_id: sku.to_owned(),
            quantity,
            timestamp: Some(to_wire(used)),
        };
        Planned { record, sku, used, verdict: Verdict::Accepted }
    }

    fn faulty(&mut self, offer: &Offer) -> Planned {
        let mut planned = self.valid(offer);
        let record = &mut planned.record;
        let reason = match self.random.below(6) {
            0 => {
                record.uuid.replace_range(0..1, "x");
                RejectionReason::InvalidId
            }
            1 => {
                "no-such-sku".clone_into(&mut record.sku_id);
                RejectionReason::InvalidSkuId
            }
            2 => {
                RETIRED_SKU.clone_into(&mut record.sku_id);
                RejectionReason::InvalidSkuId
            }
            3 => {
                record.quantity = 0;
                RejectionReason::InvalidQuantity
            }
            4 => {
                record.timestamp = self.hours_from_now(1);
                RejectionReason::InvalidTimestamp
            }
            _ => {
                record.timestamp = self.hours_from_now(-72);
                RejectionReason::Expired
            }
        };
        planned.verdict = Verdict::Rejected(reason);
        planned
    }

    fn of_unknown_product(&mut self) -> Planned {
        let offer = self.random.pick(&OFFERS);
        let verdict = Verdict::Rejected(RejectionReason::InvalidProductId);
        Planned { verdict, ..self.valid(&offer) }
    }

    fn hours_from_now(&self, hours: i64) -> Option<prost_types::Timestamp> {
        self.period.now.checked_add(SignedDuration::from_hours(hours)).ok().map(to_wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_some_of_everything() {
        let now: Timestamp = "2026-11-21T12:34:56Z".parse().unwrap();
        let start: Timestamp = "2026-11-20T13:00:00Z".parse().unwrap();
        for (records, message_records, distance) in [(20_000, 25, 1), (100_000, 1000, 9)] {
            let period = Period { start, now };
            let mut workload = Workload::new(7, period, records, message_records, distance);
            let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
            while let Some(message) = workload.next() {
                for planned in message.records {
                    *counts.entry(planned.verdict).or_default() += 1;
                    assert!((start..=now).contains(&planned.used));
                }
            }
            assert_eq!(counts.values().sum::<u64>(), records);
            // Accepted, two kinds of duplicates, six reasons besides DUPLICATE.
            assert_eq!(counts.len(), 9, "{counts:?}");
            let share = |verdict| counts[&verdict] * 1000 / records;
            assert!((940..=960).contains(&share(Verdict::Accepted)), "{counts:?}");
            assert!((14..=24).contains(&share(Verdict::Identical)), "{counts:?}");
            assert!((7..=13).contains(&share(Verdict::Conflicting)), "{counts:?}");
        }
    }
}
