//! The head: how far the log had come, kept outside of sled.
//!
//! When sled finds its own file damaged it may take the damaged part, and all that follows, for the
//! unwritten end of its log, and open without a word. A second opinion notices: a small file with the
//! last sequence that was flushed, written after every commit. It is not synced each time, so after a
//! power cut it may be behind the log; it is never ahead of it.
//!
//! Two slots of 32 bytes, written in turn: sequence:u64 ‖ store id:16 ‖ crc32:u32 ‖ state:4. The state says whether the store
//! was closed after all had gone well, and is zero while it is open.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{codec::Reader, options::OpenError};
use crate::domain::usage::LogSequence;

pub(super) const FILE_NAME: &str = "head";
const SLOT_BYTES: usize = 32;
const STATE_AT: usize = 28;
pub(super) const OPEN: [u8; 4] = [0; 4];
pub(super) const CLOSED: [u8; 4] = *b"well";

/// The head file of an open store.
pub(super) struct Head {
    file: File,
    store_id: [u8; 16],
    last: AtomicU64,
    warned: AtomicBool,
}

impl Head {
    /// What the head file of a directory says, if there is one: whose store, and how far it had come.
    pub(super) fn read(directory: &Path) -> Result<Option<([u8; 16], LogSequence)>, OpenError> {
        let path = directory.join(FILE_NAME);
        match std::fs::read(&path) {
            Ok(slots) => Ok(newest(&slots)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("cannot read", path, source)),
        }
    }

    /// Whether the last process that had the store open closed it, and could write all that it wanted to. From now on it
    /// counts as open.
    pub(super) fn take_closed_well(directory: &Path) -> bool {
        let take = || -> std::io::Result<bool> {
            let file = OpenOptions::new().read(true).write(true).open(directory.join(FILE_NAME))?;
            let mut slots = [0; 2 * SLOT_BYTES];
            file.read_exact_at(&mut slots, 0)?;
            for slot in 0..2 {
                file.write_all_at(&OPEN, (slot * SLOT_BYTES + STATE_AT) as u64)?;
            }
            Ok(is_closed_well(&slots))
        };
        take().unwrap_or(false)
    }

    /// Opens the head file for writing, creating it if need be, and brings it up to `last`.
    pub(super) fn open(
        directory: &Path,
        store_id: [u8; 16],
        last: LogSequence,
    ) -> Result<Self, OpenError> {
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| failed("cannot open", path.clone(), source))?;
        let last = AtomicU64::new(last.0);
        let head = Self { file, store_id, last, warned: AtomicBool::new(false) };
        let written = head.write_both(OPEN).and_then(|()| head.file.sync_all());
        written.map_err(|source| failed("cannot write", path, source))?;
        Ok(head)
    }

    /// Notes that everything up to `last` is on the disk. Costs one write into the page cache.
    pub(super) fn advance(&self, last: LogSequence) {
        self.last.store(last.0, Ordering::Relaxed);
        if let Err(error) = self.write(last.0, last.0 % 2, OPEN)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            // Nothing acknowledged is at risk; only damage to the end of sled's file may go unnoticed.
            tracing::warn!(%error, "cannot write the head file");
        }
    }

    /// Makes what was noted survive a power cut as well, and says whether all went well.
    pub(super) fn close(&self, is_well: bool) -> std::io::Result<()> {
        if is_well {
            self.write_both(CLOSED)?;
        }
        self.file.sync_data()
    }

    fn write_both(&self, state: [u8; 4]) -> std::io::Result<()> {
        let last = self.last.load(Ordering::Relaxed);
        (0..2).try_for_each(|slot| self.write(last, slot, state))
    }

    fn write(&self, last: u64, slot: u64, state: [u8; 4]) -> std::io::Result<()> {
        let bytes = encode(&self.store_id, LogSequence(last), state);
        self.file.write_all_at(&bytes, slot * SLOT_BYTES as u64)
    }
}

/// The bytes of a slot.
pub(super) fn encode(store_id: &[u8; 16], last: LogSequence, state: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(&last.0.to_le_bytes());
    bytes.extend_from_slice(store_id);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(&state);
    bytes
}

/// What the slots of a head file say: the newest that is whole.
pub(super) fn newest(slots: &[u8]) -> Option<([u8; 16], LogSequence)> {
    slots.chunks(SLOT_BYTES).filter_map(parse).max_by_key(|(_, sequence)| *sequence)
}

/// Whether the slots of a head file say that the store was closed after all had gone well.
pub(super) fn is_closed_well(slots: &[u8; 2 * SLOT_BYTES]) -> bool {
    let states = slots.chunks(SLOT_BYTES).map(|slot| slot.get(STATE_AT..));
    states.into_iter().all(|state| state == Some(&CLOSED))
}

fn parse(slot: &[u8]) -> Option<([u8; 16], LogSequence)> {
    let mut reader = Reader::new(slot);
    let sequence = LogSequence(reader.u64().ok()?);
    let store_id = reader.array().ok()?;
    let checksum = reader.u32().ok()?;
    (slot.get(..24).map(crc32fast::hash) == Some(checksum)).then_some((store_id, sequence))
}

fn failed(what: &'static str, path: PathBuf, source: std::io::Error) -> OpenError {
    OpenError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Head::read(directory.path()).unwrap(), None);
        let head = Head::open(directory.path(), [7; 16], LogSequence(4)).unwrap();
        head.advance(LogSequence(5));
        head.advance(LogSequence(6));
        assert_eq!(Head::read(directory.path()).unwrap(), Some(([7; 16], LogSequence(6))));
        let path = directory.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Head::read(directory.path()).unwrap(), Some(([7; 16], LogSequence(5))));
    }

    #[test]
    fn only_a_store_that_was_closed_well_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let well = || Head::take_closed_well(directory.path());
        assert!(!well());
        let head = Head::open(directory.path(), [7; 16], LogSequence(4)).unwrap();
        head.advance(LogSequence(5));
        head.close(false).unwrap();
        assert!(!well());
        head.close(true).unwrap();
        assert!(well());
        assert!(!well(), "whoever asks has it open");
        assert_eq!(Head::read(directory.path()).unwrap(), Some(([7; 16], LogSequence(5))));
        head.close(true).unwrap();
        drop(Head::open(directory.path(), [7; 16], LogSequence(5)).unwrap());
        assert!(!well());
    }
}
