//! Reading totals as of one moment.

use std::collections::BTreeMap;

use super::{
    layer::{Delta, Rollups, combine},
    row::{Row, RowKey, Slots, day_bytes, product_prefix},
};
use crate::{
    domain::{calendar::QuarterHour, totals::TotalsQuery, usage::LogSequence},
    store::{
        StoreError, TotalsVisitor,
        sled::{
            engine::{Engine, Entry},
            keyspace::KeySpace,
            organizations::OrganizationNumber,
        },
    },
};

/// Visits the totals that `query` asks for; answers the last sequence they include.
pub(in crate::store::sled) fn totals(
    engine: &Engine,
    rollups: &Rollups,
    organization: OrganizationNumber,
    query: &TotalsQuery,
    visit: &mut TotalsVisitor<'_>,
) -> Result<LogSequence, StoreError> {
    // No row changes while this is held, so rows and deltas belong to one moment.
    let _gate = rollups.checkpoint_gate.read();
    let prefixes = prefixes(organization, query);
    let mut wanted = Wanted::new(query);
    let (mut deltas, through) = rollups.collect(&prefixes, |key| wanted.row(key))?;
    for prefix in &prefixes {
        scan(engine, prefix, &mut wanted, |key, value| {
            let row = Row::decode(key.as_bytes(), value)?;
            let slots = combine(row, &deltas.remove(key).unwrap_or_default())?;
            visit_slots(query, key, slots, visit)
        })?;
    }
    visit_new_rows(query, deltas, visit)?;
    Ok(through)
}

/// Rows that so far exist in memory only.
fn visit_new_rows(
    query: &TotalsQuery,
    deltas: BTreeMap<RowKey, Vec<Delta>>,
    visit: &mut TotalsVisitor<'_>,
) -> Result<(), StoreError> {
    for (key, deltas) in deltas {
        let slots = combine(Row::default(), &deltas)?;
        visit_slots(query, &key, slots, visit)?;
    }
    Ok(())
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

fn visit_slots(
    query: &TotalsQuery,
    key: &RowKey,
    slots: Slots,
    visit: &mut TotalsVisitor<'_>,
) -> Result<(), StoreError> {
    let series = key.series()?;
    for (slot, total) in slots {
        let quarter = QuarterHour::from_day_and_slot(key.day(), slot);
        if query.range.start <= quarter && quarter < query.range.end {
            visit(&series, quarter, total)?;
        }
    }
    Ok(())
}

/// Which rows a query wants. Remembers the last series it judged: rows come series by series.
struct Wanted<'a> {
    query: &'a TotalsQuery,
    first_day: i64,
    last_day: i64,
    judged: Option<(Vec<u8>, bool)>,
}

impl<'a> Wanted<'a> {
    fn new(query: &'a TotalsQuery) -> Self {
        Self {
            query,
            first_day: query.range.start.day_and_slot().0,
            last_day: QuarterHour(query.range.end.0.saturating_sub(1)).day_and_slot().0,
            judged: None,
        }
    }

    fn row(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        Ok((self.first_day..=self.last_day).contains(&key.day()) && self.series(key)?)
    }

    fn series(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        if let Some((judged, verdict)) = &self.judged
            && judged == key.series_bytes()
        {
            return Ok(*verdict);
        }
        let series = key.series()?;
        let verdict = self.query.filter.matches(&series.target, &series.sku, &series.client);
        self.judged = Some((key.series_bytes().to_vec(), verdict));
        Ok(verdict)
    }

    /// Where to go on after a row that is not wanted: the first wanted day of its series, or the
    /// next series.
    fn skip_from(&mut self, key: &RowKey) -> Result<Vec<u8>, StoreError> {
        let mut next = key.series_bytes().to_vec();
        if key.day() < self.first_day && self.series(key)? {
            next.extend_from_slice(&day_bytes(self.first_day)?);
        } else {
            // After every day of the series, since days have four bytes; and before the next series,
            // since that one differs in an earlier byte.
            next.extend_from_slice(&[0xff; 5]);
        }
        Ok(next)
    }
}

/// Hands every wanted stored row under `prefix` to `found`, jumping over what is not wanted.
fn scan(
    engine: &Engine,
    prefix: &[u8],
    wanted: &mut Wanted<'_>,
    mut found: impl FnMut(&RowKey, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rows = engine.range(prefix.to_vec()..);
    while let Some(entry) = rows.next() {
        let (key, value): Entry = entry?;
        if !key.starts_with(prefix) {
            break;
        }
        let key = RowKey::from_bytes(&key);
        if wanted.row(&key)? {
            found(&key, &value)?;
        } else {
            rows = engine.range(wanted.skip_from(&key)?..);
        }
    }
    Ok(())
}
