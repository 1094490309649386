//! Visiting the rows of some series and periods, stored ones and those in memory, as of one moment.

use std::ops::RangeInclusive;

use super::{
    layer::{Rollups, combine},
    row::{Row, RowKey, Slots, period_bytes},
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::engine::{Engine, Entry},
    },
};

/// Which rows are wanted.
pub(super) struct RowQuery<'a> {
    /// The parts of the key space to look into; none begins with another.
    pub(super) prefixes: Vec<Vec<u8>>,
    /// Days or months.
    pub(super) periods: RangeInclusive<i64>,
    /// Whether the series of a key is wanted.
    pub(super) wants: &'a dyn Fn(&RowKey) -> Result<bool, StoreError>,
}

/// Visits every wanted row with its sums; answers the last sequence they include.
pub(super) fn visit_rows(
    engine: &Engine,
    rollups: &Rollups,
    query: &RowQuery<'_>,
    mut visit: impl FnMut(&RowKey, Slots) -> Result<(), StoreError>,
) -> Result<LogSequence, StoreError> {
    // No row changes while this is held, so rows and deltas belong to one moment.
    let _gate = rollups.checkpoint_gate.read();
    let mut wanted = Wanted { query, judged: None };
    let (mut deltas, through) = rollups.collect(&query.prefixes, |key| wanted.row(key))?;
    for prefix in &query.prefixes {
        scan(engine, prefix, &mut wanted, |key, value| {
            let row = Row::decode(key.as_bytes(), value)?;
            visit(key, combine(row, &deltas.remove(key).unwrap_or_default())?)
        })?;
    }
    // Rows that so far exist in memory only.
    for (key, deltas) in deltas {
        visit(&key, combine(Row::default(), &deltas)?)?;
    }
    Ok(through)
}

/// Which rows a query wants. Remembers the last series it judged: rows come series by series.
struct Wanted<'a> {
    query: &'a RowQuery<'a>,
    judged: Option<(Vec<u8>, bool)>,
}

impl Wanted<'_> {
    fn row(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        Ok(self.query.periods.contains(&key.period()) && self.series(key)?)
    }

    fn series(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        if let Some((judged, verdict)) = &self.judged
            && judged == key.series_bytes()
        {
            return Ok(*verdict);
        }
        let verdict = (self.query.wants)(key)?;
        self.judged = Some((key.series_bytes().to_vec(), verdict));
        Ok(verdict)
    }

    /// Where to go on after a row that is not wanted: the first wanted period of its series, or the next
    /// series.
    fn skip_from(&mut self, key: &RowKey) -> Result<Vec<u8>, StoreError> {
        let mut next = key.series_bytes().to_vec();
        if key.period() < *self.query.periods.start() && self.series(key)? {
            next.extend_from_slice(&period_bytes(*self.query.periods.start())?);
        } else {
            // After every period of the series, since those have four bytes; and before the next series,
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
