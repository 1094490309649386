//! Backups in memory, and a store that changes while it is backed up.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use meterd::{
    domain::{
        asset::Asset,
        asset_usage::{AssetBatch, AssetUsage, UsageDay},
        catalog::State,
        id::{AssetId, BatchId},
        quantity::Quantity,
        verdict::Decision,
    },
    store::{
        LogHead, StoreError, UsageStore,
        backup::{BackupEnd, BackupRequest, BackupSection},
        document::{Collection, DocumentChange, Page},
        sled::{OpenError, Restore, SledStore, StoreOptions},
    },
};

use super::{
    random::Random,
    usage::{Calls, caller, commit, commit_events, event, organization, record, submission},
};

/// A key, and its value unless it is gone.
type Entry = (BackupSection, Vec<u8>, Option<Vec<u8>>);

/// A backup.
pub struct Backup {
    pub entries: Vec<Entry>,
    pub end: BackupEnd,
}

impl Backup {
    /// Where the next one goes on.
    pub fn point(&self) -> LogHead {
        LogHead { store_id: self.end.store_id, position: self.end.through }
    }

    fn section(&self, wanted: BackupSection) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |(section, ..)| *section == wanted)
    }
}

/// Backs a store up; `between` is called after every entry.
pub fn back_up(
    store: &dyn UsageStore,
    after: Option<LogHead>,
    mut between: impl FnMut(),
) -> Result<Backup, StoreError> {
    let mut entries = Vec::new();
    let request = BackupRequest { after, bytes_per_second_max: u64::MAX };
    let end = store.back_up(&request, &mut |section, key, value| {
        entries.push((section, key.to_vec(), value.map(<[u8]>::to_vec)));
        between();
        Ok(())
    })?;
    Ok(Backup { entries, end })
}

/// Makes a store of a full backup and what follows it.
pub fn restore(options: StoreOptions, chain: &[Backup]) -> Result<(), OpenError> {
    let (full, last) = (chain.first().unwrap(), chain.last().unwrap());
    let mut restore = Restore::begin(options, &full.end.after)?;
    let copied = full.section(BackupSection::Index).chain(last.section(BackupSection::State));
    let logs = chain.iter().flat_map(|backup| backup.section(BackupSection::Log));
    for (section, key, value) in copied.chain(logs) {
        restore.entry(*section, key, value.as_deref())?;
    }
    restore.finish(&last.point())
}

/// So small that memtables are frozen, runs merged and checkpoints written all the time.
pub fn tiny(directory: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 60;
    options.rollup_rows_max = 50;
    options.merge_fan_in = 2;
    options.cache_bytes = 8 << 20;
    options
}

/// Fills one memtable of a [`tiny`] store with uuids that nothing else has.
pub fn fill_memtable(store: &SledStore, number: u128) {
    let first = (1 << 80) + number * 60;
    let records = (first..first + 60).map(|uuid| record(uuid, "a", 1, now())).collect();
    let decisions = commit(store, submission("filler", records), now()).unwrap();
    assert!(decisions.iter().all(|decision| *decision == Decision::Accepted));
}

/// Waits until nothing is left to write out, to merge or to remove.
pub fn wait_until_idle(store: &SledStore) {
    let began = Instant::now();
    while !store.is_idle() {
        assert!(began.elapsed() < Duration::from_secs(120), "background work does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Changes of every kind, some of which say how they hang together.
pub struct Changes {
    random: Random,
    /// Changes made.
    pub count: i64,
    /// Uuids of records that were acknowledged.
    pub records: BTreeSet<u128>,
    /// Uuids of events that were acknowledged.
    pub events: BTreeSet<u128>,
    /// Ids of batches that were acknowledged.
    pub batches: BTreeSet<u64>,
}

impl Changes {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            count: 0,
            records: BTreeSet::new(),
            events: BTreeSet::new(),
            batches: BTreeSet::new(),
        }
    }

    /// Makes one change: what has to be there first is written first.
    pub fn make(&mut self, store: &SledStore) {
        self.count += 1;
        let number = self.count;
        // In one step, so never one without the other.
        let document = |collection, name: &str| DocumentChange {
            collection,
            organization: organization("alpha"),
            name: name.into(),
            body: Some(number.to_le_bytes().to_vec()),
        };
        let pair = [document(Collection::Organizations, ""), document(Collection::Clients, "c")];
        store.write_documents(&pair).unwrap();
        match self.random.below(10) {
            0 => self.batch(store),
            1 | 2 => self.report(store),
            3 => self.assets(store),
            _ => self.submit(store),
        }
        if self.random.below(4) == 0 {
            // Says how many records there are, which therefore have to be there.
            let page = Page {
                first: self.random.next() % 40,
                body: (self.records.len() as u64).to_le_bytes().to_vec(),
            };
            store.write_pages(&organization("alpha"), "book", &[page], &[]).unwrap();
        }
        if self.random.below(60) == 0 {
            store.remove_pages(&organization("alpha"), "book").unwrap();
        }
    }

    /// Records whose quantity is the number of the change.
    fn submit(&mut self, store: &SledStore) {
        let name = self.random.one_of(&["alpha", "beta"]);
        let offset = if name == "alpha" { 0 } else { 1 << 40 };
        let uuids: BTreeSet<u128> = (0..1 + self.random.below(25))
            .map(|_| offset + u128::from(self.random.next() % 6000))
            .collect();
        let new =
            |uuid: &u128| record(*uuid, ["a", "b", "c"][*uuid as usize % 3], self.count, now());
        let records = uuids.iter().map(new).collect();
        let decisions = commit(store, submission(name, records), now()).unwrap();
        for (uuid, decision) in uuids.into_iter().zip(decisions) {
            assert_eq!(decision == Decision::Accepted, self.records.insert(uuid), "{uuid}");
        }
    }

    fn report(&mut self, store: &SledStore) {
        let uuids: BTreeSet<u128> =
            (0..1 + self.random.below(10)).map(|_| u128::from(self.random.next() % 2000)).collect();
        let calls = Calls { count: self.count, ..Calls::default() };
        let events = uuids.iter().map(|uuid| event(*uuid, &calls, now())).collect();
        let decisions = commit_events(store, "alpha", events, now()).unwrap();
        for (uuid, decision) in uuids.into_iter().zip(decisions) {
            assert_eq!(decision == Decision::Accepted, self.events.insert(uuid), "{uuid}");
        }
    }

    /// Some have several parts in the log.
    fn batch(&mut self, store: &SledStore) {
        let id = self.random.next() % 300;
        let usages = self.random.one_of(&[1, 7, 400]);
        let usage = |at: usize| AssetUsage {
            asset: AssetId::new(&format!("{:044}", at % 50)).unwrap(),
            quantity: Quantity::new(self.count).unwrap(),
            day: UsageDay::from_number(20_700 + at as i64 % 60).unwrap(),
        };
        let batch = AssetBatch {
            caller: caller("alpha", "client"),
            id: batch_id(id),
            usages: (0..usages).map(usage).collect(),
        };
        store.commit(&vec![batch].into(), now()).unwrap();
        self.batches.insert(id);
    }

    fn assets(&mut self, store: &SledStore) {
        let count = self.count;
        let numbers: BTreeSet<u64> = (0..20).map(|_| self.random.next() % 400).collect();
        let asset = |number: u64| Asset {
            id: AssetId::new(&format!("asset-{number}")).unwrap(),
            name: format!("as of {}", count),
            state: State::Active,
        };
        let put: Vec<Asset> = numbers.into_iter().map(asset).collect();
        let remove = [AssetId::new(&format!("asset-{}", 400 + self.random.below(4))).unwrap()];
        store.write_assets(&organization("alpha"), &put, &remove, &[]).unwrap();
    }
}

pub fn batch_id(number: u64) -> BatchId {
    BatchId::new(&format!("batch-{number}")).unwrap()
}
