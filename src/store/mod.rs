//! Where usage is kept: the contract of a store, and what implements it.
//!
//! A store is synchronous and knows nothing of the wire. One committer (see `service::committer`)
//! hands it groups of submissions; everything else may be called from any number of threads.
//!
//! What every implementation promises, and the conformance tests check:
//! - when [`UsageStore::commit`] returns, what it accepted is durable and visible to every later read;
//! - a uuid is accepted at most once per organization, for ever, and so is the id of a batch;
//! - a record, its uuid and its effect on totals become visible together or not at all, and so does all of a
//!   batch;
//! - after a failed write the store refuses all further writes ([`StoreError::Failed`]) and goes on
//!   answering reads where it can.

pub mod document;
mod error;
pub mod memory;
pub mod sled;

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use self::document::{Collection, Document, DocumentChange};
pub use error::StoreError;

use crate::domain::{
    asset::Asset,
    asset_usage::{
        AssetBatch, AssetSeries, AssetTotalsQuery, BatchDecision, StoredBatch, UsageDay,
    },
    calendar::QuarterHour,
    catalog::Catalog,
    id::{AssetId, BatchId, OrganizationId},
    quantity::Total,
    record_scan::{RecordPage, RecordScan},
    totals::{Series, TotalsQuery},
    usage::{LogSequence, StoredRecord, Submission},
    verdict::Decision,
};

/// What is known about the uuids of a submission before it is committed.
#[derive(Debug, Clone, Default)]
pub struct ProbeResult {
    /// Where each record's uuid was found, in the order of the records; empty when none was.
    pub known: Vec<Option<LogSequence>>,
    /// The state of the store's index that this was read from. The store reads again while
    /// committing if it has moved on in a way that matters.
    pub generation: u64,
}

/// The outcome of a first, memory-only look.
#[derive(Debug, Clone)]
pub enum Probe {
    /// Everything is known.
    Settled(ProbeResult),
    /// Something can only be told by reading from the disk: call [`UsageStore::settle`] where
    /// blocking is allowed.
    NeedsRead,
}

/// A submission that is ready for the committer.
#[derive(Debug, Clone)]
pub struct ProbedSubmission {
    /// The submission.
    pub submission: Submission,
    /// What is known about its uuids.
    pub probe: ProbeResult,
}

/// What one commit takes: decided in this order, durable together.
#[derive(Debug, Clone, Default)]
pub struct CommitGroup {
    /// Product usage.
    pub submissions: Vec<ProbedSubmission>,
    /// Batches of asset usage.
    pub batches: Vec<AssetBatch>,
}

impl From<Vec<ProbedSubmission>> for CommitGroup {
    fn from(submissions: Vec<ProbedSubmission>) -> Self {
        Self { submissions, ..Self::default() }
    }
}

impl From<Vec<AssetBatch>> for CommitGroup {
    fn from(batches: Vec<AssetBatch>) -> Self {
        Self { batches, ..Self::default() }
    }
}

/// What became of a [`CommitGroup`], in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitDecisions {
    /// One list for each submission, each in the order of its records.
    pub submissions: Vec<Vec<Decision>>,
    /// One decision for each batch.
    pub batches: Vec<BatchDecision>,
}

/// Receives totals of asset usage one by one. Within one call every series and day comes at most once.
pub type AssetTotalsVisitor<'a> =
    dyn FnMut(&AssetSeries, UsageDay, Total) -> Result<(), StoreError> + 'a;

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
    /// Records stored.
    pub records: u64,
    /// The last sequence of the log.
    pub last_sequence: LogSequence,
    /// Runs of the uuid index.
    pub index_runs: usize,
    /// Bytes of memory that grow with the number of stored records.
    pub index_bytes: u64,
    /// Bytes that background work still has to write.
    pub background_bytes_owed: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Keeps usage records, totals and the catalog.
pub trait UsageStore: Send + Sync + 'static {
    /// Looks the uuids of a submission up without touching the disk.
    fn probe(&self, submission: &Submission) -> Probe;

    /// Looks the uuids of a submission up, reading from the disk where needed. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    fn settle(&self, submission: &Submission) -> Result<ProbeResult, StoreError>;

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
    /// [`StoreError`] if it cannot be read.
    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError>;

    /// The record accepted under a uuid whose sequence is known from a decision.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read or is not there.
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

    /// The batch recorded under an id.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
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

    /// Replaces an organization's catalog, durably and all at once, together with `documents`. `before` is
    /// what the store holds now; only the differences are written.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    fn replace_catalog(
        &self,
        organization: &OrganizationId,
        before: &Catalog,
        after: &Catalog,
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

    /// Puts and removes assets, durably and all at once, together with `documents`. Only one call runs at a time;
    /// the caller sees to that.
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

    /// Writes documents, durably and all at once.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be written.
    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError>;

    /// A secret of this store, for signing page tokens. Stays the same for the store's life.
    fn token_key(&self) -> [u8; 16];

    /// Whether the store takes writes.
    fn status(&self) -> StoreStatus;

    /// Figures about the store.
    fn statistics(&self) -> StoreStatistics;
}
