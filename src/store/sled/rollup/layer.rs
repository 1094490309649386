//! Totals that are not on the disk yet.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::row::{self, RowKey, Slots};
use crate::{
    domain::{quantity::Total, usage::LogSequence},
    store::StoreError,
};

/// What a row gained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sled) struct Delta {
    /// Sequence of the last record in it.
    pub(in crate::store::sled) last: LogSequence,
    pub(in crate::store::sled) slots: Slots,
}

/// Deltas by row.
pub(in crate::store::sled) type Layer = BTreeMap<RowKey, Delta>;

/// A layer that takes no more, and the sequence it goes up to.
#[derive(Debug)]
pub(in crate::store::sled) struct FrozenLayer {
    pub(in crate::store::sled) rows: Layer,
    pub(in crate::store::sled) through: LogSequence,
}

#[derive(Debug, Default)]
struct Layers {
    live: Layer,
    frozen: Vec<Arc<FrozenLayer>>,
    // Everything up to here is durable, in the layers or in the stored rows.
    through: LogSequence,
}

/// All totals in memory.
#[derive(Debug, Default)]
pub(in crate::store::sled) struct Rollups {
    layers: Mutex<Layers>,
    /// Held shared by reports and exclusively while a batch of rows is replaced, so that no report
    /// sees some rows from before and some from after a checkpoint of records it does not include.
    pub(in crate::store::sled) checkpoint_gate: RwLock<()>,
}

impl Rollups {
    /// Adds the deltas of a durable commit, and with them moves what readers see to `through`.
    pub(in crate::store::sled) fn publish(
        &self,
        deltas: Vec<(RowKey, u8, Total)>,
        through: LogSequence,
    ) -> Result<(), StoreError> {
        let mut layers = self.layers.lock();
        debug_assert!(layers.through <= through, "commits are published in order");
        for (key, slot, total) in deltas {
            let delta = layers
                .live
                .entry(key)
                .or_insert_with(|| Delta { last: through, slots: Slots::new() });
            delta.slots.entry(slot).or_default().add(total)?;
            delta.last = through;
        }
        layers.through = through;
        Ok(())
    }

    /// The last durable sequence: readers must not look beyond.
    pub(in crate::store::sled) fn through(&self) -> LogSequence {
        self.layers.lock().through
    }

    /// Rows of the live layer.
    pub(in crate::store::sled) fn live_rows(&self) -> usize {
        self.layers.lock().live.len()
    }

    /// Whether there is a row in memory whose key begins with `prefix`.
    pub(in crate::store::sled) fn has_any(&self, prefix: &[u8]) -> bool {
        let has = |rows: &Layer| {
            let mut from = rows.range(RowKey::from_bytes(prefix)..);
            from.next().is_some_and(|(key, _)| key.as_bytes().starts_with(prefix))
        };
        let layers = self.layers.lock();
        has(&layers.live) || layers.frozen.iter().any(|layer| has(&layer.rows))
    }

    /// Starts a new live layer and hands out the old one.
    pub(in crate::store::sled) fn freeze(&self) -> Arc<FrozenLayer> {
        let mut layers = self.layers.lock();
        let frozen =
            FrozenLayer { rows: std::mem::take(&mut layers.live), through: layers.through };
        let frozen = Arc::new(frozen);
        layers.frozen.push(Arc::clone(&frozen));
        frozen
    }

    /// Forgets a layer whose rows are all on the disk.
    pub(in crate::store::sled) fn forget(&self, written: &Arc<FrozenLayer>) {
        self.layers.lock().frozen.retain(|layer| !Arc::ptr_eq(layer, written));
    }

    /// The deltas of rows whose keys begin with one of `prefixes` and that `wanted` wants, and the
    /// sequence they go up to, as of one moment. Call with the checkpoint gate held.
    pub(in crate::store::sled) fn collect(
        &self,
        prefixes: &[Vec<u8>],
        mut wanted: impl FnMut(&RowKey) -> Result<bool, StoreError>,
    ) -> Result<(BTreeMap<RowKey, Vec<Delta>>, LogSequence), StoreError> {
        let mut found: BTreeMap<RowKey, Vec<Delta>> = BTreeMap::new();
        let mut take = |rows: &Layer| -> Result<(), StoreError> {
            for prefix in prefixes {
                let from = RowKey::from_bytes(prefix);
                for (key, delta) in
                    rows.range(from..).take_while(|(key, _)| key.as_bytes().starts_with(prefix))
                {
                    if wanted(key)? {
                        found.entry(key.clone()).or_default().push(delta.clone());
                    }
                }
            }
            Ok(())
        };
        let (frozen, through) = {
            let layers = self.layers.lock();
            take(&layers.live)?;
            (layers.frozen.clone(), layers.through)
        };
        for layer in frozen {
            take(&layer.rows)?;
        }
        Ok((found, through))
    }
}

/// What a row adds up to with its deltas: those that it includes already are left out.
pub(in crate::store::sled) fn combine(
    stored: row::Row,
    deltas: &[Delta],
) -> Result<Slots, StoreError> {
    let mut slots = stored.slots;
    for delta in deltas.iter().filter(|delta| delta.last > stored.included_through) {
        row::add_slots(&mut slots, &delta.slots)?;
    }
    Ok(slots)
}
