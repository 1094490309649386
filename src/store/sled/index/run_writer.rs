//! Writes a run, page by page, without hurrying.

use super::{
    filter::Filter,
    key::{KEY_BYTES, KeyHasher, UuidKey},
    pacer::Pacer,
    run::{
        BLOCKS_PER_PART, ENTRY_BYTES, FENCES_PER_PART, PAGE_ENTRIES_MAX, PAGE_VERSION, Run,
        RunSummary, SEQUENCE_BYTES, damaged,
    },
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::{codec, engine::Engine, faults::FaultPoint, keyspace::KeySpace},
    },
};

/// Collects sorted keys into pages. Nothing refers to them until the manifest names the run.
pub(super) struct RunWriter<'a> {
    engine: &'a Engine,
    pacer: &'a Pacer,
    hasher: KeyHasher,
    id: u32,
    page: Vec<u8>,
    /// Of the keys on the page.
    hashes: Vec<u64>,
    fences: Vec<[u8; KEY_BYTES]>,
    filter: Filter,
    keys: u64,
    last: Option<UuidKey>,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        pacer: &'a Pacer,
        hasher: KeyHasher,
        id: u32,
        keys: u64,
        filter_bits_per_key: u32,
    ) -> Self {
        Self {
            engine,
            pacer,
            hasher,
            id,
            page: new_page(),
            hashes: Vec::with_capacity(PAGE_ENTRIES_MAX),
            fences: Vec::new(),
            filter: Filter::for_keys(keys, filter_bits_per_key),
            keys: 0,
            last: None,
        }
    }

    /// Appends a key. Keys must ascend strictly: an index that holds a key twice has counted
    /// something twice, and must not be published.
    pub(super) fn push(&mut self, key: UuidKey, sequence: LogSequence) -> Result<(), StoreError> {
        if self.last.is_some_and(|last| last >= key) {
            return Err(damaged(self.id, &"a uuid was about to be indexed twice"));
        }
        if self.page.len() == codec::FRAME_BYTES {
            self.fences.push(*key.as_bytes());
        }
        self.page.extend_from_slice(key.as_bytes());
        let sequence = sequence.0.to_be_bytes();
        self.page.extend(sequence.iter().skip(sequence.len() - SEQUENCE_BYTES));
        self.hashes.push(self.hasher.hash(&key));
        self.last = Some(key);
        self.keys += 1;
        if self.page.len() >= codec::FRAME_BYTES + PAGE_ENTRIES_MAX * ENTRY_BYTES {
            self.write_page()?;
        }
        Ok(())
    }

    fn write_page(&mut self) -> Result<(), StoreError> {
        self.engine.pass(FaultPoint::RunPage)?;
        // A page's at once: their blocks are far apart, and the processor fetches many at a time.
        for hash in self.hashes.drain(..) {
            self.filter.insert(hash);
        }
        let number = u32::try_from(self.fences.len().saturating_sub(1))
            .map_err(|_| StoreError::Unrepresentable("a run of more than 2^32 pages"))?;
        let mut page = std::mem::replace(&mut self.page, new_page());
        self.write_part(KeySpace::RunPage, number, &mut page)
    }

    fn write_part(&self, space: KeySpace, part: u32, frame: &mut [u8]) -> Result<(), StoreError> {
        let key = space.of_run(self.id, part);
        codec::finish_frame(frame, PAGE_VERSION, &key);
        self.engine.stage(&key, frame)?;
        self.pacer.wrote(frame.len())
    }

    /// Completes the run; durable on return.
    pub(super) fn finish(mut self, level: u32) -> Result<Run, StoreError> {
        if self.page.len() > codec::FRAME_BYTES {
            self.write_page()?;
        }
        let fence_parts = self.fences.chunks(FENCES_PER_PART).map(<[_]>::concat);
        let all_parts =
            (0..).zip(fence_parts).map(|(part, body)| (KeySpace::RunFences, part, body)).chain(
                (0..)
                    .zip(self.filter.parts(BLOCKS_PER_PART))
                    .map(|(part, body)| (KeySpace::RunFilter, part, body)),
            );
        for (space, part, body) in all_parts {
            let mut frame = codec::start_frame(body.len());
            frame.extend_from_slice(&body);
            self.write_part(space, part, &mut frame)?;
        }
        self.engine.flush()?;
        self.engine.pass(FaultPoint::RunComplete)?;
        let empty = || damaged(self.id, &"it would be empty");
        let summary = RunSummary {
            id: self.id,
            level,
            keys: self.keys,
            pages: u32::try_from(self.fences.len()).map_err(|_| empty())?,
            filter_blocks: u32::try_from(self.filter.block_count())
                .map_err(|_| StoreError::Unrepresentable("a filter of more than 256 GiB"))?,
            first: self.fences.first().copied().map(UuidKey::from_bytes).ok_or_else(empty)?,
            last: self.last.ok_or_else(empty)?,
        };
        Ok(Run::new(summary, self.fences, self.filter))
    }
}

fn new_page() -> Vec<u8> {
    codec::start_frame(PAGE_ENTRIES_MAX * ENTRY_BYTES)
}
