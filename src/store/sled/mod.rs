//! The default store: log-structured, inside one sled tree.
//!
//! sled pays for every key it takes, so records are not keys. A commit group is packed into a few
//! chunks (`log`); an exact uuid index lives beside it in sorted runs (`index`), and totals in one row
//! per series and day (`rollup`). The log is the truth: the other two can be recounted from it, which
//! [`verify()`] does.
//!
//! It is not a general key-value store, and one process owns it at a time.

mod assets;
mod backlog;
mod backup;
mod batches;
mod catalog;
mod codec;
mod commit;
mod core;
mod derived;
mod directory;
mod disk_watch;
mod documents;
mod durability;
mod engine;
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod garbage;
mod head;
mod identity;
mod index;
mod keyspace;
mod log;
mod options;
mod organizations;
mod pages;
mod probe;
mod readable;
mod recovery;
mod replay;
mod retention;
mod rollup;
mod state;
mod verify;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

pub use backup::restore::Restore;
pub use faults::{FaultAction, FaultPoint, Faults};
pub use options::{OpenError, StoreOptions};
pub use retention::DroppedCounts;
pub use verify::{
    DIFFERENCES_MAX, VerifyPhase, VerifyProgress, VerifyReport, verify, verify_against,
};

use self::{
    commit::LogEnd,
    core::Core,
    index::{
        flusher,
        key::{UuidKey, UuidKind},
        merger,
    },
    organizations::OrganizationNumber,
};
use super::{
    ApiTotalsVisitor, AssetTotalsVisitor, CommitDecisions, CommitGroup, LogHead, LogPosition,
    Probe, ProbeResult, RecordsDropped, Reported, StoreError, StoreStatistics, StoreStatus,
    TotalsVisitor, UsageStore,
    backup::{BackupEnd, BackupRequest, BackupSink},
    document::{Collection, Document, DocumentChange, Page},
};
use crate::domain::{
    api_usage::{ApiTotalsQuery, StoredApiEvent},
    asset::Asset,
    asset_usage::{AssetTotalsQuery, StoredBatch},
    catalog::{Catalog, CatalogDifference},
    id::{AssetId, BatchId, ClientId, OrganizationId},
    record_scan::{RecordPage, RecordPosition, RecordScan},
    totals::TotalsQuery,
    usage::{LogSequence, StoredRecord},
};

/// An open store. Dropping it stops the background threads; what was acknowledged is on the disk at
/// all times, so there is nothing else to finish.
pub struct SledStore {
    core: Arc<Core>,
    end: Mutex<LogEnd>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore")
            .field("data_dir", &self.core.options.data_dir)
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store of a directory, creating it if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] if it is in use, damaged, not a store, or cannot be durable.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let (core, end) = recovery::open(options)?;
        Self::start(core, end)
    }

    /// Starts the background threads.
    fn start(core: Core, end: LogEnd) -> Result<Self, OpenError> {
        let core = Arc::new(core);
        let store = Self { core, end: Mutex::new(end), threads: Mutex::new(Vec::new()) };
        store.spawn("index-flusher", flusher::run)?;
        // Big merges take long; small ones must not wait for them.
        store.spawn("index-merger-0", |core| merger::run(core, |level| level == 0))?;
        store.spawn("index-merger-1", |core| merger::run(core, |level| level > 0))?;
        Ok(store)
    }

    fn spawn(
        &self,
        name: &'static str,
        work: impl Fn(&Core) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), OpenError> {
        let core = Arc::clone(&self.core);
        let body = move || match catch_unwind(AssertUnwindSafe(|| work(&core))) {
            Ok(Ok(()) | Err(StoreError::Closed)) => {}
            // Without its background work the store would stall sooner or later: fail now, and say so.
            Ok(Err(error)) => core.engine.fail(&format!("{name}: {error}")),
            Err(_) => core.engine.fail(&format!("{name} panicked")),
        };
        let thread =
            std::thread::Builder::new().name(name.into()).spawn(body).map_err(|source| {
                OpenError::Io {
                    what: "cannot start a thread for",
                    path: self.core.options.data_dir.clone(),
                    source,
                }
            })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Stops the background threads and waits for them. Writes fail from now on. Called by `drop`.
    pub fn close(&self) {
        self.core.index.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // Its panics were caught and reported inside.
            let _ = thread.join();
        }
        let is_well = self.core.engine.flush().is_ok() && self.core.engine.writable().is_ok();
        if let Err(error) = self.core.head.close(is_well) {
            tracing::warn!(%error, "cannot close the head file");
        }
    }

    /// Which chunk holds the record of a uuid.
    fn chunk_of(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<(OrganizationNumber, LogSequence)>, StoreError> {
        let Some(number) = self.core.organizations.number(organization) else { return Ok(None) };
        // Read first: what is found afterwards at a later sequence may not be durable yet.
        let through = self.core.rollups.through();
        let key = UuidKey::new(uuid, number, UuidKind::ProductUsage);
        let found = self.core.index.find(&self.core.engine, &key)?;
        Ok(found.filter(|sequence| *sequence <= through).map(|sequence| (number, sequence)))
    }

    /// Whether everything in memory that can be written out has been, and nothing is left to merge.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.core.index.is_idle()
    }

    /// The identity that the store was created with.
    #[must_use]
    pub fn store_id(&self) -> Uuid {
        identity::store_uuid(&self.core.identity)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl UsageStore for SledStore {
    fn probe(&self, report: Reported<'_>) -> Probe {
        probe::probe(&self.core, report)
    }

    fn settle(&self, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
        probe::settle(&self.core, report)
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        let mut end = self.end.lock();
        commit::commit(&self.core, &mut end, group, now)
    }

    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let found = self.chunk_of(organization, uuid)?;
        found
            .map(|(number, sequence)| log::read::record_at(&self.core, number, uuid, sequence))
            .transpose()
    }

    fn position(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<RecordPosition>, StoreError> {
        let found = self.chunk_of(organization, uuid)?;
        found
            .map(|(number, sequence)| log::read::position_at(&self.core, number, uuid, sequence))
            .transpose()
    }

    fn original(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<StoredRecord, StoreError> {
        let number = self.core.organizations.number(organization);
        let number = number.ok_or(StoreError::NotAtSequence(sequence))?;
        log::read::record_at(&self.core, number, uuid, sequence)
    }

    fn scan(&self, scan: &RecordScan) -> Result<RecordPage, StoreError> {
        log::scan::scan(&self.core, scan)
    }

    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let Core { engine, rollups, organizations, .. } = &*self.core;
        match organizations.number(&query.organization) {
            Some(number) => rollup::product_totals::read(engine, rollups, number, query, visit),
            None => Ok(rollups.through()),
        }
    }

    fn original_events(
        &self,
        organization: &OrganizationId,
        wanted: &[(Uuid, LogSequence)],
    ) -> Result<Vec<Option<StoredApiEvent>>, StoreError> {
        log::read::events_at(&self.core, organization, wanted)
    }

    fn api_totals(
        &self,
        query: &ApiTotalsQuery,
        visit: &mut ApiTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let Core { engine, rollups, organizations, .. } = &*self.core;
        match organizations.number(&query.organization) {
            Some(number) => rollup::api_totals::read(engine, rollups, number, query, visit),
            None => Ok(rollups.through()),
        }
    }

    fn has_api_usage(
        &self,
        organization: &OrganizationId,
        client: &ClientId,
    ) -> Result<bool, StoreError> {
        let Core { engine, rollups, organizations, .. } = &*self.core;
        let Some(number) = organizations.number(organization) else { return Ok(false) };
        rollup::api_totals::has_any(engine, rollups, number, client)
    }

    fn find_batch(
        &self,
        organization: &OrganizationId,
        id: &BatchId,
    ) -> Result<Option<StoredBatch>, StoreError> {
        batches::find(&self.core, organization, id)
    }

    fn asset_totals(
        &self,
        query: &AssetTotalsQuery,
        visit: &mut AssetTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let Core { engine, rollups, organizations, .. } = &*self.core;
        match organizations.number(&query.organization) {
            Some(number) => rollup::asset_totals::read(engine, rollups, number, query, visit),
            None => Ok(rollups.through()),
        }
    }

    fn catalogs(&self) -> Result<Vec<(OrganizationId, Catalog)>, StoreError> {
        catalog::load_all(&self.core)
    }

    fn change_catalog(
        &self,
        organization: &OrganizationId,
        difference: &CatalogDifference,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        catalog::change(&self.core, organization, difference, documents)
    }

    fn assets(
        &self,
        organization: &OrganizationId,
        ids: &[AssetId],
    ) -> Result<Vec<Option<Asset>>, StoreError> {
        assets::get(&self.core, organization, ids)
    }

    fn assets_after(
        &self,
        organization: &OrganizationId,
        id: Option<&AssetId>,
        limit: usize,
    ) -> Result<Vec<Asset>, StoreError> {
        assets::after(&self.core, organization, id, limit)
    }

    fn write_assets(
        &self,
        organization: &OrganizationId,
        put: &[Asset],
        remove: &[AssetId],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        assets::write(&self.core, organization, put, remove, documents)
    }

    fn documents(&self, collection: Collection) -> Result<Vec<Document>, StoreError> {
        documents::all(&self.core, collection)
    }

    fn documents_before(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        documents::before(&self.core, collection, organization, name, limit)
    }

    fn first_documents(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        documents::first(&self.core, collection, organization, limit)
    }

    fn organizations(&self) -> Vec<OrganizationId> {
        self.core.organizations.all().into_iter().map(|(_, organization)| organization).collect()
    }

    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        documents::write(&self.core, changes)
    }

    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        pages::write(&self.core, organization, book, pages, documents)
    }

    fn page_at(
        &self,
        organization: &OrganizationId,
        book: &str,
        at: u64,
    ) -> Result<Option<Page>, StoreError> {
        pages::at(&self.core, organization, book, at)
    }

    fn remove_pages(&self, organization: &OrganizationId, book: &str) -> Result<(), StoreError> {
        pages::remove(&self.core, organization, book)
    }

    fn back_up(
        &self,
        request: &BackupRequest,
        sink: &mut BackupSink<'_>,
    ) -> Result<BackupEnd, StoreError> {
        backup::back_up(&self.core, request, sink)
    }

    fn log_head(&self) -> Option<LogHead> {
        let end = self.end.lock();
        let position = LogPosition { sequence: end.last, link: end.link.0 };
        Some(LogHead { store_id: self.store_id(), position })
    }

    fn drop_records(&self, stored_before: Timestamp) -> Result<RecordsDropped, StoreError> {
        retention::drop_before(&self.core, &self.end, stored_before)
    }

    fn token_key(&self) -> [u8; 16] {
        self.core.identity.token_key
    }

    fn status(&self) -> StoreStatus {
        self.core.engine.status()
    }

    fn statistics(&self) -> StoreStatistics {
        let index = &self.core.index;
        let series = self.core.series.figures();
        StoreStatistics {
            records: index.keys(),
            last_sequence: self.core.rollups.through(),
            dropped_chunks: self.core.retention.floor().counts.chunks,
            series: series.all,
            organization_series_highest: series.highest,
            series_reports_refused: series.reports_refused,
            series_events_coarsened: series.events_coarsened,
            index_runs: index.snapshot.load().runs.len(),
            index_bytes: index.bytes(),
            background_bytes_owed: index.flush_pacer.owed_bytes() + index.merge_pacer.owed_bytes(),
            disk_bytes: self.core.engine.disk_bytes(),
        }
    }
}
