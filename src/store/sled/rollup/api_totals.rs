//! Totals of API usage.

use super::{
    layer::Rollups,
    row::{api_day_of, api_prefix, month_and_slot},
    scan::{RowQuery, visit_rows},
};
use crate::{
    domain::{api_usage::ApiTotalsQuery, id::ClientId, usage::LogSequence},
    store::{
        ApiTotalsVisitor, StoreError,
        sled::{engine::Engine, keyspace::KeySpace, organizations::OrganizationNumber},
    },
};

/// Visits the totals that `query` asks for; answers the last sequence they include.
pub(in crate::store::sled) fn read(
    engine: &Engine,
    rollups: &Rollups,
    organization: OrganizationNumber,
    query: &ApiTotalsQuery,
    visit: &mut ApiTotalsVisitor<'_>,
) -> Result<LogSequence, StoreError> {
    let rows = RowQuery {
        prefixes: prefixes(organization, query),
        // The month of the end may lie after the last day: one row too many is read and passed over.
        periods: month_and_slot(query.days.start).0..=month_and_slot(query.days.end).0,
        wants: &|key| Ok(query.filter.matches(&key.api_series()?)),
    };
    visit_rows(engine, rollups, rows, |key, slots| {
        let series = key.api_series()?;
        for (slot, total) in slots {
            if let Some((day, class)) = api_day_of(key.period(), slot)
                && query.days.contains(day)
            {
                visit(&series, day, class, total)?;
            }
        }
        Ok(())
    })
}

/// Whether there is a row of a client.
pub(in crate::store::sled) fn has_any(
    engine: &Engine,
    rollups: &Rollups,
    organization: OrganizationNumber,
    client: &ClientId,
) -> Result<bool, StoreError> {
    let prefix = api_prefix(organization, client);
    // A row that leaves memory meanwhile is on the disk before.
    Ok(rollups.has_any(&prefix) || engine.prefix(&prefix).next().transpose()?.is_some())
}

/// The parts of the key space to look into: the wanted clients, or all of the organization.
fn prefixes(organization: OrganizationNumber, query: &ApiTotalsQuery) -> Vec<Vec<u8>> {
    if query.filter.clients.is_empty() {
        return vec![KeySpace::ApiRollup.of_organization(organization)];
    }
    let mut clients = query.filter.clients.clone();
    clients.sort();
    clients.dedup();
    clients.iter().map(|client| api_prefix(organization, client)).collect()
}
