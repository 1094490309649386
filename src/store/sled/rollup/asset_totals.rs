//! Totals of asset usage.

use super::{
    layer::Rollups,
    row::{asset_prefix, day_of, month_and_slot},
    scan::{RowQuery, visit_rows},
};
use crate::{
    domain::{asset_usage::AssetTotalsQuery, usage::LogSequence},
    store::{
        AssetTotalsVisitor, StoreError,
        sled::{engine::Engine, keyspace::KeySpace, organizations::OrganizationNumber},
    },
};

/// Visits the totals that `query` asks for; answers the last sequence they include.
pub(in crate::store::sled) fn read(
    engine: &Engine,
    rollups: &Rollups,
    organization: OrganizationNumber,
    query: &AssetTotalsQuery,
    visit: &mut AssetTotalsVisitor<'_>,
) -> Result<LogSequence, StoreError> {
    let rows = RowQuery {
        prefixes: prefixes(organization, query),
        // The month of the end may lie after the last day: one row too many is read and passed over.
        periods: month_and_slot(query.days.start).0..=month_and_slot(query.days.end).0,
        wants: &|key| Ok(query.filter.matches(&key.asset_series()?)),
    };
    visit_rows(engine, rollups, rows, |key, slots| {
        let series = key.asset_series()?;
        for (slot, total) in slots {
            let day = day_of(key.period(), slot).filter(|day| query.days.contains(*day));
            if let Some(day) = day {
                visit(&series, day, total)?;
            }
        }
        Ok(())
    })
}

/// The parts of the key space to look into: the wanted assets, or all of the organization.
fn prefixes(organization: OrganizationNumber, query: &AssetTotalsQuery) -> Vec<Vec<u8>> {
    if query.filter.assets.is_empty() {
        return vec![KeySpace::AssetRollup.of_organization(organization)];
    }
    let mut assets = query.filter.assets.clone();
    assets.sort();
    assets.dedup();
    assets.iter().map(|asset| asset_prefix(organization, asset)).collect()
}
