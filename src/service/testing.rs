//! What the tests of the use cases share: a catalog, callers, and a store that does what it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::{
    domain::{
        api_usage::{ApiTotalsQuery, StoredApiEvent},
        asset::Asset,
        asset_usage::{AssetTotalsQuery, StoredBatch},
        audit::Actor,
        caller::Caller,
        catalog::{Catalog, CatalogDifference, Product, ProductInstance, Sku, State},
        id::{AssetId, BatchId, ClientId, OrganizationId, ProductId, ProductInstanceId, SkuId},
        quantity::Quantity,
        record_scan::{RecordPage, RecordPosition, RecordScan},
        totals::TotalsQuery,
        usage::{LogSequence, StoredRecord, Submission, UsageRecord, UsageTarget},
    },
    service::clock::ManualClock,
    store::{
        ApiTotalsVisitor, AssetTotalsVisitor, CommitDecisions, CommitGroup, Probe, ProbeResult,
        Reported, StoreError, StoreStatistics, StoreStatus, TotalsVisitor, UsageStore,
        document::{Collection, Document, DocumentChange, Page},
        memory::MemoryStore,
    },
};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

pub(super) fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

pub(super) fn caller(organization_name: &str) -> Caller {
    Caller {
        organization: organization(organization_name),
        client: ClientId::new("client").unwrap(),
    }
}

pub(super) fn actor(organization_name: &str) -> Actor {
    Actor { caller: caller(organization_name), address: None }
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(now()))
}

pub(super) fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(number as u128 + 1)
}

/// A submission of one unit for each of the uuids.
pub(super) fn submission(organization: &str, uuids: impl IntoIterator<Item = usize>) -> Submission {
    let record = |number| UsageRecord {
        uuid: uuid(number),
        sku: SkuId::new("sku").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        usage_time: now(),
    };
    Submission {
        caller: caller(organization),
        target: UsageTarget { product: ProductId::new("product").unwrap(), instance: None },
        records: uuids.into_iter().map(record).collect(),
        validate_only: false,
    }
}

pub(super) fn sku(id: &str, state: State) -> Sku {
    Sku { id: SkuId::new(id).unwrap(), name: id.into(), usage_unit: "unit".into(), state }
}

pub(super) fn product(id: &str, state: State, skus: Vec<Sku>) -> Product {
    Product {
        id: ProductId::new(id).unwrap(),
        name: id.into(),
        state,
        skus: skus.into_iter().map(|sku| (sku.id.clone(), sku)).collect(),
    }
}

pub(super) fn instance(id: &str, product: &str, state: State) -> ProductInstance {
    ProductInstance {
        id: ProductInstanceId::new(id).unwrap(),
        product: ProductId::new(product).unwrap(),
        name: id.into(),
        state,
    }
}

/// `product` with `sku`, `other-sku` and `retired-sku`, sold as `instance`; and something retired of
/// each kind.
pub(super) fn catalog() -> Catalog {
    let products = [
        product(
            "product",
            State::Active,
            vec![
                sku("sku", State::Active),
                sku("other-sku", State::Active),
                sku("retired-sku", State::Retired),
            ],
        ),
        product("other-product", State::Active, vec![sku("foreign-sku", State::Active)]),
        product("retired-product", State::Retired, vec![sku("sku", State::Active)]),
    ];
    let instances = [
        instance("instance", "product", State::Active),
        instance("retired-instance", "product", State::Retired),
        instance("instance-of-retired", "retired-product", State::Active),
    ];
    let mut catalog = Catalog::default();
    products.into_iter().for_each(|product| drop(catalog.put_product(product)));
    instances.into_iter().for_each(|instance| drop(catalog.put_instance(instance)));
    catalog
}

/// A place that threads pass only while it is open.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: usize,
    waiting_max: usize,
    passed: usize,
}

impl Gate {
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    pub(super) fn open(&self) {
        self.state.lock().closed = false;
        self.changed.notify_all();
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        state.waiting_max = state.waiting_max.max(state.waiting);
        self.changed.notify_all();
        while state.closed {
            let timeout = self.changed.wait_for(&mut state, PATIENCE);
            assert!(!timeout.timed_out(), "nobody opened the gate");
        }
        state.waiting -= 1;
        state.passed += 1;
        self.changed.notify_all();
    }

    /// Blocks until so many threads stand before the gate.
    pub(super) fn await_waiting(&self, threads: usize) {
        self.await_that(|state| state.waiting >= threads);
    }

    /// Most threads that ever stood before the gate at once.
    pub(super) fn waiting_max(&self) -> usize {
        self.state.lock().waiting_max
    }

    /// How many times the gate was passed.
    pub(super) fn passed(&self) -> usize {
        self.state.lock().passed
    }

    fn await_that(&self, holds: impl Fn(&GateState) -> bool) {
        let mut state = self.state.lock();
        while !holds(&state) {
            let timeout = self.changed.wait_for(&mut state, PATIENCE);
            assert!(!timeout.timed_out(), "waited in vain: {state:?}");
        }
    }
}

/// What a commit does instead of committing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mishap {
    Panic,
    Fail,
    /// Has to write out first what it has in memory.
    Backlog,
    /// Stores, but forgets a decision.
    Forget,
}

/// A memory store with gates before its operations, that fails on demand.
#[derive(Debug, Default)]
pub(super) struct TestStore {
    pub(super) memory: MemoryStore,
    pub(super) commit_gate: Gate,
    pub(super) settle_gate: Gate,
    pub(super) totals_gate: Gate,
    pub(super) catalog_gate: Gate,
    pub(super) document_gate: Gate,
    pub(super) needs_read: AtomicBool,
    pub(super) originals_read: AtomicUsize,
    mishap: Mutex<Option<Mishap>>,
    catalog_fails: AtomicBool,
    groups: Mutex<Vec<Vec<usize>>>,
}

impl TestStore {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A store in which these organizations have the usual catalog.
    pub(super) fn with_catalog(organizations: &[&str]) -> Arc<Self> {
        let store = Self::new();
        for name in organizations {
            store
                .memory
                .change_catalog(
                    &organization(name),
                    &CatalogDifference::between(&Catalog::default(), &catalog()),
                    &[],
                )
                .unwrap();
        }
        store
    }

    /// Lets the next commit go wrong.
    pub(super) fn plan(&self, mishap: Mishap) {
        *self.mishap.lock() = Some(mishap);
    }

    /// Lets catalog changes fail.
    pub(super) fn fail_catalog_changes(&self) {
        self.catalog_fails.store(true, Ordering::SeqCst);
    }

    /// The groups committed so far, each as the record counts of its submissions.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        self.groups.lock().clone()
    }
}

impl UsageStore for TestStore {
    fn probe(&self, report: Reported<'_>) -> Probe {
        if self.needs_read.load(Ordering::SeqCst) {
            return Probe::NeedsRead;
        }
        self.memory.probe(report)
    }

    fn settle(&self, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
        self.settle_gate.pass();
        self.memory.settle(report)
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        self.commit_gate.pass();
        let submissions = group.submissions.iter();
        let counts = submissions.map(|probed| probed.report.records.len()).collect();
        self.groups.lock().push(counts);
        match self.mishap.lock().take() {
            Some(Mishap::Panic) => panic!("planned"),
            Some(Mishap::Fail) => Err(StoreError::Engine("/secret/path: planned".into())),
            Some(Mishap::Backlog) => Err(StoreError::Backlogged),
            Some(Mishap::Forget) => {
                let mut decisions = self.memory.commit(group, now)?;
                decisions.submissions.last_mut().unwrap().as_mut().unwrap().pop();
                Ok(decisions)
            }
            None => self.memory.commit(group, now),
        }
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
        self.originals_read.fetch_add(1, Ordering::SeqCst);
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
        self.totals_gate.pass();
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
        self.catalog_gate.pass();
        if self.catalog_fails.load(Ordering::SeqCst) {
            return Err(StoreError::Engine("/secret/path: planned".into()));
        }
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
        self.document_gate.pass();
        self.memory.write_documents(changes)
    }

    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
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
        self.memory.status()
    }

    fn statistics(&self) -> StoreStatistics {
        self.memory.statistics()
    }
}
