//! A store that does one thing wrong.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::defect::{Defect, State};
use crate::{
    domain::{
        api_usage::{ApiTotalsQuery, StoredApiEvent},
        asset::Asset,
        asset_usage::{AssetTotalsQuery, BatchDecision, StoredBatch},
        calendar::QuarterHour,
        catalog::{Catalog, CatalogDifference},
        id::{AssetId, BatchId, ClientId, OrganizationId},
        quantity::Total,
        record_scan::{RecordPage, RecordPosition, RecordScan},
        totals::TotalsQuery,
        usage::{LogSequence, StoredRecord, Submission, UsageRecord},
        verdict::Decision,
    },
    store::{
        ApiTotalsVisitor, AssetTotalsVisitor, CommitDecisions, CommitGroup, Probe, ProbeResult,
        Probed, Reported, StoreError, StoreStatistics, StoreStatus, TotalsVisitor, UsageStore,
        document::{Collection, Document, DocumentChange, Page},
        sled::SledStore,
    },
};

pub(super) struct DefectiveStore {
    sled: Arc<SledStore>,
    state: Arc<State>,
}

impl DefectiveStore {
    pub(super) fn new(sled: Arc<SledStore>, state: Arc<State>) -> Self {
        Self { sled, state }
    }

    /// The group with the records of one submission changed.
    fn changed(
        group: &CommitGroup,
        place: usize,
        change: impl Fn(&mut Vec<UsageRecord>),
    ) -> CommitGroup {
        let mut group = group.clone();
        let probed = &mut group.submissions[place];
        let mut submission = Submission::clone(&probed.report);
        change(&mut submission.records);
        // Nobody has looked the uuids up; the store does when the generation is not its own.
        probed.probe = ProbeResult { known: Vec::new(), generation: u64::MAX };
        probed.report = Arc::new(submission);
        group
    }

    /// Where the first submission of new records stands, a few at least, if that is what is to be changed and was not yet.
    /// Whichever calls share a group, it is the same submission every time.
    fn once(&self, defect: Defect, group: &CommitGroup) -> Option<usize> {
        let is_suitable = |probed: &Probed<Arc<Submission>>| {
            probed.report.records.len() > 2
                && !probed.report.validate_only
                && probed.probe.known.iter().all(Option::is_none)
        };
        let place = group.submissions.iter().position(is_suitable)?;
        self.state.once(defect).then_some(place)
    }
}

fn all_accepted(group: &CommitGroup) -> CommitDecisions {
    let accepted = |count| Ok(vec![Decision::Accepted; count]);
    CommitDecisions {
        submissions: group.submissions.iter().map(|it| accepted(it.report.records.len())).collect(),
        api_reports: group.api_reports.iter().map(|it| accepted(it.report.events.len())).collect(),
        batches: vec![BatchDecision::Recorded; group.batches.len()],
    }
}

impl UsageStore for DefectiveStore {
    fn probe(&self, report: Reported<'_>) -> Probe {
        self.sled.probe(report)
    }

    fn settle(&self, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
        self.sled.settle(report)
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        if let Some(place) = self.once(Defect::LosesRecord, group) {
            let shorter = Self::changed(group, place, |records| drop(records.pop()));
            let mut decisions = self.sled.commit(&shorter, now)?;
            if let Ok(decisions) = &mut decisions.submissions[place] {
                decisions.push(Decision::Accepted);
            }
            return Ok(decisions);
        }
        if let Some(place) = self.once(Defect::CopiesRecord, group) {
            let longer = Self::changed(group, place, |records| {
                let mut copy = records[0].clone();
                copy.uuid = Uuid::from_u128(copy.uuid.as_u128() ^ 1);
                records.push(copy);
            });
            let mut decisions = self.sled.commit(&longer, now)?;
            if let Ok(decisions) = &mut decisions.submissions[place] {
                decisions.pop();
            }
            return Ok(decisions);
        }
        let ahead = i64::from(self.state.is(Defect::StoresWrongTimes));
        let now = now.saturating_add(SignedDuration::from_secs(ahead)).unwrap();
        let mut decisions = match self.sled.commit(group, now) {
            Err(_) if self.state.once(Defect::AcknowledgesFailedWrite) => all_accepted(group),
            decided => decided?,
        };
        if self.state.is(Defect::AcceptsDuplicates) {
            for decision in decisions.submissions.iter_mut().flatten().flatten() {
                *decision = Decision::Accepted;
            }
        }
        Ok(decisions)
    }

    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError> {
        if self.state.is(Defect::FindsNothing) {
            return Ok(None);
        }
        let found = self.sled.find(organization, uuid)?;
        if found.is_some() || !self.state.is(Defect::ShowsOthersRecords) {
            return Ok(found);
        }
        let others = ["northwind", "contoso"].map(|name| OrganizationId::new(name).unwrap());
        let found = others.iter().map(|other| self.sled.find(other, uuid));
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
    }

    fn position(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<RecordPosition>, StoreError> {
        self.sled.position(organization, uuid)
    }

    fn original(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<StoredRecord, StoreError> {
        self.sled.original(organization, uuid, sequence)
    }

    fn scan(&self, scan: &RecordScan) -> Result<RecordPage, StoreError> {
        self.sled.scan(scan)
    }

    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let late = i64::from(self.state.is(Defect::ShiftsTotals));
        let more = u128::from(self.state.is(Defect::MiscountsTotals));
        self.sled.totals(query, &mut |series, quarter, total| {
            let total = Total { quantity: total.quantity + more, ..total };
            visit(series, QuarterHour(quarter.0 + late), total)
        })
    }

    fn original_events(
        &self,
        organization: &OrganizationId,
        wanted: &[(Uuid, LogSequence)],
    ) -> Result<Vec<Option<StoredApiEvent>>, StoreError> {
        self.sled.original_events(organization, wanted)
    }

    fn api_totals(
        &self,
        query: &ApiTotalsQuery,
        visit: &mut ApiTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let mut is_lost = self.state.is(Defect::LosesApiTotal);
        self.sled.api_totals(query, &mut |series, day, class, total| {
            if std::mem::take(&mut is_lost) { Ok(()) } else { visit(series, day, class, total) }
        })
    }

    fn has_api_usage(
        &self,
        organization: &OrganizationId,
        client: &ClientId,
    ) -> Result<bool, StoreError> {
        self.sled.has_api_usage(organization, client)
    }

    fn find_batch(
        &self,
        organization: &OrganizationId,
        id: &BatchId,
    ) -> Result<Option<StoredBatch>, StoreError> {
        self.sled.find_batch(organization, id)
    }

    fn asset_totals(
        &self,
        query: &AssetTotalsQuery,
        visit: &mut AssetTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let mut is_lost = self.state.is(Defect::LosesAssetTotal);
        self.sled.asset_totals(query, &mut |series, day, total| {
            if std::mem::take(&mut is_lost) { Ok(()) } else { visit(series, day, total) }
        })
    }

    fn catalogs(&self) -> Result<Vec<(OrganizationId, Catalog)>, StoreError> {
        let mut catalogs = self.sled.catalogs()?;
        if self.state.is(Defect::ForgetsSku) {
            for (_, catalog) in &mut catalogs {
                let products: Vec<_> = catalog.products().cloned().collect();
                for mut product in products {
                    Arc::make_mut(&mut product).skus.pop_first();
                    catalog.put_product(product);
                }
            }
        }
        Ok(catalogs)
    }

    fn change_catalog(
        &self,
        organization: &OrganizationId,
        difference: &CatalogDifference,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.sled.change_catalog(organization, difference, documents)
    }

    fn assets(
        &self,
        organization: &OrganizationId,
        ids: &[AssetId],
    ) -> Result<Vec<Option<Asset>>, StoreError> {
        self.sled.assets(organization, ids)
    }

    fn assets_after(
        &self,
        organization: &OrganizationId,
        id: Option<&AssetId>,
        limit: usize,
    ) -> Result<Vec<Asset>, StoreError> {
        self.sled.assets_after(organization, id, limit)
    }

    fn write_assets(
        &self,
        organization: &OrganizationId,
        put: &[Asset],
        remove: &[AssetId],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.sled.write_assets(organization, put, remove, documents)
    }

    fn documents(&self, collection: Collection) -> Result<Vec<Document>, StoreError> {
        self.sled.documents(collection)
    }

    fn documents_before(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.sled.documents_before(collection, organization, name, limit)
    }

    fn first_documents(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.sled.first_documents(collection, organization, limit)
    }

    fn organizations(&self) -> Vec<OrganizationId> {
        self.sled.organizations()
    }

    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.sled.write_documents(changes)
    }

    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        self.sled.write_pages(organization, book, pages, documents)
    }

    fn page_at(
        &self,
        organization: &OrganizationId,
        book: &str,
        at: u64,
    ) -> Result<Option<Page>, StoreError> {
        self.sled.page_at(organization, book, at)
    }

    fn remove_pages(&self, organization: &OrganizationId, book: &str) -> Result<(), StoreError> {
        self.sled.remove_pages(organization, book)
    }

    fn token_key(&self) -> [u8; 16] {
        self.sled.token_key()
    }

    fn status(&self) -> StoreStatus {
        self.sled.status()
    }

    fn statistics(&self) -> StoreStatistics {
        self.sled.statistics()
    }
}
