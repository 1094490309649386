//! Writes frozen memtables as runs, and their totals into the stored rows.

use std::sync::Arc;

use super::{background::Frozen, run_writer::RunWriter};
use crate::store::{
    StoreError,
    sled::{core::Core, rollup::checkpoint},
};

/// Works until the store closes.
pub(in crate::store::sled) fn run(core: &Core) -> Result<(), StoreError> {
    while let Some(frozen) = core.index.next_frozen(&core.engine) {
        flush(core, &frozen)?;
    }
    Ok(())
}

fn flush(core: &Core, frozen: &Arc<Frozen>) -> Result<(), StoreError> {
    let index = &core.index;
    let entries = frozen.memtable.sorted();
    // Totals may fill up without a single uuid: batches have none.
    if entries.is_empty() {
        checkpoint::write_layers(&core.engine, &core.rollups, &frozen.layer)?;
        core.engine.flush()?;
        index.publish_flush(&core.engine, frozen, None)?;
        core.rollups.forget(&frozen.layer);
        return Ok(());
    }
    let mut writer = RunWriter::new(
        &core.engine,
        &index.flush_pacer,
        index.hasher,
        index.new_run_id(),
        entries.len() as u64,
        core.options.filter_bits_per_key,
    );
    for (key, sequence) in entries {
        writer.push(key, sequence)?;
    }
    // The totals are flushed together with the run.
    checkpoint::write_layers(&core.engine, &core.rollups, &frozen.layer)?;
    let run = writer.finish(0)?;
    index.publish_flush(&core.engine, frozen, Some(run))?;
    core.rollups.forget(&frozen.layer);
    Ok(())
}
