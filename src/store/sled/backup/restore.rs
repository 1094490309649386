//! Making a store of a backup.
//!
//! The index and the state are written as they are, and so is the log up to the checkpoint. What follows goes through
//! the memtable, the totals and the flusher, as commits do, so that any number of records takes bounded memory.
//!
//! Until all is done a file in the directory says that it is not, and nobody opens the store.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::sections::belongs;
use crate::{
    domain::usage::LogSequence,
    store::{
        LogHead, LogPosition, StoreError,
        backup::BackupSection,
        sled::{
            SledStore,
            batches::{self, BatchPlace},
            commit, directory,
            engine::{Engine, VALUE_BYTES_MAX},
            index::manifest::Manifest,
            keyspace::{KeySpace, log_key},
            log::{
                self, LogEntry,
                chain::{Chain, Link},
                read::missing,
            },
            options::{OpenError, StoreOptions},
            recovery,
            replay::{IncludedRows, Replay},
        },
    },
};

/// Says that the store around it is not whole.
const MARKER: &str = "unfinished-restore";
/// Until it has flushed them, sled keeps all entries in memory, whatever the size of its cache.
const STAGED_BYTES_MAX: usize = 8 << 20;

/// Refuses the directory of a restore that did not come to its end.
pub(in crate::store::sled) fn refuse_unfinished(directory: &Path) -> Result<(), OpenError> {
    let marker = directory.join(MARKER);
    match marker.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::UnfinishedRestore(directory.to_owned())),
        Err(source) => Err(OpenError::Io { what: "cannot look for", path: marker, source }),
    }
}

/// A store that is being restored. What is dropped before [`Self::finish`] stays behind and says that it is unfinished.
pub struct Restore {
    options: StoreOptions,
    chain: Chain,
    checkpoint: LogSequence,
    unflushed_bytes: usize,
    phase: Phase,
}

enum Phase {
    /// Entries are written as they are.
    Copying(Engine),
    /// Values of the log are taken in as if they were committed.
    Replaying { store: SledStore, included: IncludedRows },
    /// Between the two, and after a failure.
    Broken,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").field("data_dir", &self.options.data_dir).finish_non_exhaustive()
    }
}

impl Restore {
    /// Begins in a directory that is empty or not there. `after` is where the log of the full backup begins.
    ///
    /// # Errors
    /// [`OpenError`] if it is not empty or cannot be written to.
    pub fn begin(options: StoreOptions, after: &LogPosition) -> Result<Self, OpenError> {
        let directory = &options.data_dir;
        if directory.is_dir() {
            let mut entries =
                std::fs::read_dir(directory).map_err(failed("cannot list", directory))?;
            if entries.next().is_some() {
                return Err(OpenError::NotEmpty(directory.clone()));
            }
        }
        directory::create(directory)?;
        let marker = directory.join(MARKER);
        mark(&marker).map_err(failed("cannot write", &marker))?;
        sync_directory(directory)?;
        let engine = Engine::open(&options)?;
        Ok(Self {
            options,
            chain: Chain::at(after.sequence, Link(after.link)),
            checkpoint: LogSequence(0),
            unflushed_bytes: 0,
            phase: Phase::Copying(engine),
        })
    }

    /// Takes one entry: first those of the index of the full backup and of the state of the last one, in any order, then
    /// those of the log of all, from the full one on.
    ///
    /// # Errors
    /// [`OpenError::Store`] if it is not what may come now, or cannot be written.
    pub fn entry(
        &mut self,
        section: BackupSection,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), OpenError> {
        if !belongs(section, key) || value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(not_of_a_store(key).into());
        }
        match (section, value) {
            (BackupSection::Log, Some(value)) => self.log_value(key, value),
            (BackupSection::Log, None) => Err(not_of_a_store(key).into()),
            (BackupSection::Index | BackupSection::State, value) => Ok(self.copy(key, value)?),
        }
    }

    /// Writes an entry as it is.
    fn copy(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let Phase::Copying(engine) = &self.phase else { return Err(not_of_a_store(key)) };
        match value {
            Some(value) => engine.stage(key, value)?,
            None => engine.unstage(key)?,
        }
        if key == KeySpace::Manifest.only() {
            self.checkpoint =
                value.map(Manifest::decode).transpose()?.unwrap_or_default().checkpoint;
        }
        self.unflushed_bytes += key.len() + value.map_or(0, <[u8]>::len);
        if self.unflushed_bytes >= STAGED_BYTES_MAX {
            engine.flush()?;
            self.unflushed_bytes = 0;
        }
        Ok(())
    }

    fn log_value(&mut self, key: &[u8], value: &[u8]) -> Result<(), OpenError> {
        let sequence = LogSequence(self.chain.last().0 + 1);
        if key != log_key(sequence) {
            return Err(missing(sequence).into());
        }
        if sequence <= self.checkpoint {
            self.chain.follow(sequence, value, log::previous_link(sequence, value)?)?;
            return Ok(self.copy(key, Some(value))?);
        }
        self.start_replaying()?;
        Ok(self.replay(sequence, value)?)
    }

    /// Opens what was copied, once.
    fn start_replaying(&mut self) -> Result<(), OpenError> {
        match std::mem::replace(&mut self.phase, Phase::Broken) {
            Phase::Copying(engine) => {
                engine.flush()?;
                self.unflushed_bytes = 0;
                let (core, end) = recovery::load(engine, self.options.clone())?;
                let store = SledStore::start(core, end)?;
                self.phase = Phase::Replaying { store, included: IncludedRows::new() };
            }
            replaying @ Phase::Replaying { .. } => self.phase = replaying,
            Phase::Broken => return Err(StoreError::Closed.into()),
        }
        Ok(())
    }

    /// Takes in a value that the index and the totals do not include yet.
    fn replay(&mut self, sequence: LogSequence, value: &[u8]) -> Result<(), StoreError> {
        let Phase::Replaying { store, included } = &mut self.phase else {
            return Err(StoreError::Closed);
        };
        let core = &*store.core;
        let end = store.end.get_mut();
        let (entry, previous) = LogEntry::decode_linked(sequence, value)?;
        self.chain.follow(sequence, value, previous)?;
        if commit::is_full(core, end) {
            // Only what is durable may be frozen.
            core.engine.flush()?;
            self.unflushed_bytes = 0;
            commit::freeze(core, end)?;
            included.clear();
        }
        core.engine.stage(&log_key(sequence), value)?;
        if let LogEntry::BatchPart(part) = &entry
            && part.part == 0
        {
            let place = BatchPlace { first: sequence, parts: part.parts };
            let key = batches::key(part.organization, &part.batch);
            core.engine.stage(&key, &place.encode(&key))?;
        }
        let mut replay = Replay {
            engine: &core.engine,
            rollups: &core.rollups,
            series: &core.series,
            live: &mut core.index.live.write(),
            included,
        };
        end.asset_usages += replay.entry(sequence, &entry)?;
        end.last = sequence;
        end.link = self.chain.link();
        end.last_stored_time = entry.stored_time();
        self.unflushed_bytes += value.len();
        if self.unflushed_bytes >= STAGED_BYTES_MAX {
            core.engine.flush()?;
            self.unflushed_bytes = 0;
        }
        Ok(())
    }

    /// Ends it, if it is the store that the last backup says, and its log ends there; the store is durable and may be opened
    /// on return.
    ///
    /// # Errors
    /// [`OpenError`] if it is another store, if the log ends elsewhere, or if something cannot be written.
    pub fn finish(mut self, end_of_backup: &LogHead) -> Result<(), OpenError> {
        self.start_replaying()?;
        let Phase::Replaying { store, .. } = self.phase else {
            return Err(StoreError::Closed.into());
        };
        let LogHead { store_id, position: through } = end_of_backup;
        if store.store_id() != *store_id {
            let what = format!("backup: its entries are of the store {}", store.store_id());
            return Err(StoreError::Damaged(what.into()).into());
        }
        let end = *store.end.lock();
        if (end.last, end.link.0) != (through.sequence, through.link) {
            let what = format!(
                "log chunk {}: is not the one that the backup ends with, which is {}",
                end.last.0, through.sequence.0
            );
            return Err(StoreError::Damaged(what.into()).into());
        }
        store.core.engine.flush()?;
        store.core.head.advance(end.last);
        store.close();
        // What failed in the background is known by now.
        store.core.engine.writable()?;
        drop(store);
        let marker = self.options.data_dir.join(MARKER);
        std::fs::remove_file(&marker).map_err(failed("cannot remove", &marker))?;
        sync_directory(&self.options.data_dir)
    }
}

fn not_of_a_store(key: &[u8]) -> StoreError {
    StoreError::Damaged(format!("backup: an entry {key:02x?} is out of place").into())
}

fn mark(marker: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(marker)?;
    file.write_all(b"meterd is restoring a store here, or was interrupted in it.\n")?;
    file.sync_all()
}

fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(failed("cannot sync", directory))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}
