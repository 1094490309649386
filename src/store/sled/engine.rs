//! The one sled tree: opening it safely, reading, staging and flushing, and refusing everything
//! after a failure.

use std::{
    ops::RangeBounds,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sled::IVec;

use super::{
    backlog::Backlog,
    directory,
    disk_watch::{DiskWatch, WriteUnderWay},
    durability::{LossWitness, SyncWitness},
    faults::{FaultPoint, Faults},
    garbage::Garbage,
    head::Head,
    options::{OpenError, StoreOptions},
    readable,
};
use crate::store::{StoreError, StoreStatus};

/// Largest value that may be stored. A sled leaf holds up to 16 entries, and a page over 128 KiB
/// would go into a blob file that sled never syncs: 16 × 7,168 B stays below.
pub(super) const VALUE_BYTES_MAX: usize = 7_168;

/// sled, and whether it can still be trusted.
pub(super) struct Engine {
    // Taken out only by `Drop`.
    db: Option<sled::Db>,
    failure: OnceLock<Arc<str>>,
    // Whether it was sled that failed, rather than something of ours.
    sled_failed: AtomicBool,
    losses: LossWitness,
    faults: Faults,
    backlog: Backlog,
    watch: DiskWatch,
    disk_timeout: Duration,
    garbage: Garbage,
}

/// A key and its value.
pub(super) type Entry = (IVec, IVec);

impl Engine {
    /// Opens the tree of `options.data_dir`, creating it if need be.
    pub(super) fn open(options: &StoreOptions) -> Result<Self, OpenError> {
        let directory = &options.data_dir;
        directory::create(directory)?;
        directory::remove_unfinished_snapshots(directory)?;
        directory::set_torn_settings_aside(directory)?;
        readable::check(directory, Head::take_closed_well(directory))?;
        let db = open_unlocked(options)?;
        let engine = Self {
            db: Some(db),
            failure: OnceLock::new(),
            sled_failed: AtomicBool::new(false),
            losses: directory::watch_losses(directory)?,
            faults: options.faults.clone(),
            backlog: Backlog::default(),
            watch: DiskWatch::default(),
            disk_timeout: options.disk_timeout,
            garbage: Garbage::default(),
        };
        directory::refuse_blobs(directory)?;
        directory::sync_settings(directory)?;
        directory::sync_names(directory)?;
        Ok(engine)
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("only Drop takes it out")
    }

    /// Writes one entry and proves that the flush went through our fdatasync.
    pub(super) fn prove_durability(&self, key: &[u8], value: &[u8]) -> Result<(), OpenError> {
        let witness = SyncWitness::start();
        self.stage(key, value)?;
        self.flush()?;
        if witness.saw_one() { Ok(()) } else { Err(OpenError::NotDurable) }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.db().get(key).map_err(|error| read_error(&error))
    }

    /// Entries of a range of keys, in order.
    pub(super) fn range<K, R>(
        &self,
        keys: R,
    ) -> impl DoubleEndedIterator<Item = Result<Entry, StoreError>> + use<K, R>
    where
        K: AsRef<[u8]>,
        R: RangeBounds<K>,
    {
        self.db().range(keys).map(|entry| entry.map_err(|error| read_error(&error)))
    }

    /// Entries whose keys begin with `prefix`, in order.
    pub(super) fn prefix(
        &self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Entry, StoreError>> + use<> {
        self.db().scan_prefix(prefix).map(|entry| entry.map_err(|error| read_error(&error)))
    }

    /// Puts one entry, durable with the next flush. On its own it is atomic.
    pub(super) fn stage(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        debug_assert!(
            value.len() <= VALUE_BYTES_MAX,
            "a value of {} bytes would become a blob",
            value.len()
        );
        self.writable()?;
        let _under_way = self.watch.begin();
        self.db().insert(key, value).map_err(|error| self.write_error(&error))?;
        self.staged(1, value.len())
    }

    /// Removes one entry, durable with the next flush.
    pub(super) fn unstage(&self, key: &[u8]) -> Result<(), StoreError> {
        self.writable()?;
        let _under_way = self.watch.begin();
        self.db().remove(key).map_err(|error| self.write_error(&error))?;
        self.staged(1, 0)
    }

    /// Puts a batch, all or nothing, durable with the next flush.
    pub(super) fn stage_batch(&self, batch: Batch) -> Result<(), StoreError> {
        self.writable()?;
        let Batch { batch, entries, value_bytes } = batch;
        let _under_way = self.watch.begin();
        self.db().apply_batch(batch).map_err(|error| self.write_error(&error))?;
        self.garbage.free_after(entries);
        self.staged(entries, value_bytes)
    }

    /// Waits for the disk where more is staged than sled may have on its way.
    fn staged(&self, entries: u64, value_bytes: usize) -> Result<(), StoreError> {
        if self.backlog.add(entries, value_bytes as u64) { self.flush() } else { Ok(()) }
    }

    /// Returns once everything staged before is on the disk.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let _under_way = self.watch.begin();
        self.backlog.flush(|| {
            self.writable()?;
            self.db().flush().map_err(|error| self.write_error(&error))?;
            self.losses.check().map_err(|error| self.write_error(&error.into()))
        })
    }

    /// Reports that a step of the store was reached; fails where a test planted a fault.
    pub(super) fn pass(&self, point: FaultPoint) -> Result<(), StoreError> {
        self.faults.pass(point).inspect_err(|error| self.fail(&error.to_string()))
    }

    /// Refuses all writes from now on. The first reason stays.
    pub(super) fn fail(&self, reason: &str) {
        if self.failure.set(reason.into()).is_ok() {
            tracing::error!(
                reason,
                "the store failed and refuses writes; free space or repair the disk, then restart meterd"
            );
        }
    }

    /// Fails unless writes are still allowed.
    pub(super) fn writable(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Failed(Arc::clone(reason))),
        }
    }

    /// Counts as one write, until the guard is dropped, what takes several steps.
    pub(super) fn begin_write(&self) -> WriteUnderWay<'_> {
        self.watch.begin()
    }

    pub(super) fn status(&self) -> StoreStatus {
        if self.watch.longest() > self.disk_timeout {
            // Callers should not wait for it: they may find another server, and this one must be looked at.
            self.fail(&format!(
                "a write has taken more than {:?}: the disk does not answer, or sled waits for itself",
                self.disk_timeout
            ));
        }
        self.failure
            .get()
            .map_or(StoreStatus::Ready, |reason| StoreStatus::Failed(Arc::clone(reason)))
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.db().size_on_disk().unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.db().is_empty()
    }

    fn write_error(&self, error: &sled::Error) -> StoreError {
        self.sled_failed.store(true, Ordering::Release);
        self.fail(&error.to_string());
        StoreError::Engine(error.to_string().into())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        // Threads of sled's own may have failed since anybody asked.
        if self.sled_failed.load(Ordering::Acquire) || db.flush().is_err() {
            // sled syncs once more when it is dropped, and panics if that fails. Its files need
            // nothing from us: what was acknowledged is in them, and the rest may be lost. Its
            // descriptor stays open, which `durability` relies on.
            std::mem::forget(db);
        }
    }
}

/// Writes that land together or not at all.
#[derive(Default)]
pub(super) struct Batch {
    batch: sled::Batch,
    entries: u64,
    value_bytes: usize,
}

impl Batch {
    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        debug_assert!(
            value.len() <= VALUE_BYTES_MAX,
            "a value of {} bytes would become a blob",
            value.len()
        );
        self.entries += 1;
        self.value_bytes += value.len();
        self.batch.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.entries += 1;
        self.batch.remove(key);
    }
}

fn read_error(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => StoreError::Damaged(format!("sled: {error}").into()),
        other => StoreError::Engine(other.to_string().into()),
    }
}

/// How long another owner of the store may take to let go of it. A process that exits, and sled's own
/// threads after a close, hold the file lock for a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

fn open_unlocked(options: &StoreOptions) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(&options.data_dir)
        .cache_capacity(options.cache_bytes)
        // sled's own flusher thread only logs when a flush fails.
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let mut waited = Duration::ZERO;
    loop {
        // sled panics over some of what it finds in a damaged file.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Err(_) => {
                let what = "sled panicked while it read its files";
                return Err(StoreError::Damaged(what.into()).into());
            }
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(error)))
                if error.to_string().contains("could not acquire lock") =>
            {
                if waited >= LOCK_PATIENCE {
                    return Err(OpenError::InUse(options.data_dir.clone()));
                }
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            Ok(Err(error)) => return Err(OpenError::Store(read_error(&error))),
        }
    }
}
