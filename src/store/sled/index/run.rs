//! A run: sorted keys in immutable pages, with what is needed in memory to find the right page.
//!
//! Page body, version 1: `count` × (key:20 ‖ sequence:u40be). Fences part: first keys of pages.
//! Filter part: whole blocks. All three in the frame of `codec`, under keys that name run and part.

use super::{
    filter::Filter,
    key::{HashedKey, KEY_BYTES, UuidKey},
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::{
            codec::{self, FRAME_BYTES, Malformed},
            engine::{Engine, VALUE_BYTES_MAX},
            keyspace::KeySpace,
        },
    },
};

pub(in crate::store::sled) const PAGE_VERSION: u8 = 1;
pub(super) const SEQUENCE_BYTES: usize = 5;
/// Bytes of an entry on a page.
pub(super) const ENTRY_BYTES: usize = KEY_BYTES + SEQUENCE_BYTES;
/// Entries of a full page. sled reads a leaf of up to 16 pages to get at one of them, so small pages make lookups cheaper;
/// many make merging dearer.
pub(super) const PAGE_ENTRIES_MAX: usize = 100;
/// First keys in one part of the fences.
pub(super) const FENCES_PER_PART: usize = 300;
/// Filter blocks in one part.
pub(super) const BLOCKS_PER_PART: usize = 96;

const _: () = assert!(FRAME_BYTES + PAGE_ENTRIES_MAX * ENTRY_BYTES <= VALUE_BYTES_MAX);
const _: () = assert!(FRAME_BYTES + FENCES_PER_PART * KEY_BYTES <= VALUE_BYTES_MAX);
const _: () =
    assert!(FRAME_BYTES + BLOCKS_PER_PART * super::filter::BLOCK_BYTES <= VALUE_BYTES_MAX);

/// The largest sequence that fits into an entry: 2^40 − 1 chunks, some 10^14 records.
pub(in crate::store::sled) const SEQUENCE_MAX: u64 = (1 << (8 * SEQUENCE_BYTES)) - 1;

/// What the manifest knows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct RunSummary {
    /// Never used twice.
    pub(in crate::store::sled) id: u32,
    /// How often its keys were merged.
    pub(in crate::store::sled) level: u32,
    pub(in crate::store::sled) keys: u64,
    pub(in crate::store::sled) pages: u32,
    pub(in crate::store::sled) filter_blocks: u32,
    pub(in crate::store::sled) first: UuidKey,
    pub(in crate::store::sled) last: UuidKey,
}

/// A published run.
#[derive(Debug)]
pub(in crate::store::sled) struct Run {
    pub(in crate::store::sled) summary: RunSummary,
    // Packed, since there is one for every hundred keys of the store.
    fences: Vec<[u8; KEY_BYTES]>,
    filter: Filter,
}

impl Run {
    pub(super) fn new(summary: RunSummary, fences: Vec<[u8; KEY_BYTES]>, filter: Filter) -> Self {
        debug_assert!(fences.is_sorted(), "pages are in the order of their keys");
        debug_assert_eq!(fences.len(), summary.pages as usize, "one fence per page");
        Self { summary, fences, filter }
    }

    /// Reads fences and filter of a run that the manifest names.
    pub(in crate::store::sled) fn load(
        engine: &Engine,
        summary: RunSummary,
    ) -> Result<Self, StoreError> {
        let fences = parts(engine, KeySpace::RunFences, summary.id)?;
        let blocks = parts(engine, KeySpace::RunFilter, summary.id)?;
        Self::assemble(summary, &fences, &blocks)
    }

    /// A run of the parts that were stored of it. What they hold decides how much memory it takes, not what the summary says.
    pub(super) fn assemble(
        summary: RunSummary,
        fence_parts: &[Vec<u8>],
        filter_parts: &[Vec<u8>],
    ) -> Result<Self, StoreError> {
        let bytes: usize = fence_parts.iter().map(Vec::len).sum();
        let mut fences = Vec::with_capacity(bytes / KEY_BYTES);
        for part in fence_parts {
            let (keys, rest) = part.as_chunks::<KEY_BYTES>();
            if !rest.is_empty() {
                return Err(damaged(summary.id, &"its fences are incomplete"));
            }
            fences.extend_from_slice(keys);
        }
        if fences.len() != summary.pages as usize {
            return Err(damaged(summary.id, &"its fences are incomplete"));
        }
        // A lookup would go to the wrong page, and find that the key is new.
        if !fences.is_sorted_by(|one, next| one < next) {
            return Err(damaged(summary.id, &"its fences are out of order"));
        }
        let filter = Filter::from_parts(
            summary.filter_blocks as usize,
            filter_parts.iter().map(Vec::as_slice),
        )
        .ok_or_else(|| damaged(summary.id, &"its filter is incomplete"))?;
        Ok(Self::new(summary, fences, filter))
    }

    /// Whether the key may be in this run; `false` is certain.
    #[inline]
    pub(in crate::store::sled) fn may_contain(&self, HashedKey { key, hash }: &HashedKey) -> bool {
        self.summary.first <= *key && *key <= self.summary.last && self.filter.may_contain(*hash)
    }

    /// Whether any of these keys may be in this run; `false` is certain.
    pub(in crate::store::sled) fn may_contain_any(&self, keys: &[HashedKey]) -> bool {
        let in_range =
            |key: &HashedKey| self.summary.first <= key.key && key.key <= self.summary.last;
        // Of uuids that begin with the time, a run has other ranges altogether: memory that is far away is left alone.
        keys.chunks(u64::BITS as usize).filter(|keys| keys.iter().any(in_range)).any(|keys| {
            let maybe = self.filter.may_contain_each(keys.iter().map(|key| key.hash));
            keys.iter().zip(0_u32..).any(|(key, at)| maybe >> at & 1 == 1 && in_range(key))
        })
    }

    /// Looks the key up on the one page that could hold it.
    pub(in crate::store::sled) fn find(
        &self,
        engine: &Engine,
        key: &UuidKey,
    ) -> Result<Option<LogSequence>, StoreError> {
        let Some(page) = self.page_of(key) else { return Ok(None) };
        let entries = Page::read(engine, self.summary.id, page)?;
        Ok(entries.find(key))
    }

    /// The one page that could hold the key.
    pub(super) fn page_of(&self, key: &UuidKey) -> Option<u32> {
        let after = self.fences.partition_point(|fence| fence <= key.as_bytes());
        after.checked_sub(1).and_then(|page| u32::try_from(page).ok())
    }

    /// Bytes of memory in use.
    pub(in crate::store::sled) fn bytes(&self) -> u64 {
        (self.fences.len() * KEY_BYTES + self.filter.block_count() * super::filter::BLOCK_BYTES)
            as u64
    }
}

/// A checked page.
pub(in crate::store::sled) struct Page {
    value: sled::IVec,
}

impl Page {
    pub(in crate::store::sled) fn read(
        engine: &Engine,
        run: u32,
        page: u32,
    ) -> Result<Self, StoreError> {
        let key = KeySpace::RunPage.of_run(run, page);
        let value = engine
            .get(&key)?
            .ok_or_else(|| damaged(run, &format_args!("page {page} is missing")))?;
        Self::open(value, run, page)
    }

    pub(super) fn open(value: sled::IVec, run: u32, page: u32) -> Result<Self, StoreError> {
        let key = KeySpace::RunPage.of_run(run, page);
        let body = codec::open_frame(&value, PAGE_VERSION, &key)
            .map_err(|error| damaged(run, &format_args!("page {page}: {error}")))?;
        if body.is_empty() || body.len() % ENTRY_BYTES != 0 {
            return Err(damaged(run, &format_args!("page {page}: {}", Malformed::Content)));
        }
        Ok(Self { value })
    }

    fn entries(&self) -> &[[u8; ENTRY_BYTES]] {
        self.value.get(FRAME_BYTES..).unwrap_or_default().as_chunks().0
    }

    /// The entry at a place, in the order of keys.
    pub(in crate::store::sled) fn entry(&self, index: usize) -> Option<(UuidKey, LogSequence)> {
        self.entries().get(index).map(split_entry)
    }

    pub(super) fn find(&self, key: &UuidKey) -> Option<LogSequence> {
        let entries = self.entries();
        let index = entries.binary_search_by(|entry| split_entry(entry).0.cmp(key)).ok()?;
        self.entry(index).map(|entry| entry.1)
    }
}

fn split_entry(entry: &[u8; ENTRY_BYTES]) -> (UuidKey, LogSequence) {
    let (key, sequence) =
        entry.split_first_chunk::<KEY_BYTES>().expect("an entry is longer than a key");
    let sequence = sequence.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
    (UuidKey::from_bytes(*key), LogSequence(sequence))
}

fn parts(engine: &Engine, space: KeySpace, run: u32) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    for entry in engine.range(space.of_run(run, 0)..=space.of_run(run, u32::MAX)) {
        let (key, value) = entry?;
        let body = codec::open_frame(&value, PAGE_VERSION, &key).map_err(|error| {
            damaged(run, &format_args!("{space:?} part {}: {error}", found.len()))
        })?;
        found.push(body.to_vec());
    }
    Ok(found)
}

pub(in crate::store::sled) fn damaged(run: u32, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("uuid index run {run}: {what}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(pages: u32, filter_blocks: u32) -> RunSummary {
        let key = UuidKey::from_bytes([1; KEY_BYTES]);
        RunSummary { id: 3, level: 0, keys: 9, pages, filter_blocks, first: key, last: key }
    }

    fn wrong(summary: RunSummary, fences: &[u8], filter: &[u8]) -> String {
        let run = Run::assemble(summary, &[fences.to_vec()], &[filter.to_vec()]);
        run.unwrap_err().to_string()
    }

    #[test]
    fn a_summary_that_claims_much_takes_no_memory() {
        let fence = [1; KEY_BYTES];
        let fences = wrong(summary(u32::MAX, u32::MAX), &fence, &[]);
        assert!(fences.contains("its fences are incomplete"), "{fences}");
        let filter = wrong(summary(1, u32::MAX), &fence, &[0; 64]);
        assert!(filter.contains("its filter is incomplete"), "{filter}");
    }

    #[test]
    fn fences_out_of_order_are_refused() {
        for (first, second) in [(2, 1), (1, 1)] {
            let fences = [[first; KEY_BYTES], [second; KEY_BYTES]].concat();
            let wrong = wrong(summary(2, 1), &fences, &[0; 64]);
            assert!(wrong.contains("its fences are out of order"), "{wrong}");
        }
    }
}
