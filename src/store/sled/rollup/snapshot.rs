//! What a reader of totals works on: all rows as of one moment, while commits and checkpoints go on.
//!
//! A snapshot is the layers in memory of that moment, which never change, and its sequence. Rows on the disk do change: the
//! flusher replaces them by rows that include later usage. Before it does, it hands the row that it is about to replace to
//! every snapshot that is older than what it writes. So of a row that the reader finds on the disk,
//! - one that is complete up to the snapshot, or less far, is right as it is: the layers hold what it lacks;
//! - one that goes beyond it was replaced since: what was there before is in the snapshot, or there was nothing.
//!
//! Neither waits for the other. What a snapshot may hold is limited: a reader that is too slow for the changes of its own
//! rows fails. Rows of others, and new ones, take nothing.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use parking_lot::Mutex;
use sled::IVec;

use super::{
    layer::{Delta, Layer},
    row::{Row, RowKey},
};
use crate::{domain::usage::LogSequence, store::StoreError};

/// What a replaced row takes in memory besides its key and value.
const BYTES_PER_ROW: usize = 96;

/// Rows that a reader may want.
#[derive(Debug)]
pub(in crate::store::sled) struct RowRanges {
    /// The parts of the key space to look into, in order; none begins with another.
    pub(in crate::store::sled) prefixes: Vec<Vec<u8>>,
    /// Days or months.
    pub(in crate::store::sled) periods: RangeInclusive<i64>,
}

impl RowRanges {
    pub(super) fn contains(&self, key: &RowKey) -> bool {
        // The last one that is not behind the key is the only one that it can begin with.
        let behind = self.prefixes.partition_point(|prefix| prefix.as_slice() <= key.as_bytes());
        let prefix = behind.checked_sub(1).and_then(|at| self.prefixes.get(at));
        prefix.is_some_and(|prefix| key.as_bytes().starts_with(prefix))
            && self.periods.contains(&key.period())
    }

    /// Whether a layer has rows under one of the prefixes.
    fn meet(&self, layer: &Layer) -> bool {
        self.prefixes.iter().any(|prefix| {
            let mut from = layer.range(RowKey::from_bytes(prefix)..);
            from.next().is_some_and(|(key, _)| key.as_bytes().starts_with(prefix))
        })
    }
}

/// Stored rows as they were at the moment of a snapshot, those that were replaced since.
#[derive(Debug)]
pub(in crate::store::sled) struct OverwrittenRows {
    through: LogSequence,
    ranges: RowRanges,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<RowKey, IVec>,
    bytes: usize,
    /// Rows before this one have been read.
    read_before: Option<RowKey>,
    is_over_limit: bool,
}

impl OverwrittenRows {
    pub(super) fn new(through: LogSequence, ranges: RowRanges, bytes_max: usize) -> Self {
        Self { through, ranges, bytes_max, kept: Mutex::default() }
    }

    pub(super) fn through(&self) -> LogSequence {
        self.through
    }

    /// Takes a row that is about to be replaced for the first time since the snapshot.
    pub(super) fn keep(&self, key: &RowKey, row: &Row, value: &IVec) {
        // One that goes beyond the snapshot was kept before, or is new since.
        if row.included_through > self.through || !self.ranges.contains(key) {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.is_over_limit || kept.read_before.as_ref().is_some_and(|read| key < read) {
            return;
        }
        kept.bytes += bytes_of(key, value);
        if kept.bytes > self.bytes_max {
            *kept = Kept { is_over_limit: true, ..Kept::default() };
            return;
        }
        kept.rows.insert(key.clone(), value.clone());
    }
}

/// What a replaced row takes in memory.
fn bytes_of(key: &RowKey, value: &IVec) -> usize {
    key.as_bytes().len() + value.len() + BYTES_PER_ROW
}

/// All rows of some ranges as of one moment.
#[derive(Debug)]
pub(in crate::store::sled) struct Snapshot {
    /// Oldest first.
    layers: Vec<Arc<Layer>>,
    overwritten: Arc<OverwrittenRows>,
}

impl Snapshot {
    pub(super) fn new(mut layers: Vec<Arc<Layer>>, overwritten: Arc<OverwrittenRows>) -> Self {
        layers.retain(|layer| overwritten.ranges.meet(layer));
        Self { layers, overwritten }
    }

    /// The sequence that it is as of.
    pub(in crate::store::sled) fn through(&self) -> LogSequence {
        self.overwritten.through
    }

    pub(super) fn ranges(&self) -> &RowRanges {
        &self.overwritten.ranges
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().map(|layer| &**layer)
    }

    /// What is in memory of the rows under the prefixes, whatever their period.
    pub(in crate::store::sled) fn deltas(&self) -> BTreeMap<RowKey, Vec<Delta>> {
        let mut deltas: BTreeMap<RowKey, Vec<Delta>> = BTreeMap::new();
        for (layer, prefix) in
            self.layers().flat_map(|layer| self.ranges().prefixes.iter().map(move |p| (layer, p)))
        {
            let from = layer.range(RowKey::from_bytes(prefix)..);
            for (key, delta) in from.take_while(|(key, _)| key.as_bytes().starts_with(prefix)) {
                deltas.entry(key.clone()).or_default().push(delta.clone());
            }
        }
        deltas
    }

    /// The row that a key had at the moment of the snapshot, or an earlier one, given what the disk holds.
    pub(super) fn row(&self, key: &RowKey, value: &[u8]) -> Result<Row, StoreError> {
        let row = Row::decode(key.as_bytes(), value)?;
        if row.included_through <= self.through() {
            return Ok(row);
        }
        let kept = self.overwritten.kept.lock();
        if kept.is_over_limit {
            return Err(StoreError::SnapshotTooOld);
        }
        match kept.rows.get(key) {
            Some(value) => Row::decode(key.as_bytes(), value),
            // It is new since.
            None => Ok(Row::default()),
        }
    }

    /// Says that rows before this one are not asked for again.
    pub(super) fn have_read_before(&self, key: &RowKey) {
        let mut kept = self.overwritten.kept.lock();
        let not_read = kept.rows.split_off(key);
        let read = std::mem::replace(&mut kept.rows, not_read);
        // Each row is looked at once: the flusher needs this lock.
        let bytes: usize = read.iter().map(|(key, value)| bytes_of(key, value)).sum();
        kept.bytes -= bytes;
        kept.read_before = Some(key.clone());
    }
}
