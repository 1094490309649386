//! Making uuids and totals in memory of what the log holds, value by value.

use std::collections::HashMap;

use super::{
    derived,
    engine::Engine,
    index::memtable::Memtable,
    log::LogEntry,
    rollup::{
        layer::Rollups,
        row::{Row, RowKey},
        series::SeriesSet,
    },
};
use crate::{domain::usage::LogSequence, store::StoreError};

/// Up to which sequence each stored row is complete: a checkpoint that was interrupted, or a backup that read rows one
/// after the other, has rows ahead of the manifest.
pub(super) type IncludedRows = HashMap<RowKey, LogSequence>;

pub(super) struct Replay<'a> {
    pub(super) engine: &'a Engine,
    pub(super) rollups: &'a Rollups,
    pub(super) series: &'a SeriesSet,
    pub(super) live: &'a mut Memtable,
    pub(super) included: &'a mut IncludedRows,
}

impl Replay<'_> {
    /// Takes one value in; answers how many asset usages are in it.
    pub(super) fn entry(
        &mut self,
        sequence: LogSequence,
        entry: &LogEntry,
    ) -> Result<usize, StoreError> {
        for key in derived::uuids(entry)? {
            if let Some(first) = self.live.insert_new(self.live.hashed(key), sequence) {
                let what = format!(
                    "log chunk {}: holds uuid {}, as chunk {} does",
                    sequence.0,
                    key.uuid(),
                    first.0
                );
                return Err(StoreError::Damaged(what.into()));
            }
        }
        let mut deltas = Vec::new();
        // What is replayed comes after a checkpoint, and all of that is in the chunk index.
        for addition in derived::additions(entry, LogSequence(0))? {
            // If it is included, its row is stored, and counted as that.
            if self.included_through(&addition.0)? < sequence {
                self.series.note(&addition.0);
                deltas.push(addition);
            }
        }
        self.rollups.publish(deltas, sequence)?;
        Ok(match entry {
            LogEntry::BatchPart(part) => part.usages.len(),
            LogEntry::Records(_) | LogEntry::ApiEvents(_) => 0,
        })
    }

    fn included_through(&mut self, row: &RowKey) -> Result<LogSequence, StoreError> {
        if let Some(included) = self.included.get(row) {
            return Ok(*included);
        }
        let included = match self.engine.get(row.as_bytes())? {
            Some(value) => Row::decode(row.as_bytes(), &value)?.included_through,
            None => LogSequence(0),
        };
        self.included.insert(row.clone(), included);
        Ok(included)
    }
}
