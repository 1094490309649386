//! Batches of asset usage: each whole or not at all, and in the totals.

use std::collections::BTreeSet;

use meterd::{domain::asset_usage::AssetTotalsQuery, store::UsageStore};

use super::{ORGANIZATION, batches_of, days, find_batch};
use crate::{
    network::{plan::Plan, reader::Sum, usage::Identity},
    support::usage::{asset_totals, organization},
};

pub fn check_batches(
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
