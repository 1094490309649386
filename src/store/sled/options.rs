//! How a store is opened, and why opening can fail.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::faults::Faults;
use crate::{domain::series_limits::SeriesLimits, store::StoreError};

/// Where a store is and how much memory it may take.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory that holds the store, and nothing else. Created if missing, with mode 0700.
    pub data_dir: PathBuf,
    /// Bytes that sled may cache. sled is generous with it: budget twice as much. The system caches the
    /// files besides, so more of it makes hardly anything faster. Default 96 MiB.
    pub cache_bytes: u64,
    /// Uuids kept in memory before they are written out as a sorted run. Each takes about 40 bytes
    /// while in memory, and up to four such tables exist at once. Default 458,752, which fills a hash table of 2^19 slots.
    pub memtable_keys_max: usize,
    /// Rows of totals kept in memory before they are written out. Default 131,072.
    pub rollup_rows_max: usize,
    /// Bytes of stored rows of totals that are kept for one reader when they are replaced while it reads. A reader that would
    /// need more fails. Default 64 MiB, some 300,000 rows.
    pub overwritten_bytes_max: usize,
    /// Bits of Bloom filter per stored uuid, the part of memory that grows with the store. Default 20:
    /// one needless page read per some three thousand lookups and run.
    pub filter_bits_per_key: u32,
    /// Runs of one level that are merged into one of the next. Default 4.
    pub merge_fan_in: usize,
    /// Runs at which writes wait for the mergers. Default 24.
    pub runs_max: usize,
    /// Merged runs that are kept for a backup that reads the index. If there come to be more, the backup fails: the manifest
    /// names them all, and is one value. Default 1000, which is some 300 million records.
    pub dead_runs_max: usize,
    /// How long one write to the disk may take. After that the store fails. Default 60 s.
    pub disk_timeout: Duration,
    /// How many series of usage there may be. Each takes ten to twenty bytes of memory.
    pub series: SeriesLimits,
    /// Planted faults, for tests.
    pub faults: Faults,
}

impl StoreOptions {
    /// The defaults, for a store in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            cache_bytes: 96 << 20,
            memtable_keys_max: 448 << 10,
            rollup_rows_max: 128 << 10,
            overwritten_bytes_max: 64 << 20,
            filter_bits_per_key: 20,
            merge_fan_in: 4,
            runs_max: 24,
            dead_runs_max: 1000,
            disk_timeout: Duration::from_mins(1),
            series: SeriesLimits::default(),
            faults: Faults::default(),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file or directory operation failed.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Others may look into the directory, and go on to.
    #[error(
        "{directory} is open to others (mode {mode:04o}) and cannot be closed to them; let its owner do it: chmod 700 {directory}"
    )]
    NotPrivate {
        /// The directory.
        directory: PathBuf,
        /// What others may do there.
        mode: u32,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The directory is open to others, and holds something else than a store.
    #[error(
        "{directory} is open to others (mode {mode:04o}) and holds files that are not a store's; name a directory that is for the store alone"
    )]
    Shared {
        /// The directory.
        directory: PathBuf,
        /// What others may do there.
        mode: u32,
    },
    /// Another process has the store open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The directory holds something that is not a meterd store.
    #[error("{0} holds data that is not a meterd store")]
    NotAStore(PathBuf),
    /// sled kept values in files that it never syncs. meterd never writes values that large.
    #[error("{0} holds blob files, which are not durable; the store was written by something else")]
    Blobs(PathBuf),
    /// A flush did not reach the disk through meterd's own fdatasync, so nothing could be promised.
    #[error("flushes do not reach fdatasync in this build; nothing would survive a power cut")]
    NotDurable,
    /// A restore was begun there and did not come to its end.
    #[error("{0} holds a restore that did not finish; remove it and restore again")]
    UnfinishedRestore(PathBuf),
    /// A store is to be restored into a directory that holds something.
    #[error("{0} is not empty; a store is restored into a new directory")]
    NotEmpty(PathBuf),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Says what failed, and on what.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
