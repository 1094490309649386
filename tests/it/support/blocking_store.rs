//! A memory store whose commits can be held up or made to fail.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use meterd::{
    domain::{
        asset::Asset,
        asset_usage::{AssetTotalsQuery, StoredBatch},
        catalog::Catalog,
        id::{AssetId, BatchId, OrganizationId},
        record_scan::{RecordPage, RecordScan},
        totals::TotalsQuery,
        usage::{LogSequence, StoredRecord, Submission},
    },
    store::{
        AssetTotalsVisitor, CommitDecisions, CommitGroup, Probe, ProbeResult, StoreError,
        StoreStatistics, StoreStatus, TotalsVisitor, UsageStore,
        document::{Collection, Document, DocumentChange},
        memory::MemoryStore,
    },
};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

#[derive(Default)]
struct State {
    blocked: bool,
    waiting: usize,
    failure: Option<Arc<str>>,
}

#[derive(Default)]
pub struct BlockingStore {
    memory: MemoryStore,
    state: Mutex<State>,
    changed: Condvar,
}

impl BlockingStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds up every commit from now on.
    pub fn block(&self) {
        self.state.lock().blocked = true;
    }

    pub fn unblock(&self) {
        self.state.lock().blocked = false;
        self.changed.notify_all();
    }

    /// Makes every commit fail from now on.
    pub fn fail(&self, reason: &str) {
        self.state.lock().failure = Some(reason.into());
    }

    pub async fn wait_until_blocked(&self, commits: usize) {
        while self.state.lock().waiting < commits {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl UsageStore for BlockingStore {
    fn probe(&self, submission: &Submission) -> Probe {
        self.memory.probe(submission)
    }

    fn settle(&self, submission: &Submission) -> Result<ProbeResult, StoreError> {
        self.memory.settle(submission)
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        let mut state = self.state.lock();
        state.waiting += 1;
        // Not for ever: a test that fails must not hang on its way out.
        while state.blocked
            && !self.changed.wait_for(&mut state, Duration::from_secs(20)).timed_out()
        {}
        state.waiting -= 1;
        if let Some(reason) = &state.failure {
            return Err(StoreError::Failed(Arc::clone(reason)));
        }
        drop(state);
        self.memory.commit(group, now)
    }

    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.memory.find(organization, uuid)
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
        self.memory.scan(scan)
    }

    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        self.memory.totals(query, visit)
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

    fn replace_catalog(
        &self,
        organization: &OrganizationId,
        before: &Catalog,
        after: &Catalog,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.memory.replace_catalog(organization, before, after, documents)
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

    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.memory.write_documents(changes)
    }

    fn token_key(&self) -> [u8; 16] {
        self.memory.token_key()
    }

    fn status(&self) -> StoreStatus {
        self.state.lock().failure.clone().map_or(StoreStatus::Ready, StoreStatus::Failed)
    }

    fn statistics(&self) -> StoreStatistics {
        self.memory.statistics()
    }
}
