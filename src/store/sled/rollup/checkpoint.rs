//! Writing a frozen layer into the stored rows.

use super::{
    layer::{FrozenLayer, Rollups, combine},
    row::Row,
};
use crate::store::{
    StoreError,
    sled::{
        engine::{Batch, Engine},
        faults::FaultPoint,
    },
};

/// Rows of one batch. sled holds its write lock for as long as a batch takes, so a batch is small.
const ROWS_PER_BATCH: usize = 128;

/// Adds every delta of `layer` to its row, batch by batch. Staged only: the caller flushes.
pub(in crate::store::sled) fn write_layer(
    engine: &Engine,
    rollups: &Rollups,
    layer: &FrozenLayer,
) -> Result<(), StoreError> {
    let mut rows = layer.rows.iter().peekable();
    while rows.peek().is_some() {
        engine.pass(FaultPoint::RollupBatch)?;
        // Only this thread changes rows, so reading them needs no lock.
        let mut batch = Batch::default();
        for (key, delta) in rows.by_ref().take(ROWS_PER_BATCH) {
            let stored = match engine.get(key.as_bytes())? {
                Some(value) => Row::decode(key.as_bytes(), &value)?,
                None => Row::default(),
            };
            let slots = combine(stored, std::slice::from_ref(delta))?;
            let row = Row { included_through: layer.through, slots };
            batch.put(key.as_bytes(), row.encode(key.as_bytes()));
        }
        let _gate = rollups.checkpoint_gate.write();
        engine.stage_batch(batch)?;
    }
    Ok(())
}
