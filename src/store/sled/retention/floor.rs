//! Where the log begins, and what was before.
//!
//! Body, version 2: first:u64 | linked:u8 | link:32 | stored_nanos:i64 | values:u64 | records:u64 | api_events:u64 |
//! batches:u64 | asset_usages:u64 | uuid_sum:u128 | kept_from_nanos:i64 (the least number for none). Version 1 ends before the
//! last.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::{record_scan::DroppedThrough, usage::LogSequence},
    store::{
        StoreError,
        sled::{
            codec::{self, Malformed, Reader},
            engine::Engine,
            index::key::UuidKey,
            keyspace::KeySpace,
            log::{
                LogEntry,
                chain::{Chain, Link},
                log_nanos, timestamp,
            },
        },
    },
};

pub(super) const VERSION: u8 = 2;
/// Does not say from when on records are kept. Still read.
const VERSION_WITHOUT_KEPT_FROM: u8 = 1;
/// Stands for no time from which on records are kept.
const KEPT_FROM_NONE: i64 = i64::MIN;

/// How much was dropped, in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedCounts {
    /// Values of the log.
    pub chunks: u64,
    /// Records of product usage in them.
    pub records: u64,
    /// Events of API usage in them.
    pub api_events: u64,
    /// Batches of asset usage in them.
    pub batches: u64,
    /// Usages in those batches.
    pub asset_usages: u64,
}

impl DroppedCounts {
    pub(super) fn count(&mut self, entry: &LogEntry) {
        self.chunks += 1;
        match entry {
            LogEntry::Records(chunk) => self.records += chunk.records.len() as u64,
            LogEntry::ApiEvents(value) => self.api_events += value.events.len() as u64,
            LogEntry::BatchPart(part) => {
                self.batches += u64::from(part.part == 0);
                self.asset_usages += part.usages.len() as u64;
            }
        }
    }
}

/// Stands for a set of uuids and where each stood, whatever their order: the sum of their hashes. It tells whether the index
/// still holds exactly those that were dropped from the log; whoever alters the index on purpose can alter it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::sled) struct UuidSum(u128);

impl UuidSum {
    pub(in crate::store::sled) fn add(&mut self, key: &UuidKey, sequence: LogSequence) {
        let mut hash = Sha256::new();
        hash.update(key.as_bytes());
        hash.update(sequence.0.to_le_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let (half, _) = hash.split_first_chunk().expect("a hash is longer than its half");
        self.0 = self.0.wrapping_add(u128::from_le_bytes(*half));
    }
}

/// Where the log begins, and what was before. Replaced in one step with the values that it says are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct LogFloor {
    /// After the last value that was dropped.
    pub(in crate::store::sled) before: Chain,
    /// When that one was stored; at the epoch if there is none.
    pub(in crate::store::sled) stored_time: Timestamp,
    pub(in crate::store::sled) counts: DroppedCounts,
    pub(in crate::store::sled) uuids: UuidSum,
    /// Records stored before may be gone, all later ones are there; `None` of a log that records were never dropped from. It
    /// depends on the clock and the options alone, so that readers may be told.
    pub(in crate::store::sled) kept_from: Option<Timestamp>,
}

impl Default for LogFloor {
    /// Of a log that is whole.
    fn default() -> Self {
        Self {
            before: Chain::start(),
            stored_time: Timestamp::UNIX_EPOCH,
            counts: DroppedCounts::default(),
            uuids: UuidSum::default(),
            kept_from: None,
        }
    }
}

impl LogFloor {
    /// The first sequence that is not dropped.
    pub(in crate::store::sled) fn first(&self) -> LogSequence {
        LogSequence(self.before.last().0 + 1)
    }

    /// Whether what stood at a sequence was dropped.
    pub(in crate::store::sled) fn has_dropped(&self, sequence: LogSequence) -> bool {
        sequence < self.first()
    }

    /// The last value that was dropped; `None` if none was.
    pub(in crate::store::sled) fn dropped_through(&self) -> Option<DroppedThrough> {
        let Self { before, stored_time, .. } = *self;
        (self.counts.chunks > 0).then_some(DroppedThrough { sequence: before.last(), stored_time })
    }

    /// Reads it; a store without one has its whole log.
    pub(in crate::store::sled) fn load(engine: &Engine) -> Result<Self, StoreError> {
        let key = KeySpace::LogFloor.only();
        engine.get(&key)?.map_or_else(|| Ok(Self::default()), |value| Self::decode(&key, &value))
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let read = || match codec::open_frame(value, VERSION, key) {
            Ok(body) => {
                let mut reader = Reader::new(body);
                let mut floor = Self::parse(&mut reader)?;
                let kept_from = reader.i64()?;
                floor.kept_from = (kept_from != KEPT_FROM_NONE).then(|| timestamp(kept_from));
                reader.end().map(|()| floor)
            }
            Err(Malformed::Version(VERSION_WITHOUT_KEPT_FROM)) => {
                let body = codec::open_frame(value, VERSION_WITHOUT_KEPT_FROM, key)?;
                let mut reader = Reader::new(body);
                let mut floor = Self::parse(&mut reader)?;
                // Nothing that was stored later than the last value that was dropped is gone.
                let after = SignedDuration::from_nanos(1);
                floor.kept_from = floor.stored_time.checked_add(after).ok();
                reader.end().map(|()| floor)
            }
            Err(error) => Err(error),
        };
        read().map_err(codec::damaged("beginning of the log"))
    }

    /// What both versions have.
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = reader.u64()?.checked_sub(1).ok_or(Malformed::Content)?;
        let linked = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Content),
        };
        let before = Chain::resumed(LogSequence(first), Link(reader.array()?), linked);
        let stored_time = timestamp(i64::from_le_bytes(reader.array()?));
        let counts = DroppedCounts {
            chunks: reader.u64()?,
            records: reader.u64()?,
            api_events: reader.u64()?,
            batches: reader.u64()?,
            asset_usages: reader.u64()?,
        };
        let uuids = UuidSum(u128::from_le_bytes(reader.array()?));
        Ok(Self { before, stored_time, counts, uuids, kept_from: None })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let Self { before, stored_time, counts, uuids, kept_from } = self;
        let kept_from = kept_from.map_or(Ok(KEPT_FROM_NONE), log_nanos)?;
        let mut frame = codec::start_frame(113);
        frame.extend_from_slice(&self.first().0.to_le_bytes());
        frame.push(u8::from(before.is_linked()));
        frame.extend_from_slice(&before.link().0);
        frame.extend_from_slice(&log_nanos(*stored_time)?.to_le_bytes());
        let DroppedCounts { chunks, records, api_events, batches, asset_usages } = counts;
        for count in [chunks, records, api_events, batches, asset_usages] {
            frame.extend_from_slice(&count.to_le_bytes());
        }
        frame.extend_from_slice(&uuids.0.to_le_bytes());
        frame.extend_from_slice(&kept_from.to_le_bytes());
        codec::finish_frame(&mut frame, VERSION, &KeySpace::LogFloor.only());
        Ok(frame)
    }
}
