//! Records of product usage: in the totals and in the log.

use std::collections::{BTreeMap, BTreeSet};

use meterd::{
    domain::{totals::Series, usage::StoredRecord},
    store::UsageStore,
};

use super::{ORGANIZATION, records_of, spelled, used};
use crate::{
    network::{
        plan::Plan,
        reader::Sum,
        usage::{Identity, Record, Target},
    },
    support::usage::{all_records, all_totals},
};

pub fn check_totals(
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

fn key_of(series: &Series) -> (String, String, String) {
    let instance = series.target.instance.as_ref().map(ToString::to_string).unwrap_or_default();
    (series.target.product.to_string(), instance, series.sku.to_string())
}

pub fn check_records(
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
