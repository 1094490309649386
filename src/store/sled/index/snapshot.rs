//! What callers look into before they queue: the frozen memtables and the runs, as of one moment.

use std::sync::Arc;

use super::{key::HashedKey, memtable::Memtable, run::Run};
use crate::{
    domain::usage::LogSequence,
    store::{StoreError, sled::engine::Engine},
};

/// The immutable part of the index.
#[derive(Debug, Clone, Default)]
pub(in crate::store::sled) struct IndexSnapshot {
    /// Moves whenever keys come in from the live memtable, and only then.
    pub(in crate::store::sled) generation: u64,
    /// Full memtables that are being written out, oldest first.
    pub(in crate::store::sled) frozen: Vec<Arc<Memtable>>,
    /// Published runs.
    pub(in crate::store::sled) runs: Vec<Arc<Run>>,
}

impl IndexSnapshot {
    /// Looks without touching the disk: tells `found` of every key that is in a frozen memtable, by its place among
    /// `keys`. Whether memory could tell of all of them; if not, only pages can.
    pub(in crate::store::sled) fn glance(
        &self,
        keys: &[HashedKey],
        mut found: impl FnMut(usize, LogSequence),
    ) -> bool {
        if self.runs.iter().any(|run| run.may_contain_any(keys)) {
            return false;
        }
        for memtable in &self.frozen {
            for (at, key) in keys.iter().enumerate() {
                if let Some(sequence) = memtable.get(*key) {
                    found(at, sequence);
                }
            }
        }
        true
    }

    /// Looks, reading pages where a filter says "maybe".
    pub(in crate::store::sled) fn find(
        &self,
        engine: &Engine,
        key: HashedKey,
    ) -> Result<Option<LogSequence>, StoreError> {
        if let Some(sequence) = self.frozen.iter().find_map(|memtable| memtable.get(key)) {
            return Ok(Some(sequence));
        }
        for run in self.runs.iter().filter(|run| run.may_contain(&key)) {
            if let Some(sequence) = run.find(engine, &key.key)? {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }
}
