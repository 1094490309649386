//! What a store must hold after a plan, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use meterd::{
    domain::{
        api_usage::{ApiTotalsQuery, StatusClass},
        asset_usage::{AssetTotalsQuery, DayRange, StoredBatch, UsageDay},
        id::BatchId,
        totals::Series,
        usage::StoredRecord,
    },
    store::UsageStore,
};

use super::{
    plan::Plan,
    reader::Sum,
    usage::{Event, Identity, Line, Record, Report, Target},
};
use crate::support::usage::{all_records, all_totals, api_totals, asset_totals, organization};

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

fn events_of(plan: &Plan) -> BTreeMap<Identity, &Event> {
    let events = plan.orders().filter_map(|order| match &order.report {
        Report::Events(events) => Some(events),
        _ => None,
    });
    events.flatten().map(|event| (Identity::Event(event.uuid), event)).collect()
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

fn key_of(series: &Series) -> (String, String, String) {
    let instance = series.target.instance.as_ref().map(ToString::to_string).unwrap_or_default();
    (series.target.product.to_string(), instance, series.sku.to_string())
}

/// How the server spells a series.
pub fn spelled((target, sku): &Key) -> (String, String, String) {
    match target {
        Target::Product(product) => ((*product).into(), String::new(), (*sku).into()),
        // So the sample catalog has it.
        Target::Instance(instance) => ("saas".into(), (*instance).into(), (*sku).into()),
    }
}

fn check_totals(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
    violations: &mut Vec<String>,
) {
    let mut counted: BTreeMap<_, Sum> = BTreeMap::new();
    for (series, _, total) in all_totals(store, ORGANIZATION) {
        let sum = counted.entry(key_of(&series)).or_default();
        sum.count += total.records;
        sum.quantity += total.quantity;
    }
    let (least, most) = (used(plan, certain), used(plan, sent));
    for key in most.keys() {
        let counted = counted.remove(&spelled(key)).unwrap_or_default();
        let least = least.get(key).copied().unwrap_or_default();
        if counted.quantity < least.quantity || counted.count < least.count {
            violations.push(format!("{key:?}: counted {counted:?}, less than was used: {least:?}"));
        }
        let most = most[key];
        if counted.quantity > most.quantity || counted.count > most.count {
            violations.push(format!("{key:?}: counted {counted:?}, more than was used: {most:?}"));
        }
    }
    for (key, sum) in counted {
        violations.push(format!("{key:?}: counted {sum:?}, which nobody used"));
    }
}

fn check_records(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
    violations: &mut Vec<String>,
) {
    let planned = records_of(plan);
    let mut seen = BTreeSet::new();
    let mut last: Option<StoredRecord> = None;
    for stored in all_records(store, ORGANIZATION, usize::MAX) {
        let identity = Identity::Record(stored.record.uuid);
        match planned.get(&identity) {
            Some((target, record)) if sent.contains(&identity) => {
                if !says_the_same(&stored, *target, record) {
                    violations.push(format!("{identity} was {record:?} and is {stored:?}"));
                }
            }
            _ => violations.push(format!("{identity} counts, and nobody was to report it")),
        }
        if last.is_some_and(|last| {
            last.stored_time > stored.stored_time || last.sequence > stored.sequence
        }) {
            violations.push(format!("{identity} is out of order in the log"));
        }
        if !seen.insert(identity.clone()) {
            violations.push(format!("{identity} counts twice"));
        }
        last = Some(stored);
    }
    for identity in planned.keys() {
        if certain.contains(identity) && !seen.contains(identity) {
            violations.push(format!("{identity} is lost"));
        }
    }
}

fn says_the_same(stored: &StoredRecord, target: Target, record: &Record) -> bool {
    let of = &stored.target;
    let target_is_right = match target {
        Target::Product(product) => of.product.as_str() == product && of.instance.is_none(),
        Target::Instance(instance) => {
            of.instance.as_ref().is_some_and(|stored| stored.as_str() == instance)
        }
    };
    target_is_right
        && stored.record.sku.as_str() == record.sku
        && stored.record.quantity.get() == record.quantity
        && stored.record.usage_time == record.time
}

fn days() -> DayRange {
    let day = |number| UsageDay::from_number(number).unwrap();
    DayRange { start: day(DAYS.0), end: day(DAYS.1) }
}

fn find_batch(store: &dyn UsageStore, id: &str) -> Option<StoredBatch> {
    store.find_batch(&organization(ORGANIZATION), &BatchId::new(id).unwrap()).unwrap()
}

fn check_batches(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
    violations: &mut Vec<String>,
) {
    let mut recorded = Sum::default();
    for (identity, (id, lines)) in batches_of(plan) {
        match find_batch(store, id) {
            None if certain.contains(&identity) => violations.push(format!("{identity} is lost")),
            None => {}
            Some(_) if !sent.contains(&identity) => {
                violations.push(format!("{identity} counts, and nobody sent it"));
            }
            Some(batch) => {
                let is_whole = batch.usages.iter().map(|usage| {
                    (usage.asset.as_str(), usage.quantity.get(), usage.day.date().to_string())
                });
                let sent = lines.iter().map(|line| {
                    (line.asset.as_str(), i64::from(line.quantity), line.date.to_owned())
                });
                if !is_whole.eq(sent) {
                    violations.push(format!("{identity} is not what was sent: {batch:?}"));
                }
                lines.iter().for_each(|line| recorded.add(1, line.quantity));
            }
        }
    }
    let query = AssetTotalsQuery {
        organization: organization(ORGANIZATION),
        days: days(),
        filter: Default::default(),
    };
    let mut counted = Sum::default();
    for (_, _, total) in asset_totals(store, &query) {
        counted.count += total.records;
        counted.quantity += total.quantity;
    }
    if counted != recorded {
        violations.push(format!("batches of {recorded:?} count as {counted:?}"));
    }
}

fn check_events(
    store: &dyn UsageStore,
    plan: &Plan,
    certain: &BTreeSet<Identity>,
    sent: &BTreeSet<Identity>,
    violations: &mut Vec<String>,
) {
    let query = ApiTotalsQuery {
        organization: organization(ORGANIZATION),
        days: days(),
        filter: Default::default(),
    };
    let mut counted: BTreeMap<(String, StatusClass), Sum> = BTreeMap::new();
    for (series, _, class, total) in api_totals(store, &query) {
        let sum = counted.entry((series.template_uri.to_string(), class)).or_default();
        sum.count += total.records;
        sum.quantity += total.quantity;
    }
    let mut bounds: BTreeMap<(String, StatusClass), (Sum, Sum)> = BTreeMap::new();
    for (identity, event) in events_of(plan) {
        let class = match event.status {
            200..300 => StatusClass::Success,
            400..500 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        };
        let (least, most) = bounds.entry((event.template.to_owned(), class)).or_default();
        if certain.contains(&identity) {
            least.add(1, event.count);
        }
        if sent.contains(&identity) {
            most.add(1, event.count);
        }
    }
    for (key, sum) in &counted {
        let (least, most) = bounds.remove(key).unwrap_or_default();
        let is_between = least.count <= sum.count
            && sum.count <= most.count
            && least.quantity <= sum.quantity
            && sum.quantity <= most.quantity;
        if !is_between {
            violations.push(format!("{key:?}: counted {sum:?}, not {least:?} to {most:?}"));
        }
    }
    for (key, (least, _)) in bounds {
        if least != Sum::default() {
            violations.push(format!("{key:?}: {least:?} are lost"));
        }
    }
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
