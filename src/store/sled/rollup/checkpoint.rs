//! Writing frozen layers into the stored rows.

use super::{
    layer::{FrozenLayers, Rollups, combine},
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

/// Adds every delta of `frozen` to its row, batch by batch. Staged only: the caller flushes. Waits for no reader: those
/// whose snapshot is from before get the rows as they were.
pub(in crate::store::sled) fn write_layers(
    engine: &Engine,
    rollups: &Rollups,
    frozen: &FrozenLayers,
) -> Result<(), StoreError> {
    let layer = frozen.merged()?;
    // All of them: a reader that comes later finds these layers frozen, or forgotten.
    let readers = rollups.readers_before(frozen.through);
    let mut rows = layer.iter().peekable();
    while rows.peek().is_some() {
        engine.pass(FaultPoint::RollupBatch)?;
        // Only this thread changes rows, so reading them needs no lock.
        let mut batch = Batch::default();
        for (key, delta) in rows.by_ref().take(ROWS_PER_BATCH) {
            let stored = match engine.get(key.as_bytes())? {
                Some(value) => {
                    let row = Row::decode(key.as_bytes(), &value)?;
                    readers.iter().for_each(|reader| reader.keep(key, &row, &value));
                    row
                }
                None => Row::default(),
            };
            let slots = combine(stored, [delta])?;
            let row = Row { included_through: frozen.through, slots };
            batch.put(key.as_bytes(), row.encode(key.as_bytes()));
        }
        engine.stage_batch(batch)?;
    }
    Ok(())
}
