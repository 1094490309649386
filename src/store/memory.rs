//! The reference model: a store so simple that it is right by inspection. The oracle of the tests.
//!
//! It forgets everything when dropped, recounts totals from all records on every query, and has no
//! rollups, no index and no background work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    ApiTotalsVisitor, AssetTotalsVisitor, CommitDecisions, CommitGroup, Probe, ProbeResult,
    ReportDecision, Reported, StoreError, StoreStatistics, StoreStatus, TotalsVisitor, UsageStore,
    document::{Collection, DOCUMENT_BYTES_MAX, Document, DocumentChange, Page},
};
use crate::domain::{
    api_usage::{
        ApiEvent, ApiReport, ApiSeries, ApiTotalsQuery, NewSeries, StatusClass, StoredApiEvent,
    },
    asset::Asset,
    asset_usage::{
        AssetBatch, AssetSeries, AssetTotalsQuery, BatchDecision, StoredBatch, UsageDay,
    },
    calendar::QuarterHour,
    catalog::{Catalog, CatalogDifference},
    id::{AssetId, BatchId, ClientId, OrganizationId},
    quantity::Total,
    record_scan::{RecordPage, RecordPosition, RecordScan},
    series_limits::{SeriesLimits, TooManySeries},
    totals::{Series, TotalsQuery},
    usage::{LogSequence, StoredRecord, Submission, UsageRecord},
    verdict::{Decision, Original},
};

/// A series of any kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum AnySeries {
    Product(Series),
    Asset(AssetSeries),
    Api(ApiSeries),
}

#[derive(Debug, Default)]
struct State {
    // In the order of arrival.
    records: Vec<StoredRecord>,
    by_uuid: HashMap<(OrganizationId, Uuid), usize>,
    catalogs: BTreeMap<OrganizationId, Catalog>,
    documents: BTreeMap<(Collection, OrganizationId, String), Vec<u8>>,
    assets: BTreeMap<(OrganizationId, AssetId), Asset>,
    batches: BTreeMap<(OrganizationId, BatchId), StoredBatch>,
    events: BTreeMap<(OrganizationId, Uuid), StoredApiEvent>,
    books: BTreeMap<(OrganizationId, String), BTreeMap<u64, Vec<u8>>>,
    series: BTreeMap<OrganizationId, BTreeSet<AnySeries>>,
    series_limits: SeriesLimits,
    reports_refused: u64,
    events_coarsened: u64,
    // Of records, events and batches alike.
    last_sequence: LogSequence,
    last_stored_time: Option<Timestamp>,
}

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with limits of its own.
    #[must_use]
    pub fn with_series_limits(series_limits: SeriesLimits) -> Self {
        Self { state: RwLock::new(State { series_limits, ..State::default() }) }
    }

    /// Every record, in the order of arrival.
    #[must_use]
    pub fn records(&self) -> Vec<StoredRecord> {
        self.state.read().records.clone()
    }
}

impl State {
    fn documents_of(&self, collection: Collection) -> impl Iterator<Item = Document> {
        let of_kind = self.documents.iter().filter(move |((kind, ..), _)| *kind == collection);
        of_kind.map(|((_, organization, name), body)| Document {
            organization: organization.clone(),
            name: name.clone(),
            body: body.clone(),
        })
    }

    fn write_documents(&mut self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        let too_large = |change: &DocumentChange| {
            change.body.as_ref().is_some_and(|body| body.len() > DOCUMENT_BYTES_MAX)
        };
        if changes.iter().any(too_large) {
            return Err(StoreError::Unrepresentable("a document of more than 6,144 bytes"));
        }
        for change in changes {
            let key = (change.collection, change.organization.clone(), change.name.clone());
            match &change.body {
                Some(body) => self.documents.insert(key, body.clone()),
                None => self.documents.remove(&key),
            };
        }
        Ok(())
    }

    /// The time and place of what is stored next.
    fn store_at(&mut self, now: Timestamp) -> (Timestamp, LogSequence) {
        let stored_time = self.last_stored_time.map_or(now, |last| last.max(now));
        self.last_stored_time = Some(stored_time);
        self.last_sequence = LogSequence(self.last_sequence.0 + 1);
        (stored_time, self.last_sequence)
    }

    fn series_count(&self) -> u64 {
        self.series.values().map(|known| known.len() as u64).sum()
    }

    fn has_series(&self, organization: &OrganizationId, series: &AnySeries) -> bool {
        self.series.get(organization).is_some_and(|known| known.contains(series))
    }

    /// Adds series, all or none; only checks whether that is possible if `keep` says so.
    fn add_series(
        &mut self,
        organization: &OrganizationId,
        wanted: impl IntoIterator<Item = AnySeries>,
        keep: bool,
    ) -> Result<(), TooManySeries> {
        let known = self.series.get(organization).map_or(0, BTreeSet::len) as u64;
        let wanted = wanted.into_iter().filter(|series| !self.has_series(organization, series));
        let new: BTreeSet<AnySeries> = wanted.collect();
        self.series_limits.check(known, self.series_count(), new.len() as u64)?;
        if keep {
            self.series.entry(organization.clone()).or_default().extend(new);
        }
        Ok(())
    }

    /// The series that an event is stored in.
    fn series_of(&mut self, organization: &OrganizationId, of: &ApiSeries) -> ApiSeries {
        if self.add_series(organization, [AnySeries::Api(of.clone())], true).is_ok() {
            return of.clone();
        }
        self.events_coarsened += 1;
        let coarser = of.coarser();
        let known = coarser.iter().find(|series| {
            self.has_series(organization, &AnySeries::Api(ApiSeries::clone(series)))
        });
        let [.., least] = &coarser;
        let series = known.unwrap_or(least).clone();
        self.series.entry(organization.clone()).or_default().insert(AnySeries::Api(series.clone()));
        series
    }

    fn decide_batch(&mut self, batch: &AssetBatch, now: Timestamp) -> BatchDecision {
        let organization = batch.caller.organization.clone();
        let key = (organization.clone(), batch.id.clone());
        if self.batches.contains_key(&key) {
            return BatchDecision::Taken;
        }
        let client = &batch.caller.client;
        let series = batch.usages.iter().map(|usage| {
            AnySeries::Asset(AssetSeries { asset: usage.asset.clone(), client: client.clone() })
        });
        if let Err(refused) = self.add_series(&organization, series, true) {
            self.reports_refused += 1;
            return BatchDecision::Refused(refused);
        }
        let (stored_time, sequence) = self.store_at(now);
        let stored = StoredBatch {
            organization,
            client: batch.caller.client.clone(),
            id: batch.id.clone(),
            usages: batch.usages.clone(),
            stored_time,
            sequence,
        };
        self.batches.insert(key, stored);
        BatchDecision::Recorded
    }

    fn decide_events(&mut self, report: &ApiReport, now: Timestamp) -> ReportDecision {
        let organization = &report.caller.organization;
        if report.new_series == NewSeries::Refused {
            let mut seen = BTreeSet::new();
            let is_new = |event: &&ApiEvent| {
                !self.events.contains_key(&(organization.clone(), event.uuid))
                    && seen.insert(event.uuid)
            };
            let new: Vec<AnySeries> = (report.events.iter().filter(is_new))
                .map(|event| AnySeries::Api(event.series.clone()))
                .collect();
            self.add_series(organization, new, true).inspect_err(|_| self.reports_refused += 1)?;
        }
        let mut decisions = Vec::new();
        for event in &report.events {
            let key = (organization.clone(), event.uuid);
            let decision = if let Some(first) = self.events.get(&key) {
                Decision::Duplicate(Original::Stored(first.sequence))
            } else {
                let series = self.series_of(organization, &event.series);
                let (stored_time, sequence) = self.store_at(now);
                let event = ApiEvent { series, ..event.clone() };
                self.events.insert(key, StoredApiEvent { event, stored_time, sequence });
                Decision::Accepted
            };
            decisions.push(decision);
        }
        Ok(decisions)
    }

    fn decide(&mut self, submission: &Submission, now: Timestamp) -> ReportDecision {
        let caller = &submission.caller;
        let mut uuids = BTreeSet::new();
        let is_new = |record: &&UsageRecord| {
            !self.by_uuid.contains_key(&(caller.organization.clone(), record.uuid))
                && uuids.insert(record.uuid)
        };
        let new = submission.records.iter().filter(is_new).map(|record| {
            let (target, sku) = (submission.target.clone(), record.sku.clone());
            AnySeries::Product(Series { target, sku, client: caller.client.clone() })
        });
        let new: Vec<AnySeries> = new.collect();
        self.add_series(&caller.organization, new, !submission.validate_only)
            .inspect_err(|_| self.reports_refused += 1)?;
        let mut seen = HashMap::new();
        let mut decisions = Vec::new();
        for (at, record) in submission.records.iter().enumerate() {
            let key = (caller.organization.clone(), record.uuid);
            let known = self.by_uuid.get(&key).and_then(|index| self.records.get(*index));
            let decision = if let Some(first) = known {
                Decision::Duplicate(Original::Stored(first.sequence))
            } else if submission.validate_only {
                let first = *seen.entry(record.uuid).or_insert(at);
                if first == at {
                    Decision::Accepted
                } else {
                    Decision::Duplicate(Original::InSubmission(first))
                }
            } else {
                let (stored_time, sequence) = self.store_at(now);
                self.by_uuid.insert(key, self.records.len());
                self.records.push(StoredRecord {
                    organization: caller.organization.clone(),
                    client: caller.client.clone(),
                    target: submission.target.clone(),
                    record: record.clone(),
                    stored_time,
                    sequence,
                });
                Decision::Accepted
            };
            decisions.push(decision);
        }
        Ok(decisions)
    }
}

impl UsageStore for MemoryStore {
    fn probe(&self, _: Reported<'_>) -> Probe {
        Probe::Settled(ProbeResult::default())
    }

    fn settle(&self, _: Reported<'_>) -> Result<ProbeResult, StoreError> {
        Ok(ProbeResult::default())
    }

    fn commit(&self, group: &CommitGroup, now: Timestamp) -> Result<CommitDecisions, StoreError> {
        let mut state = self.state.write();
        let CommitGroup { submissions, api_reports, batches } = group;
        let submissions = submissions.iter().map(|probed| state.decide(&probed.report, now));
        let submissions = submissions.collect();
        let api_reports = api_reports.iter().map(|probed| state.decide_events(&probed.report, now));
        Ok(CommitDecisions {
            submissions,
            api_reports: api_reports.collect(),
            batches: batches.iter().map(|batch| state.decide_batch(batch, now)).collect(),
        })
    }

    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let state = self.state.read();
        let index = state.by_uuid.get(&(organization.clone(), uuid));
        Ok(index.and_then(|index| state.records.get(*index)).cloned())
    }

    fn position(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Result<Option<RecordPosition>, StoreError> {
        let found = self.find(organization, uuid)?;
        Ok(found.map(|stored| RecordPosition { sequence: stored.sequence, index: 0 }))
    }

    fn original(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<StoredRecord, StoreError> {
        self.find(organization, uuid)?
            .filter(|stored| stored.sequence == sequence)
            .ok_or(StoreError::NotAtSequence(sequence))
    }

    fn scan(&self, scan: &RecordScan) -> Result<RecordPage, StoreError> {
        let state = self.state.read();
        let mut page = RecordPage::default();
        let wanted = state.records.iter().filter(|stored| {
            RecordPosition { sequence: stored.sequence, index: 0 } >= scan.from
                && scan.matches(stored)
        });
        for stored in wanted {
            if page.records.len() == scan.records_max {
                page.next = Some(RecordPosition { sequence: stored.sequence, index: 0 });
                break;
            }
            page.records.push(stored.clone());
        }
        Ok(page)
    }

    fn totals(
        &self,
        query: &TotalsQuery,
        visit: &mut TotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let state = self.state.read();
        let mut totals: BTreeMap<(Series, QuarterHour), Total> = BTreeMap::new();
        for stored in
            state.records.iter().filter(|stored| stored.organization == query.organization)
        {
            let series = Series {
                target: stored.target.clone(),
                sku: stored.record.sku.clone(),
                client: stored.client.clone(),
            };
            let quarter = QuarterHour::of(stored.record.usage_time);
            let in_range = query.range.start <= quarter && quarter < query.range.end;
            if in_range && query.filter.matches(&series.target, &series.sku, &series.client) {
                totals
                    .entry((series, quarter))
                    .or_default()
                    .add(Total::of(stored.record.quantity))?;
            }
        }
        for ((series, quarter), total) in totals {
            visit(&series, quarter, total)?;
        }
        Ok(state.last_sequence)
    }

    fn original_events(
        &self,
        organization: &OrganizationId,
        wanted: &[(Uuid, LogSequence)],
    ) -> Result<Vec<Option<StoredApiEvent>>, StoreError> {
        let state = self.state.read();
        let original = |(uuid, sequence): &(Uuid, LogSequence)| {
            let stored = state.events.get(&(organization.clone(), *uuid));
            stored
                .filter(|stored| stored.sequence == *sequence)
                .cloned()
                .map(Some)
                .ok_or(StoreError::NotAtSequence(*sequence))
        };
        wanted.iter().map(original).collect()
    }

    fn api_totals(
        &self,
        query: &ApiTotalsQuery,
        visit: &mut ApiTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let state = self.state.read();
        let mut totals: BTreeMap<(ApiSeries, UsageDay, StatusClass), Total> = BTreeMap::new();
        for ((organization, _), stored) in &state.events {
            let event = &stored.event;
            let day = UsageDay::of_instant(event.time);
            if organization == &query.organization
                && query.days.contains(day)
                && query.filter.matches(&event.series)
            {
                let key = (event.series.clone(), day, event.status.class());
                totals.entry(key).or_default().add(Total::of(event.count))?;
            }
        }
        for ((series, day, class), total) in totals {
            visit(&series, day, class, total)?;
        }
        Ok(state.last_sequence)
    }

    fn has_api_usage(
        &self,
        organization: &OrganizationId,
        client: &ClientId,
    ) -> Result<bool, StoreError> {
        let state = self.state.read();
        let mut events = state.events.iter().filter(|((of, _), _)| of == organization);
        Ok(events.any(|(_, stored)| stored.event.series.client == *client))
    }

    fn find_batch(
        &self,
        organization: &OrganizationId,
        id: &BatchId,
    ) -> Result<Option<StoredBatch>, StoreError> {
        Ok(self.state.read().batches.get(&(organization.clone(), id.clone())).cloned())
    }

    fn asset_totals(
        &self,
        query: &AssetTotalsQuery,
        visit: &mut AssetTotalsVisitor<'_>,
    ) -> Result<LogSequence, StoreError> {
        let state = self.state.read();
        let mut totals: BTreeMap<(AssetSeries, UsageDay), Total> = BTreeMap::new();
        for stored in
            state.batches.values().filter(|stored| stored.organization == query.organization)
        {
            for usage in &stored.usages {
                let series =
                    AssetSeries { asset: usage.asset.clone(), client: stored.client.clone() };
                if query.days.contains(usage.day) && query.filter.matches(&series) {
                    let total = totals.entry((series, usage.day)).or_default();
                    total.add(Total::of(usage.quantity))?;
                }
            }
        }
        for ((series, day), total) in totals {
            visit(&series, day, total)?;
        }
        Ok(state.last_sequence)
    }

    fn catalogs(&self) -> Result<Vec<(OrganizationId, Catalog)>, StoreError> {
        let state = self.state.read();
        Ok(state.catalogs.iter().map(|(name, catalog)| (name.clone(), catalog.clone())).collect())
    }

    fn change_catalog(
        &self,
        organization: &OrganizationId,
        difference: &CatalogDifference,
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        let mut state = self.state.write();
        let catalog = state.catalogs.entry(organization.clone()).or_default();
        *catalog = catalog.with(difference);
        state.write_documents(documents)
    }

    fn assets(
        &self,
        organization: &OrganizationId,
        ids: &[AssetId],
    ) -> Result<Vec<Option<Asset>>, StoreError> {
        let state = self.state.read();
        let asset = |id: &AssetId| state.assets.get(&(organization.clone(), id.clone())).cloned();
        Ok(ids.iter().map(asset).collect())
    }

    fn assets_after(
        &self,
        organization: &OrganizationId,
        id: Option<&AssetId>,
        limit: usize,
    ) -> Result<Vec<Asset>, StoreError> {
        let state = self.state.read();
        let wanted = state
            .assets
            .iter()
            .filter(|((of, asset), _)| of == organization && id.is_none_or(|id| id < asset));
        Ok(wanted.take(limit).map(|(_, asset)| asset.clone()).collect())
    }

    fn write_assets(
        &self,
        organization: &OrganizationId,
        put: &[Asset],
        remove: &[AssetId],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        let mut state = self.state.write();
        for id in remove {
            state.assets.remove(&(organization.clone(), id.clone()));
        }
        for asset in put {
            state.assets.insert((organization.clone(), asset.id.clone()), asset.clone());
        }
        state.write_documents(documents)
    }

    fn documents(&self, collection: Collection) -> Result<Vec<Document>, StoreError> {
        Ok(self.state.read().documents_of(collection).collect())
    }

    fn documents_before(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let state = self.state.read();
        let mut documents: Vec<Document> = state
            .documents_of(collection)
            .filter(|document| document.organization == *organization)
            .filter(|document| name.is_none_or(|name| *document.name < *name))
            .collect();
        documents.reverse();
        documents.truncate(limit);
        Ok(documents)
    }

    fn first_documents(
        &self,
        collection: Collection,
        organization: &OrganizationId,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let state = self.state.read();
        let documents = state.documents_of(collection);
        Ok(documents.filter(|of| of.organization == *organization).take(limit).collect())
    }

    fn organizations(&self) -> Vec<OrganizationId> {
        let state = self.state.read();
        let documents = state.documents.keys().map(|(_, organization, _)| organization);
        let known = documents.chain(state.series.keys()).chain(state.catalogs.keys());
        known.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    fn write_documents(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.state.write().write_documents(changes)
    }

    fn write_pages(
        &self,
        organization: &OrganizationId,
        book: &str,
        pages: &[Page],
        documents: &[DocumentChange],
    ) -> Result<(), StoreError> {
        if pages.iter().any(|page| page.body.len() > DOCUMENT_BYTES_MAX) {
            return Err(StoreError::Unrepresentable("a page of more than 6,144 bytes"));
        }
        let mut state = self.state.write();
        state.write_documents(documents)?;
        let key = (organization.clone(), book.to_owned());
        let bodies = pages.iter().map(|page| (page.first, page.body.clone()));
        state.books.entry(key).or_default().extend(bodies);
        Ok(())
    }

    fn page_at(
        &self,
        organization: &OrganizationId,
        book: &str,
        at: u64,
    ) -> Result<Option<Page>, StoreError> {
        let state = self.state.read();
        let book = state.books.get(&(organization.clone(), book.to_owned()));
        let page = book.and_then(|pages| pages.range(..=at).next_back());
        Ok(page.map(|(first, body)| Page { first: *first, body: body.clone() }))
    }

    fn remove_pages(&self, organization: &OrganizationId, book: &str) -> Result<(), StoreError> {
        self.state.write().books.remove(&(organization.clone(), book.to_owned()));
        Ok(())
    }

    fn token_key(&self) -> [u8; 16] {
        *b"in-memory tokens"
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::Ready
    }

    fn statistics(&self) -> StoreStatistics {
        let state = self.state.read();
        StoreStatistics {
            records: (state.records.len() + state.events.len()) as u64,
            last_sequence: state.last_sequence,
            series: state.series_count(),
            organization_series_highest: (state.series.values().map(BTreeSet::len).max())
                .unwrap_or_default() as u64,
            series_reports_refused: state.reports_refused,
            series_events_coarsened: state.events_coarsened,
            ..StoreStatistics::default()
        }
    }
}

#[cfg(test)]
mod tests;
