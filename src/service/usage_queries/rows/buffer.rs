//! Rows in memory, found by their keys.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
};

use hashbrown::{HashTable, hash_table::Entry as Place};

use super::counts::Counts;

/// Rows in no order, each key once. Keys lie one behind the other: one allocation for all.
#[derive(Default)]
pub(super) struct Buffer {
    keys: Vec<u8>,
    entries: Vec<Entry>,
    // Places in `entries`. Texts come from callers, so the hash has a secret.
    by_key: HashTable<usize>,
    hasher: RandomState,
}

struct Entry {
    key: Range<usize>,
    counts: Counts,
}

/// What a row costs beside its key: its entry, its place in the table (about half of which is free), and its
/// place in the list that is sorted in the end.
const ENTRY_BYTES: usize =
    size_of::<Entry>() + 2 * (size_of::<usize>() + 1) + size_of::<(&[u8], &Counts)>();

impl Buffer {
    /// Adds counts to the row of a key.
    pub(super) fn add(&mut self, key: &[u8], counts: &Counts) {
        let Self { keys, entries, by_key, hasher } = self;
        let key_at = |at: usize| {
            entries.get(at).and_then(|entry| keys.get(entry.key.clone())).unwrap_or_default()
        };
        let place = by_key.entry(
            hasher.hash_one(key),
            |at| key_at(*at) == key,
            |at| hasher.hash_one(key_at(*at)),
        );
        match place {
            Place::Occupied(known) => {
                if let Some(entry) = entries.get_mut(*known.get()) {
                    entry.counts.add(counts);
                }
            }
            Place::Vacant(place) => {
                place.insert(entries.len());
                let begin = keys.len();
                keys.extend_from_slice(key);
                entries.push(Entry { key: begin..keys.len(), counts: *counts });
            }
        }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.entries.len()
    }

    /// About how much memory the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.keys.len() + self.entries.len() * ENTRY_BYTES
    }

    /// The rows in the order of their keys.
    pub(super) fn sorted(&self) -> Vec<(&[u8], &Counts)> {
        let entries = self.entries.iter();
        let mut rows: Vec<(&[u8], &Counts)> = entries
            .map(|entry| (self.keys.get(entry.key.clone()).unwrap_or_default(), &entry.counts))
            .collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Forgets the rows but keeps their memory for others.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.entries.clear();
        self.by_key.clear();
    }
}
