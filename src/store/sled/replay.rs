//! Making uuids and totals in memory of what the log holds, value by value.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    engine::Engine,
    index::{
        key::{UuidKey, UuidKind},
        memtable::Memtable,
    },
    log::{LogEntry, api_events::ApiEvents, batch_part::BatchPart, chunk::Chunk},
    rollup::{
        layer::Rollups,
        row::{Row, RowKey, api_slot},
    },
};
use crate::{
    domain::{asset_usage::UsageDay, calendar::QuarterHour, quantity::Total, usage::LogSequence},
    store::StoreError,
};

/// Up to which sequence each stored row is complete: a checkpoint that was interrupted, or a backup that read rows one
/// after the other, has rows ahead of the manifest.
pub(super) type IncludedRows = HashMap<RowKey, LogSequence>;

pub(super) struct Replay<'a> {
    pub(super) engine: &'a Engine,
    pub(super) rollups: &'a Rollups,
    pub(super) live: &'a mut Memtable,
    pub(super) included: &'a mut IncludedRows,
}

impl Replay<'_> {
    /// Takes one value in; answers how many asset usages are in it.
    pub(super) fn entry(&mut self, entry: &LogEntry) -> Result<usize, StoreError> {
        match entry {
            LogEntry::Records(chunk) => self.chunk(chunk).map(|()| 0),
            LogEntry::ApiEvents(events) => self.api_events(events).map(|()| 0),
            LogEntry::BatchPart(part) => self.batch_part(part).map(|()| part.usages.len()),
        }
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for record in &chunk.records {
            let dimension = chunk.dimension(record)?;
            let key = UuidKey::new(record.uuid, dimension.organization, UuidKind::ProductUsage);
            self.remember(key, record.uuid, chunk.sequence)?;
            let (day, slot) = QuarterHour::of(record.usage_time).day_and_slot();
            let row = RowKey::new(dimension.organization, &dimension.series, day)?;
            if self.included_through(&row)? < chunk.sequence {
                deltas.push((row, slot, Total::of(record.quantity)));
            }
        }
        self.rollups.publish(deltas, chunk.sequence)
    }

    fn api_events(&mut self, entry: &ApiEvents) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for (organization, event) in &entry.events {
            let key = UuidKey::new(event.uuid, *organization, UuidKind::ApiUsage);
            self.remember(key, event.uuid, entry.sequence)?;
            let day = UsageDay::of_instant(event.time);
            let row = RowKey::of_api_usage(*organization, &event.series, day)?;
            if self.included_through(&row)? < entry.sequence {
                deltas.push((row, api_slot(day, event.status.class()), Total::of(event.count)));
            }
        }
        self.rollups.publish(deltas, entry.sequence)
    }

    fn remember(
        &mut self,
        key: UuidKey,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<(), StoreError> {
        match self.live.insert_new(self.live.hashed(key), sequence) {
            None => Ok(()),
            Some(first) => {
                let what = format!(
                    "log chunk {}: holds uuid {uuid}, as chunk {} does",
                    sequence.0, first.0
                );
                Err(StoreError::Damaged(what.into()))
            }
        }
    }

    fn batch_part(&mut self, part: &BatchPart) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for usage in &part.usages {
            let (row, slot) = RowKey::of_asset_usage(part.organization, &part.client, usage)?;
            if self.included_through(&row)? < part.sequence {
                deltas.push((row, slot, Total::of(usage.quantity)));
            }
        }
        self.rollups.publish(deltas, part.sequence)
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
