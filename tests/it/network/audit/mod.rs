//! What a store must hold after a plan, and nothing else.

mod api_usage;
mod asset_usage;
mod product_usage;

use std::collections::{BTreeMap, BTreeSet};

use meterd::{
    domain::{
        asset_usage::{DayRange, StoredBatch, UsageDay},
        id::BatchId,
    },
    store::UsageStore,
};

use self::{
    api_usage::check_events,
    asset_usage::check_batches,
    product_usage::{check_records, check_totals},
};
use super::{
    plan::Plan,
    reader::Sum,
    usage::{Identity, Line, Record, Report, Target},
};
use crate::support::usage::{all_records, organization};

const ORGANIZATION: &str = "default";
/// Wide enough for every plan.
const DAYS: (i64, i64) = (20_000, 30_000);

/// A series of totals, as the plan calls it.
pub type Key = (Target, &'static str);

/// Finds what is lost, doubled, torn, or of nobody. `certain` must be there, and only what was `sent` may be.
pub fn check_store(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
) -> Vec<String> {
    let mut violations = Vec::new();
    check_totals(store, plan, certain, sent, &mut violations);
    check_records(store, plan, certain, sent, &mut violations);
    check_batches(store, plan, certain, sent, &mut violations);
    check_events(store, plan, certain, sent, &mut violations);
    violations
}

/// Every record of a plan, with its target, once.
pub fn records_of(plan: &Plan) -> BTreeMap<Identity, (Target, &Record)> {
    let messages = plan.orders().flat_map(|order| order.report.messages());
    let records =
        messages.flat_map(|message| message.records.iter().map(|record| (message.target, record)));
    records.map(|(target, record)| (Identity::Record(record.uuid), (target, record))).collect()
}

/// Every batch of a plan, once.
pub fn batches_of(plan: &Plan) -> BTreeMap<Identity, (&str, &[Line])> {
    let batches = plan.orders().filter_map(|order| match &order.report {
        Report::Batch { id, lines } => {
            Some((Identity::Batch(id.clone()), (id.as_str(), lines.as_slice())))
        }
        _ => None,
    });
    batches.collect()
}

/// Usage of some records by series.
pub fn used(plan: &Plan, which: &BTreeSet<Identity>) -> BTreeMap<Key, Sum> {
    let mut used: BTreeMap<Key, Sum> = BTreeMap::new();
    for (identity, (target, record)) in records_of(plan) {
        if which.contains(&identity) {
            used.entry((target, record.sku)).or_default().add(1, record.quantity);
        }
    }
    used
}

/// How the server spells a series.
pub fn spelled((target, sku): &Key) -> (String, String, String) {
    match target {
        Target::Product(product) => ((*product).into(), String::new(), (*sku).into()),
        // So the sample catalog has it.
        Target::Instance(instance) => ("saas".into(), (*instance).into(), (*sku).into()),
    }
}

fn days() -> DayRange {
    let day = |number| UsageDay::from_number(number).unwrap();
    DayRange { start: day(DAYS.0), end: day(DAYS.1) }
}

fn find_batch(store: &dyn UsageStore, id: &str) -> Option<StoredBatch> {
    store.find_batch(&organization(ORGANIZATION), &BatchId::new(id).unwrap()).unwrap()
}

/// What a store holds, in the order in which it was committed, a line each.
pub fn log_of(store: &dyn UsageStore, plan: &Plan) -> Vec<String> {
    let records = all_records(store, ORGANIZATION, usize::MAX).into_iter().map(|stored| {
        format!("{} {} {}", stored.sequence.0, stored.stored_time, stored.record.uuid)
    });
    let batches = batches_of(plan).into_values().filter_map(|(id, _)| {
        let batch = find_batch(store, id)?;
        Some(format!("{} {} {id}", batch.sequence.0, batch.stored_time))
    });
    records.chain(batches).collect()
}
