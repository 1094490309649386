//! The head: how far the log had come, kept outside of sled.
//!
//! When sled finds its own file damaged it may take the damaged part, and all that follows, for the
//! unwritten end of its log, and open without a word. A second opinion notices: a small file with the
//! last sequence that was flushed, written after every commit. It is not synced each time, so after a
//! power cut it may be behind the log; it is never ahead of it.
//!
//! Two slots of 32 bytes, written in turn: sequence:u64 ‖ store id:16 ‖ crc32:u32 ‖ zero:4.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{codec::Reader, options::OpenError};
use crate::domain::usage::LogSequence;

pub(super) const FILE_NAME: &str = "head";
const SLOT_BYTES: usize = 32;

/// The head file of an open store.
pub(super) struct Head {
    file: File,
    store_id: [u8; 16],
    warned: AtomicBool,
}

impl Head {
    /// What the head file of a directory says, if there is one: whose store, and how far it had come.
    pub(super) fn read(directory: &Path) -> Result<Option<([u8; 16], LogSequence)>, OpenError> {
        let path = directory.join(FILE_NAME);
        match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(bytes.chunks(SLOT_BYTES).filter_map(parse).max_by_key(|(_, sequence)| *sequence))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("cannot read", path, source)),
        }
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
        let head = Self { file, store_id, warned: AtomicBool::new(false) };
        let written = head
            .write(last, 0)
            .and_then(|()| head.write(last, 1))
            .and_then(|()| head.file.sync_all());
        written.map_err(|source| failed("cannot write", path, source))?;
        Ok(head)
    }

    /// Notes that everything up to `last` is on the disk. Costs one write into the page cache.
    pub(super) fn advance(&self, last: LogSequence) {
        if let Err(error) = self.write(last, last.0 % 2)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            // Nothing acknowledged is at risk; only damage to the end of sled's file may go unnoticed.
            tracing::warn!(%error, "cannot write the head file");
        }
    }

    /// Makes what was noted survive a power cut as well.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, last: LogSequence, slot: u64) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&last.0.to_le_bytes());
        bytes.extend_from_slice(&self.store_id);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(SLOT_BYTES, 0);
        self.file.write_all_at(&bytes, slot * SLOT_BYTES as u64)
    }
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
}
