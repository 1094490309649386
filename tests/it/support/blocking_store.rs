//! A memory store whose commits and some of whose reads can be held up, and whose writes made to fail.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use jiff::Timestamp;
use meterd::{
    domain::{
        api_usage::{ApiTotalsQuery, StoredApiEvent},
        asset::Asset,
        asset_usage::{AssetTotalsQuery, StoredBatch},
        catalog::{Catalog, CatalogDifference},
        id::{AssetId, BatchId, ClientId, OrganizationId},
        record_scan::{RecordPage, RecordPosition, RecordScan},
        totals::TotalsQuery,
        usage::{LogSequence, StoredRecord},
    },
    store::{
        ApiTotalsVisitor, AssetTotalsVisitor, CommitDecisions, CommitGroup, Probe, ProbeResult,
        Reported, StoreError, StoreStatistics, StoreStatus, TotalsVisitor, UsageStore,
        document::{Collection, Document, DocumentChange, Page},
        memory::MemoryStore,
    },
};
use uuid::Uuid;

use super::gate::Gate;

#[derive(Default)]
pub struct BlockingStore {
    memory: MemoryStore,
    failure: OnceLock<Arc<str>>,
    commits: Gate,
    /// Before records are listed or exported.
    pub scans: Gate,
    /// Before a query of API usage is answered.
    pub totals: Gate,
    totals_fail: AtomicBool,
    /// Before rows of a query are written.
    pub rows: Gate,
    documents_fail: AtomicBool,
    failed_documents: AtomicUsize,
    forgets_every: AtomicUsize,
    commits_begun: AtomicUsize,
}

impl BlockingStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds up every commit from now on.
    pub fn block(&self) {
        self.commits.close();
    }

    pub fn unblock(&self) {
        self.commits.open();
    }

    pub async fn wait_until_blocked(&self, commits: usize) {
        self.commits.wait_for(commits).await;
    }

    /// Makes every commit fail from now on.
    pub fn fail(&self, reason: &str) {
        self.failure.get_or_init(|| reason.into());
    }

    /// Answers one of so many commits as if it were stored, and stores nothing of it.
    pub fn forget_every(&self, commits: usize) {
        self.forgets_every.store(commits, Ordering::SeqCst);
    }

    fn forgets(&self) -> bool {
        let every = self.forgets_every.load(Ordering::SeqCst);
        let number = self.commits_begun.fetch_add(1, Ordering::SeqCst) + 1;
        every > 0 && number.is_multiple_of(every)
    }

    /// Makes every query of API usage fail from now on.
    pub fn fail_totals(&self) {
        self.totals_fail.store(true, Ordering::SeqCst);
    }

    /// Makes every write of documents fail, or no longer.
    pub fn fail_documents(&self, fail: bool) {
        self.documents_fail.store(fail, Ordering::SeqCst);
    }

    /// How many writes of documents have failed.
    pub fn failed_documents(&self) -> usize {
        self.failed_documents.load(Ordering::SeqCst)
    }
}

impl UsageStore for BlockingStore {
    fn probe(&self, report: Reported<'_>) -> Probe {
        self.memory.probe(report)
    }

    fn settle(&self, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
        self.memory.settle(report)
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        self.commits.pass();
        if let Some(reason) = self.failure.get() {
            return Err(StoreError::Failed(Arc::clone(reason)));
        }
        if self.forgets() {
            return MemoryStore::new().commit(group, now);
        }
        self.memory.commit(group, now)
    }

    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.memory.find(organization, uuid)
    }

    fn position(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<RecordPosition>, StoreError> {
        self.memory.position(organization, uuid)
    }

    fn original(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<StoredRecord, StoreError> {
        self.memory.original(organization, uuid, sequence)
    }

    fn scan(&self, scan: &RecordScan) -> Result<RecordPage, StoreError> {
        self.scans.pass();
        self.memory.scan(scan)
    }

    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        self.memory.totals(query, visit)
    }

    fn original_events(
        &self,
        organization: &OrganizationId,
        wanted: &[(Uuid, LogSequence)],
    ) -> Result<Vec<Option<StoredApiEvent>>, StoreError> {
        self.memory.original_events(organization, wanted)
    }

    fn api_totals(
        &self,
        query: &ApiTotalsQuery,
        visit: &mut ApiTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        self.totals.pass();
        if self.totals_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Failed("a test wants it so".into()));
        }
        self.memory.api_totals(query, visit)
    }

    fn has_api_usage(
        &self,
        organization: &OrganizationId,
        client: &ClientId,
    ) -> Result<bool, StoreError> {
        self.memory.has_api_usage(organization, client)
    }

    fn find_batch(
        &self,
        organization: &OrganizationId,
        id: &BatchId,
    ) -> Result<Option<StoredBatch>, StoreError> {
        self.memory.find_batch(organization, id)
    }

    fn asset_totals(
        &self,
        query: &AssetTotalsQuery,
        visit: &mut AssetTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        self.memory.asset_totals(query, visit)
    }

    fn catalogs(&self) -> Result<Vec<(OrganizationId, Catalog)>, StoreError> {
        self.memory.catalogs()
    }

    fn change_catalog(
        &self,
        organization: &OrganizationId,
        difference: &CatalogDifference,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.memory.change_catalog(organization, difference, documents)
    }

    fn assets(
        &self,
        organization: &OrganizationId,
        ids: &[AssetId],
    ) -> Result<Vec<Option<Asset>>, StoreError> {
        self.memory.assets(organization, ids)
    }

    fn assets_after(
        &self,
        organization: &OrganizationId,
        id: Option<&AssetId>,
        limit: usize,
    ) -> Result<Vec<Asset>, StoreError> {
        self.memory.assets_after(organization, id, limit)
    }

    fn write_assets(
        &self,
        organization: &OrganizationId,
        put: &[Asset],
        remove: &[AssetId],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.memory.write_assets(organization, put, remove, documents)
    }

    fn documents(&self, collection: Collection) -> Result<Vec<Document>, StoreError> {
        self.memory.documents(collection)
    }

    fn documents_before(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.memory.documents_before(collection, organization, name, limit)
    }

    fn first_documents(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.memory.first_documents(collection, organization, limit)
    }

    fn organizations(&self) -> Vec<OrganizationId> {
        self.memory.organizations()
    }

    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        if self.documents_fail.load(Ordering::SeqCst) {
            self.failed_documents.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Failed("a test wants it so".into()));
        }
        self.memory.write_documents(changes)
    }

    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        if book.ends_with("/rows") {
            self.rows.pass();
        }
        self.memory.write_pages(organization, book, pages, documents)
    }

    fn page_at(
        &self,
        organization: &OrganizationId,
        book: &str,
        at: u64,
    ) -> Result<Option<Page>, StoreError> {
        self.memory.page_at(organization, book, at)
    }

    fn remove_pages(&self, organization: &OrganizationId, book: &str) -> Result<(), StoreError> {
        self.memory.remove_pages(organization, book)
    }

    fn token_key(&self) -> [u8; 16] {
        self.memory.token_key()
    }

    fn status(&self) -> StoreStatus {
        self.failure.get().cloned().map_or(StoreStatus::Ready, StoreStatus::Failed)
    }

    fn statistics(&self) -> StoreStatistics {
        self.memory.statistics()
    }
}
