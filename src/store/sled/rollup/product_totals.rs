//! Totals of product usage.

use super::{
    layer::Rollups,
    row::product_prefix,
    scan::{RowQuery, visit_rows},
};
use crate::{
    domain::{calendar::QuarterHour, totals::TotalsQuery, usage::LogSequence},
    store::{
        StoreError, TotalsVisitor,
        sled::{engine::Engine, keyspace::KeySpace, organizations::OrganizationNumber},
    },
};

/// Visits the totals that `query` asks for; answers the last sequence they include.
pub(in crate::store::sled) fn read(
    engine: &Engine,
    rollups: &Rollups,
    organization: OrganizationNumber,
    query: &TotalsQuery,
    visit: &mut TotalsVisitor<'_>,
) -> Result<LogSequence, StoreError> {
    let last = QuarterHour(query.range.end.0.saturating_sub(1));
    let rows = RowQuery {
        prefixes: prefixes(organization, query),
        periods: query.range.start.day_and_slot().0..=last.day_and_slot().0,
        wants: &|key| {
            let series = key.series()?;
            Ok(query.filter.matches(&series.target, &series.sku, &series.client))
        },
    };
    visit_rows(engine, rollups, rows, |key, slots| {
        let series = key.series()?;
        for (slot, total) in slots {
            let quarter = QuarterHour::from_day_and_slot(key.period(), slot);
            if query.range.start <= quarter && quarter < query.range.end {
                visit(&series, quarter, total)?;
            }
        }
        Ok(())
    })
}

/// The parts of the key space to look into: the wanted products, or all of the organization.
fn prefixes(organization: OrganizationNumber, query: &TotalsQuery) -> Vec<Vec<u8>> {
    if query.filter.products.is_empty() {
        return vec![KeySpace::Rollup.of_organization(organization)];
    }
    let mut products = query.filter.products.clone();
    products.sort();
    products.dedup();
    products.iter().map(|product| product_prefix(organization, product)).collect()
}
