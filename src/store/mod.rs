//! Where usage is kept: the contract of a store, and what implements it.
//!
//! A store is synchronous and knows nothing of the wire. One committer (see `service::committer`)
//! hands it groups of submissions; everything else may be called from any number of threads.
//!
//! What every implementation promises, and the conformance tests check:
//! - when [`UsageStore::commit`] returns, what it accepted is durable and visible to every later read;
//! - a uuid is accepted at most once per organization, for ever (among records of product usage, and among events of API
//!   usage), and so is the id of a batch;
//! - a report or batch that would begin more series than [`SeriesLimits`](crate::domain::series_limits::SeriesLimits) allow
//!   is refused whole, and nothing of it is stored; whatever belongs to series that are there is accepted;
//! - a record, its uuid and its effect on totals become visible together or not at all, and so does all of a
//!   batch;
//! - after a failed write the store refuses all further writes ([`StoreError::Failed`]) and goes on
//!   answering reads where it can.

pub mod backup;
pub mod document;
mod error;
mod group;
mod log_head;
pub mod memory;
pub mod sled;

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use self::{
    backup::{BackupEnd, BackupRefusal, BackupRequest, BackupSink},
    document::{Collection, Document, DocumentChange, Page},
};
pub use error::StoreError;
pub use group::{
    CommitDecisions, CommitGroup, Probe, ProbeResult, Probed, ReportDecision, Reported,
};
pub use log_head::{LINK_BYTES, LogHead, LogPosition};

use crate::domain::{
    api_usage::{ApiSeries, ApiTotalsQuery, StatusClass, StoredApiEvent},
    asset::Asset,
    asset_usage::{AssetSeries, AssetTotalsQuery, StoredBatch, UsageDay},
    calendar::QuarterHour,
    catalog::{Catalog, CatalogDifference},
    id::{AssetId, BatchId, ClientId, OrganizationId},
    quantity::Total,
    record_scan::{RecordPage, RecordPosition, RecordScan},
    totals::{Series, TotalsQuery},
    usage::{LogSequence, StoredRecord},
};

/// Receives totals of asset usage one by one. Within one call every series and day comes at most once.
pub type AssetTotalsVisitor<'a> =
    dyn FnMut(&AssetSeries, UsageDay, Total) -> Result<(), StoreError> + 'a;

/// Receives totals of API usage one by one: how many events, and how many calls they stand for. Within one call every
/// series, day and class of statuses comes at most once.
pub type ApiTotalsVisitor<'a> =
    dyn FnMut(&ApiSeries, UsageDay, StatusClass, Total) -> Result<(), StoreError> + 'a;

/// Receives totals one by one. Within one call every series and quarter hour comes at most once.
pub type TotalsVisitor<'a> = dyn FnMut(&Series, QuarterHour, Total) -> Result<(), StoreError> + 'a;

/// Whether a store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreStatus {
    /// It does.
    Ready,
    /// It does not, until the process is restarted. The text says why, for the operator.
    Failed(Arc<str>),
}

/// Figures about a store, for metrics and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// Records of product usage and events of API usage stored.
    pub records: u64,
    /// The last sequence of the log.
    pub last_sequence: LogSequence,
    /// Values of the log that were dropped once they were old enough; what they hold still counts.
    pub dropped_chunks: u64,
    /// Series of usage: combinations of dimensions that have totals.
    pub series: u64,
    /// Those of the organization that has most.
    pub organization_series_highest: u64,
    /// Reports and batches refused because they would have begun too many series.
    pub series_reports_refused: u64,
    /// Events of API usage stored in a series that says less, because there were too many.
    pub series_events_coarsened: u64,
    /// Runs of the uuid index.
    pub index_runs: usize,
    /// Bytes of memory that grow with the number of stored records.
    pub index_bytes: u64,
    /// Bytes that background work still has to write.
    pub background_bytes_owed: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// What a call of [`UsageStore::drop_records`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordsDropped {
    /// Values of the log that are gone.
    pub chunks: u64,
    /// Records of product usage in them.
    pub records: u64,
    /// Whether another call, after a while, may find more.
    pub more_to_come: bool,
}

/// Keeps usage records, totals and the catalog.
pub trait UsageStore: Send + Sync + 'static {
    /// Looks the uuids of a report up without touching the disk.
    fn probe(&self, report: Reported<'_>) -> Probe;

    /// Looks the uuids of a report up, reading from the disk where needed. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    fn settle(&self, report: Reported<'_>) -> Result<ProbeResult, StoreError>;

    /// Decides and stores a group, in order. Blocks until all of it is durable. Only one call runs at a
    /// time; the caller sees to that.
    ///
    /// # Errors
    /// [`StoreError`] if nothing of the group may be taken as stored (though some of it may turn
    /// up after a restart: a retry tells). The store then refuses further writes.
    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError>;

    /// The record accepted under a uuid.
    ///
    /// # Errors
    /// [`StoreError::Dropped`] if it is no longer kept, otherwise [`StoreError`] if it cannot be read.
    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError>;

    /// The place of the record accepted under a uuid in the order of arrival.
    ///
    /// # Errors
    /// [`StoreError::Dropped`] if it is no longer kept, otherwise [`StoreError`] if it cannot be read.
    fn position(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<RecordPosition>, StoreError>;

    /// The record accepted under a uuid whose sequence is known from a decision.
    ///
    /// # Errors
    /// [`StoreError::Dropped`] if it is no longer kept, otherwise [`StoreError`] if it cannot be read or is not there.
    fn original(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<StoredRecord, StoreError>;

    /// Lists records in log order.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    fn scan(&self, scan: &RecordScan) -> Result<RecordPage, StoreError>;

    /// Visits totals as of one moment, and answers the last sequence they include.
    ///
    /// # Errors
    /// [`StoreError`] if totals cannot be read, or what the visitor returned.
    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError>;

    /// The events accepted under uuids whose sequences are known from decisions, in the order of `wanted`; `None` for those
    /// that are no longer kept.
    ///
    /// # Errors
    /// [`StoreError`] if one cannot be read or is not there.
    fn original_events(
        &self,
        organization: &OrganizationId,
        wanted: &[(Uuid, LogSequence)],
    ) -> Result<Vec<Option<StoredApiEvent>>, StoreError>;

    /// Visits totals of API usage as of one moment, and answers the last sequence they include.
    ///
    /// # Errors
    /// [`StoreError`] if totals cannot be read, or what the visitor returned.
    fn api_totals(
        &self,
        query: &ApiTotalsQuery,
        visit: &mut ApiTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError>;

    /// Whether an organization ever had API usage of a client.
    ///
    /// # Errors
    /// [`StoreError`] if totals cannot be read.
    fn has_api_usage(
        &self,
        organization: &OrganizationId,
        client: &ClientId,
    ) -> Result<bool, StoreError>;

    /// The batch recorded under an id.
    ///
    /// # Errors
    /// [`StoreError::Dropped`] if it is no longer kept, otherwise [`StoreError`] if it cannot be read.
    fn find_batch(
        &self,
        organization: &OrganizationId,
        id: &BatchId,
    ) -> Result<Option<StoredBatch>, StoreError>;

    /// Visits totals of asset usage as of one moment, and answers the last sequence they include.
    ///
    /// # Errors
    /// [`StoreError`] if totals cannot be read, or what the visitor returned.
    fn asset_totals(
        &self,
        query: &AssetTotalsQuery,
        visit: &mut AssetTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError>;

    /// All catalogs.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn catalogs(&self) -> Result<Vec<(OrganizationId, Catalog)>, StoreError>;

    /// Carries out a difference from what an organization's catalog is now, durably and all at once, together with
    /// `documents`. Only one call runs at a time for an organization; the caller sees to that.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    fn change_catalog(
        &self,
        organization: &OrganizationId,
        difference: &CatalogDifference,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError>;

    /// The assets of some ids, in the order of `ids`.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn assets(
        &self,
        organization: &OrganizationId,
        ids: &[AssetId],
    ) -> Result<Vec<Option<Asset>>, StoreError>;

    /// Up to `limit` assets of an organization whose ids are after `id`, or of all, first first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn assets_after(
        &self,
        organization: &OrganizationId,
        id: Option<&AssetId>,
        limit: usize,
    ) -> Result<Vec<Asset>, StoreError>;

    /// Puts and removes assets, durably and all at once, together with `documents`. Only one call runs at a time for an
    /// organization; the caller sees to that.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be written.
    fn write_assets(
        &self,
        organization: &OrganizationId,
        put: &[Asset],
        remove: &[AssetId],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError>;

    /// Every document of a collection, by organization and name.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn documents(&self, collection: Collection) -> Result<Vec<Document>, StoreError>;

    /// Up to `limit` documents of an organization whose names are before `name`, or of all, last first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn documents_before(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;

    /// Up to `limit` documents of an organization, first first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn first_documents(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;

    /// Every organization that something is kept of.
    fn organizations(&self) -> Vec<OrganizationId>;

    /// Writes documents, durably and all at once.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be written.
    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError>;

    /// Writes pages of a book, durably and all at once, together with `documents`: pages of the same numbers are replaced.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be written.
    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError>;

    /// The last page of a book that begins at or before `at`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    fn page_at(
        &self,
        organization: &OrganizationId,
        book: &str,
        at: u64,
    ) -> Result<Option<Page>, StoreError>;

    /// Removes all pages of a book, some at a time. They are gone for good when a later [`Self::write_documents`]
    /// returns.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be removed.
    fn remove_pages(&self, organization: &OrganizationId, book: &str) -> Result<(), StoreError>;

    /// Hands everything that a backup consists of to `sink`, as of one moment, while writes go on. Blocks as `sink` does.
    ///
    /// # Errors
    /// [`StoreError::CannotBackUp`] says why it is not made; otherwise [`StoreError`] if the store cannot be read or is
    /// damaged, or what the sink returned.
    fn back_up(
        &self,
        request: &BackupRequest,
        sink: &mut BackupSink<'_>,
    ) -> Result<BackupEnd, StoreError> {
        let _ = (request, sink);
        Err(StoreError::CannotBackUp(BackupRefusal::Unsupported))
    }

    /// Where the log ends: everything acknowledged before is in it. Waits for the commit that is under way. `None` for a store
    /// without a log.
    fn log_head(&self) -> Option<LogHead> {
        None
    }

    /// Drops the oldest records, events and batches of those that were stored before an instant, a bounded number; durable on
    /// return. Their uuids and ids stay taken for ever, and what they add to totals stays. A store may keep some longer, but
    /// drops none before one that was stored earlier.
    ///
    /// # Errors
    /// [`StoreError`] if the store is damaged where they are, or cannot be written; nothing is dropped then.
    fn drop_records(&self, stored_before: Timestamp) -> Result<RecordsDropped, StoreError> {
        let _ = stored_before;
        Ok(RecordsDropped::default())
    }

    /// A secret of this store, for sealing what callers hand back. Stays the same for the store's life.
    fn token_key(&self) -> [u8; 16];

    /// Whether the store takes writes.
    fn status(&self) -> StoreStatus;

    /// Figures about the store.
    fn statistics(&self) -> StoreStatistics;
}
