//! What callers report, and what must become of it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::uuids::{RecordNumber, UuidVersion, Uuids};
use crate::cli::{
    catalog_file::{CatalogFile, ProductEntry, SkuEntry, unplaced},
    random::Random,
};

/// Usage is of so many moments before the run, evenly spread. They are derived like all else, so they stay where they are
/// while the run goes on.
const USAGE_MOMENTS: u32 = 900;
const QUANTITY_MAX: u64 = 1000;
/// A caller that repeats records makes so many messages of one product in a row.
const MESSAGES_OF_A_PRODUCT: usize = 16;
/// A uuid with hyphens, in ASCII.
pub(super) type UuidText = [u8; uuid::fmt::Hyphenated::LENGTH];

/// What all callers of a run have in common.
#[derive(Debug)]
pub(super) struct Plan {
    uuids: Uuids,
    pub(super) products: Vec<String>,
    pub(super) skus: Vec<String>,
    /// Times of usage, and their texts: seconds since 1970, RFC 3339.
    pub(super) times: Vec<(i64, String)>,
    seed: u64,
}

/// What decides a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanSize {
    pub(super) seed: u64,
    pub(super) version: UuidVersion,
    pub(super) lanes: u32,
    pub(super) products: u32,
    pub(super) skus: u32,
    /// How long before the run the earliest usage is; of whole seconds.
    pub(super) usage_spread: Duration,
}

impl Plan {
    pub(super) fn new(size: PlanSize, now: Timestamp) -> Self {
        let first_millisecond = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let time = |moment: u32| {
            let back = size.usage_spread * moment / USAGE_MOMENTS;
            let second = now.checked_sub(back).unwrap_or(now).as_second();
            (second, Timestamp::from_second(second).unwrap_or(now).to_string())
        };
        Self {
            uuids: Uuids::new(
                size.version,
                size.seed,
                size.lanes * size.products,
                first_millisecond,
            ),
            products: (1..=size.products).map(|number| format!("bench-product-{number}")).collect(),
            skus: (1..=size.skus).map(|number| format!("bench-sku-{number}")).collect(),
            times: (1..=USAGE_MOMENTS).map(time).collect(),
            seed: size.seed,
        }
    }

    /// The products that usage is reported of.
    pub(super) fn catalog(&self) -> CatalogFile {
        let sku = |id: &String| SkuEntry {
            id: unplaced(id),
            name: "Invented by meterd bench".to_owned(),
            usage_unit: "unit".to_owned(),
            state: Default::default(),
        };
        let product = |id: &String| ProductEntry {
            id: unplaced(id),
            name: "Invented by meterd bench".to_owned(),
            state: Default::default(),
            skus: self.skus.iter().map(sku).collect(),
        };
        CatalogFile {
            products: self.products.iter().map(product).collect(),
            ..CatalogFile::default()
        }
    }

    pub(super) fn product(&self, message: &Message) -> &str {
        self.products.get(message.product).map_or("", String::as_str)
    }

    pub(super) fn sku(&self, planned: &Planned) -> &str {
        self.skus.get(usize::from(planned.sku)).map_or("", String::as_str)
    }

    pub(super) fn time(&self, planned: &Planned) -> (i64, &str) {
        self.times.get(usize::from(planned.time)).map_or((0, ""), |(second, text)| (*second, text))
    }

    fn record(&self, number: RecordNumber, repeated: bool) -> Planned {
        let content = self.uuids.content(number);
        let below = |bits: u64, bound: usize| {
            u16::try_from((bits & 0xffff) % (bound as u64).max(1)).unwrap_or_default()
        };
        let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
        self.uuids.uuid(number).hyphenated().encode_lower(&mut uuid);
        Planned {
            uuid,
            sku: below(content, self.skus.len()),
            time: below(content >> 16, self.times.len()),
            quantity: u16::try_from(1 + (content >> 32) % QUANTITY_MAX).unwrap_or(1),
            repeated,
        }
    }
}

/// A record of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) uuid: UuidText,
    /// Places in the plan's lists.
    sku: u16,
    time: u16,
    pub(super) quantity: u16,
    /// It was accepted before, so this one is a duplicate.
    pub(super) repeated: bool,
}

/// Records of one call, all of one product.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    product: usize,
    pub(super) records: Vec<Planned>,
    new_records: u64,
    /// It was sent before and not answered: whether its new records are stored, nobody knows.
    pub(super) uncertain: bool,
}

/// How messages are made.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct MessageShape {
    #[serde(rename = "records_per_call")]
    pub(super) records: usize,
    pub(super) duplicates_percent: u8,
}

/// How much of a row of records is sent, and how much of that is answered.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    sent: u64,
    answered: u64,
}

/// One caller's records: a row for each product. Others never send them, so the caller always knows what must become
/// of a record.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) plan: Arc<Plan>,
    number: usize,
    product: usize,
    /// Made in a row.
    messages_of_product: usize,
    rows: Vec<Row>,
    random: Random,
    /// Sent, and to be sent again, oldest first.
    unanswered: VecDeque<Message>,
}

impl Lane {
    pub(super) fn new(plan: &Arc<Plan>, number: usize) -> Self {
        Self {
            plan: Arc::clone(plan),
            number,
            product: number % plan.products.len().max(1),
            messages_of_product: 0,
            rows: vec![Row::default(); plan.products.len()],
            random: Random::new(plan.seed ^ ((number as u64 + 1) << 32)),
            unanswered: VecDeque::new(),
        }
    }

    /// Makes the next message, in the place of one that is not needed any more. What went unanswered comes first.
    pub(super) fn compose(&mut self, message: &mut Message, shape: MessageShape) {
        if let Some(unanswered) = self.unanswered.pop_front() {
            *message = unanswered;
            return;
        }
        let products = self.rows.len();
        message.product = self.next_product(shape);
        message.uncertain = false;
        message.new_records = 0;
        message.records.clear();
        let number = u32::try_from(self.number * products + message.product).unwrap_or(u32::MAX);
        let Some(row) = self.rows.get_mut(message.product) else { return };
        for _ in 0..shape.records {
            let repeated =
                row.answered > 0 && self.random.below(100) < u64::from(shape.duplicates_percent);
            let at = if repeated { self.random.below(row.answered) } else { row.sent };
            row.sent += u64::from(!repeated);
            message.new_records += u64::from(!repeated);
            message.records.push(self.plan.record(RecordNumber { row: number, at }, repeated));
        }
    }

    /// Callers begin with different products, and take turns.
    fn next_product(&mut self, shape: MessageShape) -> usize {
        // Staying with one for a while gives its row a past to repeat early in a run.
        let stay = if shape.duplicates_percent == 0 { 1 } else { MESSAGES_OF_A_PRODUCT };
        if self.messages_of_product >= stay {
            self.product = (self.product + 1) % self.rows.len().max(1);
            self.messages_of_product = 0;
        }
        self.messages_of_product += 1;
        self.product
    }

    /// A message was answered; those of a row in the order in which they were made.
    pub(super) fn settle(&mut self, message: &Message) {
        if let Some(row) = self.rows.get_mut(message.product) {
            row.answered += message.new_records;
        }
    }

    /// A message was not answered. Oldest first.
    pub(super) fn keep(&mut self, message: Message) {
        self.unanswered.push_back(message);
    }

    /// Records whose fate is unknown, because the run ended without an answer.
    pub(super) fn unanswered_records(&self) -> u64 {
        self.unanswered
            .iter()
            .filter(|message| message.uncertain)
            .map(|message| message.records.len() as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn lane() -> Lane {
        let size = PlanSize {
            seed: 3,
            version: UuidVersion::V4,
            lanes: 2,
            products: 4,
            skus: 5,
            usage_spread: Duration::from_mins(15),
        };
        Lane::new(&Arc::new(Plan::new(size, "2026-11-20T12:00:00Z".parse().unwrap())), 1)
    }

    #[test]
    fn duplicates_are_as_many_as_asked_for_and_say_the_same_again() {
        let mut lane = lane();
        let shape = MessageShape { records: 25, duplicates_percent: 10 };
        let mut first_said: HashMap<UuidText, (usize, u16, u16, u16)> = HashMap::new();
        let (mut repeated, mut early) = (0, 0);
        let mut message = Message::default();
        for _ in 0..4000 {
            lane.compose(&mut message, shape);
            for planned in &message.records {
                let said = (message.product, planned.sku, planned.time, planned.quantity);
                if planned.repeated {
                    assert_eq!(first_said.get(&planned.uuid), Some(&said));
                    repeated += 1;
                } else {
                    assert_eq!(first_said.insert(planned.uuid, said), None);
                }
            }
            lane.settle(&message);
        }
        assert!((9_500..10_500).contains(&repeated), "{repeated} of 100,000");
        // From all that was sent: half of them from the first half of the rows.
        for row in &mut lane.rows {
            row.answered = row.sent;
        }
        let halves: Vec<u64> = lane.rows.iter().map(|row| row.sent / 2).collect();
        for _ in 0..1000 {
            lane.compose(&mut message, MessageShape { records: 1, duplicates_percent: 100 });
            let half = halves[message.product];
            let row = u32::try_from(4 + message.product).unwrap();
            let planned = message.records[0];
            early +=
                u32::from((0..half).any(|at| {
                    lane.plan.record(RecordNumber { row, at }, true).uuid == planned.uuid
                }));
        }
        assert!((430..570).contains(&early), "{early} of 1000");
    }

    #[test]
    fn what_is_not_answered_is_no_duplicate_yet_and_is_sent_again() {
        let mut lane = lane();
        let shape = MessageShape { records: 5, duplicates_percent: 100 };
        let mut message = Message::default();
        lane.compose(&mut message, shape);
        assert!(message.records.iter().all(|planned| !planned.repeated));
        let sent: Vec<UuidText> = message.records.iter().map(|planned| planned.uuid).collect();
        message.uncertain = true;
        lane.keep(std::mem::take(&mut message));
        assert_eq!(lane.unanswered_records(), 5);
        lane.compose(&mut message, shape);
        assert!(message.uncertain && lane.unanswered_records() == 0);
        assert!(message.records.iter().map(|planned| planned.uuid).eq(sent));
    }

    #[test]
    fn usage_is_spread_evenly() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let size = PlanSize {
            seed: 3,
            version: UuidVersion::V4,
            lanes: 1,
            products: 1,
            skus: 1,
            usage_spread: Duration::from_hours(24 * 30),
        };
        let times = Plan::new(size, now).times;
        let back: Vec<i64> = times.iter().map(|(second, _)| now.as_second() - second).collect();
        assert!(back.windows(2).all(|pair| pair[1] - pair[0] == 2880), "{back:?}");
        assert_eq!((back.first(), back.last()), (Some(&2880), Some(&(30 * 86_400))));
    }

    #[test]
    fn the_catalog_is_valid() {
        assert!(lane().plan.catalog().desired().is_ok());
    }
}
