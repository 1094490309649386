//! Uuids that are not in a run yet.

use hashbrown::HashTable;

use super::key::{HashedKey, KeyHasher, UuidKey};
use crate::domain::usage::LogSequence;

/// Keys in memory, with the sequence of each one's record.
#[derive(Debug)]
pub(in crate::store::sled) struct Memtable {
    hasher: KeyHasher,
    entries: HashTable<(UuidKey, LogSequence)>,
}

impl Memtable {
    pub(in crate::store::sled) fn new(hasher: KeyHasher, capacity: usize) -> Self {
        Self { hasher, entries: HashTable::with_capacity(capacity) }
    }

    pub(in crate::store::sled) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The key as [`Self::get`] wants it.
    pub(in crate::store::sled) fn hashed(&self, key: UuidKey) -> HashedKey {
        self.hasher.hashed(key)
    }

    pub(in crate::store::sled) fn get(
        &self,
        HashedKey { key, hash }: HashedKey,
    ) -> Option<LogSequence> {
        self.entries.find(hash, |entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Has the processor fetch what [`Self::insert_new`] of these keys looks at, many at a time: the table is far larger
    /// than its caches, and inserting one key after the other waits for each.
    pub(in crate::store::sled) fn fetch(&self, keys: &[HashedKey]) {
        let here = keys.iter().filter(|key| self.entries.find(key.hash, |_| true).is_some());
        std::hint::black_box(here.count());
    }

    /// Adds a key unless it is there; answers the sequence it was added with before.
    pub(in crate::store::sled) fn insert_new(
        &mut self,
        HashedKey { key, hash }: HashedKey,
        sequence: LogSequence,
    ) -> Option<LogSequence> {
        use hashbrown::hash_table::Entry;

        let hasher = self.hasher;
        match self.entries.entry(hash, |entry| entry.0 == key, |entry| hasher.hash(&entry.0)) {
            Entry::Occupied(entry) => Some(entry.get().1),
            Entry::Vacant(entry) => {
                entry.insert((key, sequence));
                None
            }
        }
    }

    /// The entries in the order of their keys.
    pub(in crate::store::sled) fn sorted(&self) -> Vec<(UuidKey, LogSequence)> {
        let mut entries: Vec<_> = self.entries.iter().copied().collect();
        entries.sort_unstable_by_key(|entry| entry.0);
        entries
    }

    /// Bytes of memory in use.
    pub(in crate::store::sled) fn bytes(&self) -> u64 {
        // One control byte per slot besides the entry itself; capacity is 7/8 of the slots.
        let slots = self.entries.capacity() as u64 * 8 / 7;
        slots * (size_of::<(UuidKey, LogSequence)>() as u64 + 1)
    }
}
