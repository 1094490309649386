//! Visiting the rows of some series and periods, stored ones and those in memory, as of one moment.

use std::{collections::btree_map::Range, iter::Peekable, ops::RangeInclusive};

use super::{
    layer::{Delta, Layer, Rollups, combine},
    row::{Row, RowKey, Slots, period_bytes},
    snapshot::{RowRanges, Snapshot},
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::engine::{Engine, Entry},
    },
};

/// After so many rows, those that were kept for the reader and are behind it are let go.
const ROWS_BETWEEN_RELEASES: usize = 1024;

/// Which rows are wanted.
pub(super) struct RowQuery<'a> {
    /// The parts of the key space to look into; none begins with another.
    pub(super) prefixes: Vec<Vec<u8>>,
    /// Days or months.
    pub(super) periods: RangeInclusive<i64>,
    /// Whether the series of a key is wanted.
    pub(super) wants: &'a dyn Fn(&RowKey) -> Result<bool, StoreError>,
}

/// Visits every wanted row with its sums, in the order of the keys; answers the last sequence they include. Holds no lock
/// while it reads, or while `visit` runs.
pub(super) fn visit_rows(
    engine: &Engine,
    rollups: &Rollups,
    query: RowQuery<'_>,
    mut visit: impl FnMut(&RowKey, Slots) -> Result<(), StoreError>,
) -> Result<LogSequence, StoreError> {
    let RowQuery { mut prefixes, periods, wants } = query;
    prefixes.sort_unstable();
    debug_assert!(
        prefixes.iter().zip(prefixes.iter().skip(1)).all(|(one, next)| !next.starts_with(one)),
        "a row would be visited twice"
    );
    let snapshot = rollups.snapshot(RowRanges { prefixes, periods });
    let mut wanted = Wanted { periods: &snapshot.ranges().periods, wants, judged: None };
    let mut visited: usize = 0;
    for prefix in &snapshot.ranges().prefixes {
        let mut rows = Rows::under(engine, &snapshot, prefix)?;
        while let Some(key) = rows.key() {
            if !wanted.row(key)? {
                let next = wanted.skip_from(key)?;
                rows.skip_to(&next)?;
                continue;
            }
            let Some((key, slots)) = rows.take()? else { break };
            // A row that is new since the moment has none.
            if !slots.is_empty() {
                visit(&key, slots)?;
            }
            visited += 1;
            if visited.is_multiple_of(ROWS_BETWEEN_RELEASES) {
                snapshot.have_read_before(&key);
            }
        }
    }
    Ok(snapshot.through())
}

/// Which rows a query wants. Remembers the last series it judged: rows come series by series.
struct Wanted<'a> {
    periods: &'a RangeInclusive<i64>,
    wants: &'a dyn Fn(&RowKey) -> Result<bool, StoreError>,
    judged: Option<(Vec<u8>, bool)>,
}

impl Wanted<'_> {
    fn row(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        Ok(self.periods.contains(&key.period()) && self.series(key)?)
    }

    fn series(&mut self, key: &RowKey) -> Result<bool, StoreError> {
        if let Some((judged, verdict)) = &self.judged
            && judged == key.series_bytes()
        {
            return Ok(*verdict);
        }
        let verdict = (self.wants)(key)?;
        self.judged = Some((key.series_bytes().to_vec(), verdict));
        Ok(verdict)
    }

    /// Where to go on after a row that is not wanted: the first wanted period of its series, or the next
    /// series.
    fn skip_from(&mut self, key: &RowKey) -> Result<RowKey, StoreError> {
        let mut next = key.series_bytes().to_vec();
        if key.period() < *self.periods.start() && self.series(key)? {
            next.extend_from_slice(&period_bytes(*self.periods.start())?);
        } else {
            // After every period of the series, since those have four bytes; and before the next series,
            // since that one differs in an earlier byte.
            next.extend_from_slice(&[0xff; 5]);
        }
        Ok(RowKey::from_bytes(&next))
    }
}

/// The rows under a prefix, on the disk and in the layers of a snapshot, in the order of their keys.
struct Rows<'a> {
    snapshot: &'a Snapshot,
    stored: StoredRows<'a>,
    /// Oldest first.
    layers: Vec<LayerRows<'a>>,
}

impl<'a> Rows<'a> {
    fn under(
        engine: &'a Engine,
        snapshot: &'a Snapshot,
        prefix: &'a [u8],
    ) -> Result<Self, StoreError> {
        let from = RowKey::from_bytes(prefix);
        let layers = snapshot.layers().map(|layer| LayerRows::from(layer, prefix, &from));
        let layers = layers.filter_map(|mut rows| rows.key().is_some().then_some(rows)).collect();
        Ok(Self { snapshot, stored: StoredRows::from(engine, prefix, &from)?, layers })
    }

    /// The key of the next row.
    fn key(&mut self) -> Option<&RowKey> {
        let stored = self.stored.next.as_ref().map(|(key, _)| key);
        let in_memory = self.layers.iter_mut().filter_map(|layer| layer.key());
        in_memory.chain(stored).min()
    }

    /// The next row, with all of its sums.
    fn take(&mut self) -> Result<Option<(RowKey, Slots)>, StoreError> {
        let in_memory = self.layers.iter_mut().filter_map(|layer| layer.key()).min().cloned();
        let (key, row) = match (self.stored.take_up_to(in_memory.as_ref())?, in_memory) {
            (Some((key, value)), _) => {
                let row = self.snapshot.row(&key, &value)?;
                (key, row)
            }
            (None, Some(key)) => (key, Row::default()),
            (None, None) => return Ok(None),
        };
        let slots = combine(row, self.layers.iter_mut().filter_map(|layer| layer.take(&key)))?;
        Ok(Some((key, slots)))
    }

    /// Passes over the rows before a key.
    fn skip_to(&mut self, key: &RowKey) -> Result<(), StoreError> {
        self.layers.iter_mut().for_each(|layer| layer.skip_to(key));
        self.stored.skip_to(key)
    }
}

/// The stored rows under a prefix.
struct StoredRows<'a> {
    engine: &'a Engine,
    prefix: &'a [u8],
    rows: Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>,
    next: Option<(RowKey, sled::IVec)>,
}

impl<'a> StoredRows<'a> {
    fn from(engine: &'a Engine, prefix: &'a [u8], from: &RowKey) -> Result<Self, StoreError> {
        let rows = Box::new(engine.range(from.as_bytes().to_vec()..));
        let mut stored = Self { engine, prefix, rows, next: None };
        stored.advance()?;
        Ok(stored)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        let entry = self.rows.next().transpose()?;
        let entry = entry.filter(|(key, _)| key.starts_with(self.prefix));
        self.next = entry.map(|(key, value)| (RowKey::from_bytes(&key), value));
        Ok(())
    }

    /// Takes the next row unless it comes after `last`.
    fn take_up_to(
        &mut self,
        last: Option<&RowKey>,
    ) -> Result<Option<(RowKey, sled::IVec)>, StoreError> {
        let is_due = |(key, _): &mut (RowKey, sled::IVec)| last.is_none_or(|last| &*key <= last);
        let taken = self.next.take_if(is_due);
        if taken.is_some() {
            self.advance()?;
        }
        Ok(taken)
    }

    fn skip_to(&mut self, key: &RowKey) -> Result<(), StoreError> {
        if self.next.as_ref().is_some_and(|(next, _)| next < key) {
            *self = Self::from(self.engine, self.prefix, key)?;
        }
        Ok(())
    }
}

/// The rows of one layer under a prefix.
struct LayerRows<'a> {
    layer: &'a Layer,
    prefix: &'a [u8],
    rows: Peekable<Range<'a, RowKey, Delta>>,
}

impl<'a> LayerRows<'a> {
    fn from(layer: &'a Layer, prefix: &'a [u8], from: &RowKey) -> Self {
        Self { layer, prefix, rows: layer.range(from.clone()..).peekable() }
    }

    fn key(&mut self) -> Option<&'a RowKey> {
        let (key, _) = self.rows.peek()?;
        key.as_bytes().starts_with(self.prefix).then_some(*key)
    }

    /// What the layer adds to a row, if that is its next one.
    fn take(&mut self, key: &RowKey) -> Option<&'a Delta> {
        self.rows.next_if(|(next, _)| *next == key).map(|(_, delta)| delta)
    }

    fn skip_to(&mut self, key: &RowKey) {
        if self.key().is_some_and(|next| next < key) {
            *self = Self::from(self.layer, self.prefix, key);
        }
    }
}
