//! Totals that are not on the disk yet: a stack of layers, of which only the newest one changes.
//!
//! The committer adds to the *live* layer. A reader takes what is live out of the way and shares it with the readers after
//! it, so that taking a snapshot is one short step whatever is in memory, and what a reader works on never changes. When
//! memory is full, the live and the shared layers are frozen together, for the flusher to write.

use std::{
    collections::BTreeMap,
    iter,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::{
    row::{self, RowKey, Slots},
    snapshot::{OverwrittenRows, RowRanges, Snapshot},
};
use crate::{
    domain::{
        quantity::{Total, TotalOverflow},
        usage::LogSequence,
    },
    store::{StoreError, sled::options::StoreOptions},
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

/// Layers that the flusher writes together, and the sequence they go up to.
#[derive(Debug)]
pub(in crate::store::sled) struct FrozenLayers {
    /// Oldest first.
    layers: Vec<Arc<Layer>>,
    pub(in crate::store::sled) through: LogSequence,
}

impl FrozenLayers {
    /// All of them as one layer.
    pub(in crate::store::sled) fn merged(&self) -> Result<Arc<Layer>, TotalOverflow> {
        let mut layers = self.layers.iter();
        let Some(first) = layers.next() else { return Ok(Arc::default()) };
        layers.try_fold(Arc::clone(first), |older, newer| merge(&older, newer).map(Arc::new))
    }
}

#[derive(Debug, Default)]
struct Layers {
    live: Layer,
    /// What was live when readers came, oldest first. Each has at least twice the rows of the next, once merged.
    shared: Vec<Arc<Layer>>,
    frozen: Vec<Arc<FrozenLayers>>,
    /// Rows of the live and the shared layers; a row that is in several counts as often.
    rows: usize,
    // Everything up to here is durable, in the layers or in the stored rows.
    through: LogSequence,
    readers: Vec<Weak<OverwrittenRows>>,
}

/// All totals in memory.
#[derive(Debug)]
pub(in crate::store::sled) struct Rollups {
    /// Held for a few steps only, whatever the number of rows.
    layers: Mutex<Layers>,
    /// Held by the reader that merges shared layers. The others do not wait for it.
    merging: Mutex<()>,
    overwritten_bytes_max: usize,
}

impl Rollups {
    pub(in crate::store::sled) fn new(options: &StoreOptions) -> Self {
        Self {
            layers: Mutex::default(),
            merging: Mutex::default(),
            overwritten_bytes_max: options.overwritten_bytes_max,
        }
    }

    /// Adds the deltas of a durable commit, and with them moves what readers see to `through`.
    pub(in crate::store::sled) fn publish(
        &self,
        deltas: Vec<(RowKey, u8, Total)>,
        through: LogSequence,
    ) -> Result<(), StoreError> {
        let mut layers = self.layers.lock();
        debug_assert!(layers.through <= through, "commits are published in order");
        let before = layers.live.len();
        for (key, slot, total) in deltas {
            let delta = layers
                .live
                .entry(key)
                .or_insert_with(|| Delta { last: through, slots: Slots::new() });
            delta.slots.entry(slot).or_default().add(total)?;
            delta.last = through;
        }
        layers.rows += layers.live.len() - before;
        layers.through = through;
        Ok(())
    }

    /// The last durable sequence: readers must not look beyond.
    pub(in crate::store::sled) fn through(&self) -> LogSequence {
        self.layers.lock().through
    }

    /// Rows that are in memory and not frozen.
    pub(in crate::store::sled) fn live_rows(&self) -> usize {
        self.layers.lock().rows
    }

    /// Whether there is a row in memory whose key begins with `prefix`.
    pub(in crate::store::sled) fn has_any(&self, prefix: &[u8]) -> bool {
        let has = |rows: &Layer| {
            let mut from = rows.range(RowKey::from_bytes(prefix)..);
            from.next().is_some_and(|(key, _)| key.as_bytes().starts_with(prefix))
        };
        let layers = self.layers.lock();
        has(&layers.live)
            || layers.shared.iter().any(|layer| has(layer))
            || layers.frozen.iter().flat_map(|frozen| &frozen.layers).any(|layer| has(layer))
    }

    /// The first row in memory from `from` on whose key begins with `prefix`, with its deltas.
    pub(in crate::store::sled) fn first_from(
        &self,
        from: &RowKey,
        prefix: &[u8],
    ) -> Option<(RowKey, Vec<Delta>)> {
        let layers = self.layers.lock();
        let all = || {
            let frozen = layers.frozen.iter().flat_map(|frozen| &frozen.layers);
            iter::once(&layers.live).chain(layers.shared.iter().chain(frozen).map(|layer| &**layer))
        };
        let first_of =
            |rows: &Layer| rows.range::<RowKey, _>(from..).next().map(|(key, _)| key.clone());
        let first = all().filter_map(first_of).min()?;
        let deltas = || all().filter_map(|rows| rows.get(&first).cloned()).collect();
        first.as_bytes().starts_with(prefix).then(|| (first.clone(), deltas()))
    }

    /// Freezes what is in memory, and starts a new live layer.
    pub(in crate::store::sled) fn freeze(&self) -> Arc<FrozenLayers> {
        let mut layers = self.layers.lock();
        layers.share_live();
        layers.rows = 0;
        let frozen =
            FrozenLayers { layers: std::mem::take(&mut layers.shared), through: layers.through };
        let frozen = Arc::new(frozen);
        layers.frozen.push(Arc::clone(&frozen));
        frozen
    }

    /// Forgets layers whose rows are all on the disk.
    pub(in crate::store::sled) fn forget(&self, written: &Arc<FrozenLayers>) {
        self.layers.lock().frozen.retain(|frozen| !Arc::ptr_eq(frozen, written));
    }

    /// What is in memory of some rows as of this moment. Until the snapshot is dropped, the flusher keeps for it what it
    /// replaces of them.
    pub(in crate::store::sled) fn snapshot(&self, ranges: RowRanges) -> Snapshot {
        let mut layers = self.layers.lock();
        layers.share_live();
        let overwritten =
            Arc::new(OverwrittenRows::new(layers.through, ranges, self.overwritten_bytes_max));
        // Here and not later: layers that are frozen from now on are beyond this snapshot.
        layers.readers.retain(|reader| reader.strong_count() > 0);
        layers.readers.push(Arc::downgrade(&overwritten));
        let frozen = layers.frozen.iter().flat_map(|frozen| &frozen.layers);
        let taken: Vec<_> = frozen.chain(&layers.shared).cloned().collect();
        drop(layers);
        self.merge_shared();
        Snapshot::new(taken, overwritten)
    }

    /// The readers whose snapshot is from before a sequence.
    pub(super) fn readers_before(&self, through: LogSequence) -> Vec<Arc<OverwrittenRows>> {
        let layers = self.layers.lock();
        let readers = layers.readers.iter().filter_map(Weak::upgrade);
        readers.filter(|reader| reader.through() < through).collect()
    }

    /// Merges shared layers until there are few, so that neither readers nor the flusher have many to look into. Each row is
    /// merged some log₂(rows) times. Readers do it, one at a time, and not under the lock that commits need.
    fn merge_shared(&self) {
        let Some(_merging) = self.merging.try_lock() else { return };
        loop {
            let Some((older, newer)) = self.layers.lock().pair_to_merge() else { return };
            // Out of reach of honest data; the flusher meets it, too, and says so.
            let Ok(merged) = merge(&older, &newer) else { return };
            if !self.layers.lock().replace_pair(&older, &newer, merged) {
                return;
            }
        }
    }
}

impl Layers {
    /// Makes the live layer one of those that do not change.
    fn share_live(&mut self) {
        if !self.live.is_empty() {
            self.shared.push(Arc::new(std::mem::take(&mut self.live)));
        }
    }

    /// Two neighbours of which the older one is not twice as large.
    fn pair_to_merge(&self) -> Option<(Arc<Layer>, Arc<Layer>)> {
        let mut pairs = self.shared.iter().zip(self.shared.iter().skip(1));
        let (older, newer) = pairs.rfind(|(older, newer)| older.len() < 2 * newer.len())?;
        Some((Arc::clone(older), Arc::clone(newer)))
    }

    /// Puts a layer in the place of two neighbours; not if they were frozen meanwhile.
    fn replace_pair(&mut self, older: &Arc<Layer>, newer: &Arc<Layer>, merged: Layer) -> bool {
        let Some(at) = self.shared.iter().position(|layer| Arc::ptr_eq(layer, older)) else {
            return false;
        };
        debug_assert!(self.shared.get(at + 1).is_some_and(|layer| Arc::ptr_eq(layer, newer)));
        self.rows -= older.len() + newer.len() - merged.len();
        self.shared.splice(at..at + 2, [Arc::new(merged)]);
        true
    }
}

/// One layer of two.
fn merge(older: &Layer, newer: &Layer) -> Result<Layer, TotalOverflow> {
    let mut merged = older.clone();
    for (key, delta) in newer {
        match merged.get_mut(key) {
            Some(sum) => {
                row::add_slots(&mut sum.slots, &delta.slots)?;
                sum.last = delta.last;
            }
            None => {
                merged.insert(key.clone(), delta.clone());
            }
        }
    }
    Ok(merged)
}

/// What a row adds up to with its deltas: those that it includes already are left out.
pub(in crate::store::sled) fn combine<'a>(
    stored: row::Row,
    deltas: impl IntoIterator<Item = &'a Delta>,
) -> Result<Slots, StoreError> {
    let mut slots = stored.slots;
    for delta in deltas.into_iter().filter(|delta| delta.last > stored.included_through) {
        row::add_slots(&mut slots, &delta.slots)?;
    }
    Ok(slots)
}
