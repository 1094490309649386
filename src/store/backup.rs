//! What a backup consists of, whatever the store: entries in three sections, and the stretch of the log that they hold.
//!
//! On the wire and in files an entry is `key bytes:u16 ‖ value bytes:u32 ‖ key ‖ value ‖ crc32:u32`, numbers
//! little-endian; where the value has 2^32 − 1 bytes there is none, and the entry says that the key is gone. What is in
//! keys and values is the store's own business.

use std::io::{self, Read};

use uuid::Uuid;

use super::{LogHead, LogPosition, StoreError};

/// Bytes of the largest value that an entry can have.
pub const ENTRY_VALUE_BYTES_MAX: usize = 64 << 10;
/// Stands for the length of a value that is not there.
const NO_VALUE: u32 = u32::MAX;
const HEADER_BYTES: usize = 6;
const CHECKSUM_BYTES: usize = 4;

/// Which part of a store an entry is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackupSection {
    /// What is derived from the log, up to some point: uuid index, index of batches, totals. Of full backups only.
    Index,
    /// What is kept beside usage, whole: organizations, clients, catalog, assets, queries, the store's identity. Where
    /// entries have the same key, the last one counts.
    State,
    /// Values of the log, in order.
    Log,
}

impl BackupSection {
    /// Every section, in the order in which they are restored.
    pub const ALL: [Self; 3] = [Self::Index, Self::State, Self::Log];
}

/// Asks for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupRequest {
    /// Only what came after this; `None` for a full one.
    pub after: Option<LogHead>,
    /// Reads no faster than so many bytes a second; at least 1.
    pub bytes_per_second_max: u64,
}

/// What was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupEnd {
    /// Of the store.
    pub store_id: Uuid,
    /// Where the log of this backup begins.
    pub after: LogPosition,
    /// Where it ends. Everything acknowledged before the backup began is before that.
    pub through: LogPosition,
}

/// Receives the entries of a backup. [`StoreError::GivenUp`] ends it.
pub type BackupSink<'a> =
    dyn FnMut(BackupSection, &[u8], Option<&[u8]>) -> Result<(), StoreError> + 'a;

/// Why a backup is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackupRefusal {
    /// The store has no backups.
    #[error("this store cannot be backed up")]
    Unsupported,
    /// The backup before is of another store.
    #[error("the last backup is of another store; make a full one, in another directory")]
    OtherStore,
    /// The log does not go through the end of the backup before.
    #[error(
        "the last backup ends at a place that the store's log does not have: the store was restored to an earlier one, has \
         lost records, or keeps them for less time (--retain-records) than there was between backups; a full backup begins \
         anew"
    )]
    NotInLog,
    /// One is being made.
    #[error("another backup of this store is under way")]
    UnderWay,
    /// The reader takes hours for what is kept on the disk for it meanwhile.
    #[error("the backup was read too slowly; allow a higher rate")]
    TooSlow,
    /// Organizations, catalog and the like change faster than they are read.
    #[error(
        "too much was changed beside usage while it was read; try again, or allow a higher rate"
    )]
    TooManyChanges,
}

/// Appends an entry.
///
/// # Panics
/// Never with keys and values of a store, which are far smaller than the lengths can say.
pub fn put_entry(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let from = out.len();
    let key_bytes = u16::try_from(key.len()).expect("keys are short");
    let value_bytes = value.map_or(NO_VALUE, |value| {
        u32::try_from(value.len()).expect("values are a few kilobytes at most")
    });
    out.extend_from_slice(&key_bytes.to_le_bytes());
    out.extend_from_slice(&value_bytes.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value.unwrap_or_default());
    let checksum = crc32fast::hash(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// They cannot be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// They end in the middle of one.
    #[error("ends in the middle of an entry")]
    Truncated,
    /// One is not what was written.
    #[error("an entry is damaged")]
    Damaged,
}

/// A key, and its value unless the key is gone.
pub type EntryRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Reads entries one after the other.
#[derive(Debug)]
pub struct EntryReader<R> {
    source: R,
    entry: Vec<u8>,
}

impl<R: Read> EntryReader<R> {
    /// Reads from `source`, which should be buffered.
    pub fn new(source: R) -> Self {
        Self { source, entry: Vec::new() }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// [`EntryError`] if there is neither an entry nor the end.
    pub fn next_entry(&mut self) -> Result<Option<EntryRef<'_>>, EntryError> {
        self.entry.clear();
        let Self { source, entry } = self;
        source.by_ref().take(HEADER_BYTES as u64).read_to_end(entry)?;
        if entry.is_empty() {
            return Ok(None);
        }
        let (key_bytes, value_bytes) = lengths(entry)?;
        let rest = key_bytes + value_bytes.unwrap_or(0) + CHECKSUM_BYTES;
        if source.by_ref().take(rest as u64).read_to_end(entry)? < rest {
            return Err(EntryError::Truncated);
        }
        let (content, checksum) =
            entry.split_last_chunk::<CHECKSUM_BYTES>().ok_or(EntryError::Truncated)?;
        if crc32fast::hash(content).to_le_bytes() != *checksum {
            return Err(EntryError::Damaged);
        }
        let (key, value) = content
            .get(HEADER_BYTES..)
            .and_then(|content| content.split_at_checked(key_bytes))
            .ok_or(EntryError::Damaged)?;
        Ok(Some((key, value_bytes.map(|_| value))))
    }
}

/// Bytes of key and value, as a header says; no value if there is none.
fn lengths(header: &[u8]) -> Result<(usize, Option<usize>), EntryError> {
    let (key, rest) = header.split_first_chunk::<2>().ok_or(EntryError::Truncated)?;
    let value: &[u8; 4] = rest.try_into().map_err(|_| EntryError::Truncated)?;
    let key = usize::from(u16::from_le_bytes(*key));
    match u32::from_le_bytes(*value) {
        NO_VALUE => Ok((key, None)),
        bytes => match usize::try_from(bytes) {
            // A damaged length must not make anybody take gigabytes of memory.
            Ok(bytes) if bytes <= ENTRY_VALUE_BYTES_MAX => Ok((key, Some(bytes))),
            _ => Err(EntryError::Damaged),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Entry = (Vec<u8>, Option<Vec<u8>>);

    fn all(bytes: &[u8]) -> Result<Vec<Entry>, EntryError> {
        let mut reader = EntryReader::new(bytes);
        let mut found = Vec::new();
        while let Some((key, value)) = reader.next_entry()? {
            found.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn entries_read_back(entries: Vec<Entry>) {
            let mut bytes = Vec::new();
            for (key, value) in &entries {
                put_entry(&mut bytes, key, value.as_deref());
            }
            prop_assert_eq!(all(&bytes).unwrap(), entries);
        }

        #[test]
        fn a_flipped_bit_or_a_missing_end_is_noticed(
            value: Option<Vec<u8>>, at: prop::sample::Index, bit in 0..8u32
        ) {
            let mut bytes = Vec::new();
            put_entry(&mut bytes, b"key", value.as_deref());
            let at = at.index(bytes.len());
            let cut = all(&bytes[..at]);
            prop_assert!(at == 0 || matches!(cut, Err(EntryError::Truncated)));
            bytes[at] ^= 1 << bit;
            prop_assert!(all(&bytes).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = all(&bytes);
        }
    }
}
