//! Listing the records of an organization in the order of the log.
//!
//! The chunk index says which chunks hold any, and no other is read: what a listing costs follows the organization's own
//! records. Chunks from before there was that index are read one by one.

use jiff::Timestamp;

use super::{
    LogEntry,
    chunk::Chunk,
    read::{kept, stored},
};
use crate::{
    domain::{
        record_scan::{RecordPage, RecordPosition, RecordScan},
        usage::LogSequence,
    },
    store::{
        StoreError,
        sled::{core::Core, organizations::OrganizationNumber, rollup::chunk_index::ChunkCursor},
    },
};

/// Chunks that one page of a listing may read: 6 MiB, and up to 250,000 records. It is chunks that are counted, since their
/// size depends on what others store in them.
const CHUNKS_PER_PAGE: usize = 1024;

/// Lists records in log order, up to what was durable when the call began.
pub(in crate::store::sled) fn scan(
    core: &Core,
    scan: &RecordScan,
) -> Result<RecordPage, StoreError> {
    let mut page = match core.organizations.number(&scan.organization) {
        Some(organization) => read_page(core, scan, organization, CHUNKS_PER_PAGE)?.0,
        None => RecordPage::default(),
    };
    // Afterwards: what was dropped meanwhile may be missing.
    let floor = core.retention.floor();
    page.dropped = floor.dropped_through();
    page.kept_from = floor.kept_from;
    Ok(page)
}

/// A page, and how many chunks were read for it.
fn read_page(
    core: &Core,
    scan: &RecordScan,
    organization: OrganizationNumber,
    chunks_max: usize,
) -> Result<(RecordPage, usize), StoreError> {
    // Read first: what is found afterwards at a later sequence may not be durable yet.
    let through = core.rollups.through();
    let mut from = scan.from;
    if let Some(wanted) = scan.stored_interval {
        let first = first_stored_at(core, wanted.start(), from.sequence, through)?;
        from = from.max(RecordPosition { sequence: first, index: 0 });
    }
    let mut page = RecordPage::default();
    let mut chunks = Chunks::new(core, organization, from.sequence);
    let mut chunks_read = 0;
    while let Some(sequence) = chunks.next()?.filter(|sequence| *sequence <= through) {
        let start = if sequence == from.sequence { from.index } else { 0 };
        if chunks_read == chunks_max {
            page.next = Some(RecordPosition { sequence, index: start });
            break;
        }
        chunks_read += 1;
        let value = match kept(core, sequence) {
            Err(StoreError::Dropped(_)) => continue,
            value => value?,
        };
        let entry = LogEntry::decode(sequence, &value)?;
        if scan.stored_interval.is_some_and(|wanted| entry.stored_time() >= wanted.end()) {
            break;
        }
        let LogEntry::Records(chunk) = entry else { continue };
        if may_hold_wanted(&chunk, scan, organization) {
            take(core, scan, organization, &chunk, start, &mut page)?;
        }
        if page.next.is_some() {
            break;
        }
    }
    Ok((page, chunks_read))
}

/// Puts the wanted records of a chunk from place `start` on on a page, and where the next one begins once it is full.
fn take(
    core: &Core,
    scan: &RecordScan,
    organization: OrganizationNumber,
    chunk: &Chunk,
    start: u32,
    page: &mut RecordPage,
) -> Result<(), StoreError> {
    for (index, record) in (0_u32..).zip(&chunk.records).skip(start as usize) {
        if chunk.dimension(record)?.organization != organization {
            continue;
        }
        let stored = stored(core, chunk, record)?;
        if !scan.matches(&stored) {
            continue;
        }
        if page.records.len() == scan.records_max {
            page.next = Some(RecordPosition { sequence: chunk.sequence, index });
            return Ok(());
        }
        page.records.push(stored);
    }
    Ok(())
}

/// The chunks that may hold records of an organization, in order.
struct Chunks<'a> {
    core: &'a Core,
    cursor: ChunkCursor<'a>,
    next: LogSequence,
}

impl<'a> Chunks<'a> {
    fn new(core: &'a Core, organization: OrganizationNumber, from: LogSequence) -> Self {
        let cursor = ChunkCursor::new(&core.engine, &core.rollups, organization);
        Self { core, cursor, next: from }
    }

    /// The next one, which may be beyond the end of the log.
    fn next(&mut self) -> Result<Option<LogSequence>, StoreError> {
        let first_kept = self.core.retention.floor().first();
        let from = self.next.max(first_kept);
        let found = if from <= self.core.chunks_indexed_after {
            Some(from)
        } else {
            self.cursor.first_from(from)?
        };
        self.next = LogSequence(found.map_or(u64::MAX, |found| found.0 + 1));
        Ok(found)
    }
}

/// A cheap look at what the chunk says of itself, before its records are judged one by one.
fn may_hold_wanted(chunk: &Chunk, scan: &RecordScan, organization: OrganizationNumber) -> bool {
    let in_time = scan.usage_interval.is_none_or(|wanted| {
        chunk.earliest_usage < wanted.end() && wanted.start() <= chunk.latest_usage
    });
    in_time
        && chunk.dimensions.iter().any(|dimension| {
            let series = &dimension.series;
            dimension.organization == organization
                && scan.filter.matches(&series.target, &series.sku, &series.client)
        })
}

/// The first sequence from `low` that was stored at or after `instant`. Stored times never decrease
/// along the log, so this takes a handful of reads.
fn first_stored_at(
    core: &Core,
    instant: Timestamp,
    low: LogSequence,
    through: LogSequence,
) -> Result<LogSequence, StoreError> {
    let first = core.retention.floor().first();
    let (mut low, mut high) = (low.max(first).0, through.0 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let is_before = match kept(core, LogSequence(middle)) {
            // Meanwhile. Only what is older than all that is kept is dropped.
            Err(StoreError::Dropped(_)) => true,
            value => LogEntry::decode(LogSequence(middle), &value?)?.stored_time() < instant,
        };
        if is_before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(LogSequence(low))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{
            caller::Caller,
            id::{ClientId, OrganizationId, ProductId, SkuId},
            quantity::Quantity,
            totals::UsageFilter,
            usage::{Submission, UsageRecord, UsageTarget},
        },
        store::{
            Probe, Probed, Reported, UsageStore as _,
            sled::{SledStore, StoreOptions, recovery},
        },
    };

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn organization(name: &str) -> OrganizationId {
        OrganizationId::new(name).unwrap()
    }

    /// Stores `records` records as a commit of its own.
    fn commit(store: &SledStore, name: &str, first: u128, records: u128) {
        let record = |uuid| UsageRecord {
            uuid: Uuid::from_u128(uuid),
            sku: SkuId::new("sku").unwrap(),
            quantity: Quantity::new(1).unwrap(),
            usage_time: now(),
        };
        let caller =
            Caller { organization: organization(name), client: ClientId::new("client").unwrap() };
        let target = UsageTarget { product: ProductId::new("product").unwrap(), instance: None };
        let records = (first..first + records).map(record).collect();
        let report = Arc::new(Submission { caller, target, records, validate_only: false });
        let probe = match store.probe(Reported::from(&report)) {
            Probe::Settled(probe) => probe,
            Probe::NeedsRead => store.settle(Reported::from(&report)).unwrap(),
        };
        store.commit(&vec![Probed { report, probe }].into(), now()).unwrap();
    }

    fn scan_of(name: &str, skus: &[&str]) -> RecordScan {
        let skus = skus.iter().map(|sku| SkuId::new(sku).unwrap()).collect();
        RecordScan {
            organization: organization(name),
            filter: UsageFilter { skus, ..UsageFilter::default() },
            usage_interval: None,
            stored_interval: None,
            from: RecordPosition::START,
            records_max: 1000,
        }
    }

    fn read(core: &Core, scan: &RecordScan, chunks_max: usize) -> (RecordPage, usize) {
        let number = core.organizations.number(&scan.organization).unwrap();
        read_page(core, scan, number, chunks_max).unwrap()
    }

    /// Commits of a large organization, and one of a small one among each 20.
    fn filled(options: StoreOptions) -> SledStore {
        let store = SledStore::open(options).unwrap();
        for at in 0..200 {
            commit(&store, "large", at * 10, 10);
            if at % 20 == 10 {
                commit(&store, "small", at, 1);
            }
        }
        store
    }

    #[test]
    fn small_organization_beside_large_one_reads_own_chunks() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(directory.path());
        options.memtable_keys_max = 300;
        let store = filled(options.clone());
        // In memory, then partly on the disk, then after a restart.
        for _ in 0..2 {
            for skus in [&[][..], &["none"]] {
                let (page, chunks_read) = read(&store.core, &scan_of("small", skus), 1000);
                assert_eq!((chunks_read, page.next), (10, None));
                assert_eq!(page.records.len(), if skus.is_empty() { 10 } else { 0 });
            }
            while !store.is_idle() {
                std::thread::yield_now();
            }
        }
        drop(store);
        let store = SledStore::open(options).unwrap();
        assert_eq!(read(&store.core, &scan_of("small", &[]), 1000).1, 10);
        // A page of the large one ends where its records end.
        let (page, chunks_read) = read(&store.core, &scan_of("large", &[]), 1000);
        assert_eq!((page.records.len(), chunks_read), (1000, 101));
    }

    #[test]
    fn filtered_page_ends_after_a_bounded_number_of_chunks() {
        let directory = tempfile::tempdir().unwrap();
        let store = filled(StoreOptions::new(directory.path()));
        let mut scan = scan_of("small", &["none"]);
        let (page, chunks_read) = read(&store.core, &scan, 7);
        assert_eq!((page.records.len(), chunks_read), (0, 7));
        scan.from = page.next.unwrap();
        let (page, chunks_read) = read(&store.core, &scan, 7);
        assert_eq!((page.records.len(), page.next, chunks_read), (0, None, 3));
    }

    #[test]
    fn chunks_before_the_index_are_read_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(directory.path());
        drop(filled(options.clone()));
        let (mut core, _) = recovery::open(options).unwrap();
        // As of a store that was made before there was an index.
        core.chunks_indexed_after = LogSequence(105);
        let (page, chunks_read) = read(&core, &scan_of("small", &[]), 1000);
        assert_eq!((page.records.len(), page.next), (10, None));
        // Five are among the first 105 chunks.
        assert_eq!(chunks_read, 105 + 5);
    }
}
