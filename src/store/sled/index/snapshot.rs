//! What callers look into before they queue: the frozen memtables and the runs, as of one moment.

use std::sync::Arc;

use super::{
    key::{KeyHasher, UuidKey},
    memtable::Memtable,
    run::Run,
};
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

/// What memory alone can tell of a key.
pub(in crate::store::sled) enum Glance {
    /// It is not here.
    Absent,
    /// It is here.
    At(LogSequence),
    /// Only a page can tell.
    Maybe,
}

impl IndexSnapshot {
    /// Looks without touching the disk.
    pub(in crate::store::sled) fn glance(&self, hasher: &KeyHasher, key: &UuidKey) -> Glance {
        if let Some(sequence) = self.frozen.iter().find_map(|memtable| memtable.get(key)) {
            return Glance::At(sequence);
        }
        let hash = hasher.hash(key);
        if self.runs.iter().any(|run| run.may_contain(key, hash)) {
            Glance::Maybe
        } else {
            Glance::Absent
        }
    }

    /// Looks, reading pages where a filter says "maybe".
    pub(in crate::store::sled) fn find(
        &self,
        engine: &Engine,
        hasher: &KeyHasher,
        key: &UuidKey,
    ) -> Result<Option<LogSequence>, StoreError> {
        if let Some(sequence) = self.frozen.iter().find_map(|memtable| memtable.get(key)) {
            return Ok(Some(sequence));
        }
        let hash = hasher.hash(key);
        for run in self.runs.iter().filter(|run| run.may_contain(key, hash)) {
            if let Some(sequence) = run.find(engine, key)? {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }
}
