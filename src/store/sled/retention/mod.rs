//! Dropping old values of the log, and keeping what they stand for.
//!
//! Uuids and totals stay for ever, and so does the proof that they are right: `verify` recounts from the log what the index
//! and the totals hold, so what is dropped leaves behind how much it was (*retired* rows, which are rows of totals that
//! nobody reports), a sum of its uuids, and the link that the next value follows. All that and the removal are one batch, so a
//! crash leaves a log that is a little shorter, or as it was.
//!
//! Only the beginning of the log is ever dropped, only below the checkpoint (an open replays the rest), only whole
//! batches, and only what is undamaged: what is not is evidence.

mod floor;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

pub use floor::DroppedCounts;
pub(super) use floor::{LogFloor, UuidSum};

use super::{
    commit::{self, LogEnd},
    core::Core,
    derived,
    engine::{Batch, Engine},
    faults::FaultPoint,
    keyspace::{KeySpace, log_key, log_sequence},
    log::{LogEntry, log_nanos, read::missing},
    rollup::row::{Row, RowKey, Slots, add_slots},
};
use crate::{
    domain::usage::LogSequence,
    store::{RecordsDropped, StoreError},
};

/// Values that one batch removes. sled holds its write lock for as long as a batch takes, so a batch is small.
const VALUES_PER_STEP: usize = 64;
/// Retired rows that one batch replaces, unless a single value or batch of usage touches more.
const ROWS_PER_STEP: usize = 128;
/// Batches of one call.
const STEPS_PER_CALL: usize = 64;

/// Where the log of an open store begins.
pub(super) struct Retention {
    floor: ArcSwap<LogFloor>,
    /// Held exclusively while values are dropped, and shared by whoever needs the log to stay as it is.
    gate: RwLock<()>,
}

impl Retention {
    pub(super) fn new(floor: LogFloor) -> Self {
        Self { floor: ArcSwap::from_pointee(floor), gate: RwLock::new(()) }
    }

    /// Where the log begins now.
    pub(super) fn floor(&self) -> Arc<LogFloor> {
        self.floor.load_full()
    }

    /// Keeps the log as it is for as long as the guard lives; waits for a call that is dropping values.
    pub(super) fn pause(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }
}

/// The key of what was dropped of a row.
fn retired_key(row: &RowKey) -> Vec<u8> {
    [KeySpace::RetiredRow.only().as_slice(), row.as_bytes()].concat()
}

/// The row that a key of what was dropped names.
fn row_of_retired_key(key: &[u8]) -> RowKey {
    RowKey::from_bytes(key.get(KeySpace::RetiredRow.only().len()..).unwrap_or_default())
}

/// What was dropped, by row.
pub(super) fn retired_rows(
    engine: &Engine,
) -> impl Iterator<Item = Result<(RowKey, Result<Slots, StoreError>), StoreError>> + use<> {
    engine.prefix(&KeySpace::RetiredRow.only()).map(|entry| {
        let (key, value) = entry?;
        Ok((row_of_retired_key(&key), Row::decode(&key, &value).map(|row| row.slots)))
    })
}

/// Drops values that were stored before `instant`, a bounded number; durable on return.
pub(super) fn drop_before(
    core: &Core,
    end: &Mutex<LogEnd>,
    instant: Timestamp,
) -> Result<RecordsDropped, StoreError> {
    core.engine.writable()?;
    let mut dropped = RecordsDropped::default();
    // Whoever pauses may be slow: another call will do.
    let Some(_alone) = core.retention.gate.try_write() else { return Ok(dropped) };
    keep_from(core, instant)?;
    for _ in 0..STEPS_PER_CALL {
        let floor = core.retention.floor();
        let checkpoint = core.index.checkpoint();
        let step = Step::read(core, *floor, checkpoint, instant)?;
        if step.floor == *floor {
            dropped.more_to_come = checkpoint_soon(core, end, &floor, checkpoint, instant)?;
            return Ok(dropped);
        }
        dropped.chunks += step.floor.counts.chunks - floor.counts.chunks;
        dropped.records += step.floor.counts.records - floor.counts.records;
        step.write(core)?;
    }
    core.engine.flush()?;
    dropped.more_to_come = true;
    Ok(dropped)
}

/// Notes that records stored before `instant` are not kept from now on, whether there are any or not.
fn keep_from(core: &Core, instant: Timestamp) -> Result<(), StoreError> {
    let mut floor = *core.retention.floor();
    // Before what the log can represent nothing was stored.
    if log_nanos(instant).is_ok() && floor.kept_from.is_none_or(|kept_from| kept_from < instant) {
        floor.kept_from = Some(instant);
        core.engine.stage(&KeySpace::LogFloor.only(), &floor.encode()?)?;
        core.retention.floor.store(Arc::new(floor));
    }
    Ok(())
}

/// A store that takes little has no checkpoint for a long time: makes one if that is what keeps old values from being
/// dropped. Whether there is one to wait for.
fn checkpoint_soon(
    core: &Core,
    end: &Mutex<LogEnd>,
    floor: &LogFloor,
    checkpoint: LogSequence,
    instant: Timestamp,
) -> Result<bool, StoreError> {
    core.engine.flush()?;
    if floor.first() < checkpoint {
        return Ok(false);
    }
    let mut end = end.lock();
    // The last value stays: the next one follows it.
    if end.last <= floor.first() {
        return Ok(false);
    }
    let Some(oldest) = core.engine.get(&log_key(floor.first()))? else {
        return Err(missing(floor.first()));
    };
    if LogEntry::decode(floor.first(), &oldest)?.stored_time() >= instant {
        return Ok(false);
    }
    if checkpoint < end.last && !core.index.has_frozen() {
        commit::freeze(core, &mut end)?;
    }
    Ok(true)
}

/// What one batch is to drop.
struct Step {
    /// Where the log begins afterwards.
    floor: LogFloor,
    /// What goes.
    keys: Vec<[u8; 9]>,
    /// What it adds up to.
    rows: BTreeMap<RowKey, Slots>,
    chunks_indexed_after: LogSequence,
}

impl Step {
    /// Reads what is to go: nothing, if the floor is the same.
    fn read(
        core: &Core,
        floor: LogFloor,
        checkpoint: LogSequence,
        instant: Timestamp,
    ) -> Result<Self, StoreError> {
        let chunks_indexed_after = core.chunks_indexed_after;
        let mut step =
            Self { floor, keys: Vec::new(), rows: BTreeMap::new(), chunks_indexed_after };
        // Values that only go together: a batch.
        let mut unit: Vec<(LogEntry, LogFloor)> = Vec::new();
        let mut next = floor;
        for value in core.engine.range(log_key(floor.first())..log_key(checkpoint)) {
            let (key, value) = value?;
            let sequence = next.first();
            if log_sequence(&key) != Some(sequence) {
                return Err(missing(sequence));
            }
            let (entry, previous) = LogEntry::decode_linked(sequence, &value)?;
            next.before.follow(sequence, &value, previous)?;
            next.stored_time = entry.stored_time();
            if next.stored_time >= instant || step.is_full() {
                break;
            }
            next.counts.count(&entry);
            for key in derived::uuids(&entry)? {
                next.uuids.add(&key, sequence);
            }
            let is_last = match &entry {
                LogEntry::BatchPart(part) => part.part + 1 == part.parts,
                LogEntry::Records(_) | LogEntry::ApiEvents(_) => true,
            };
            unit.push((entry, next));
            if is_last {
                step.take(&mut unit)?;
            }
        }
        Ok(step)
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= VALUES_PER_STEP || self.rows.len() >= ROWS_PER_STEP
    }

    fn take(&mut self, unit: &mut Vec<(LogEntry, LogFloor)>) -> Result<(), StoreError> {
        for (entry, floor) in unit.drain(..) {
            for (row, slot, total) in derived::additions(&entry, self.chunks_indexed_after)? {
                self.rows.entry(row).or_default().entry(slot).or_default().add(total)?;
            }
            self.keys.push(log_key(floor.before.last()));
            self.floor = floor;
        }
        Ok(())
    }

    /// Drops it, durable with the next flush.
    fn write(self, core: &Core) -> Result<(), StoreError> {
        let engine = &core.engine;
        engine.pass(FaultPoint::LogDrop)?;
        let mut batch = Batch::default();
        for (row, slots) in self.rows {
            let key = retired_key(&row);
            let mut retired = match engine.get(&key)? {
                Some(value) => Row::decode(&key, &value)?,
                None => Row::default(),
            };
            add_slots(&mut retired.slots, &slots)?;
            retired.included_through = self.floor.before.last();
            batch.put(&key, retired.encode(&key));
        }
        batch.put(&KeySpace::LogFloor.only(), self.floor.encode()?);
        for key in self.keys {
            batch.remove(&key);
        }
        // First: whoever then misses a value is told that it was dropped.
        core.retention.floor.store(Arc::new(self.floor));
        engine.stage_batch(batch)
    }
}
