//! Reports and queries read one moment while commits, flushes, merges and checkpoints go on, and hold none of them up.
//!
//! A reader of the sled store is held in the middle of its rows while a writer goes on, in the same thread: whoever waited
//! for the reader would wait permanently. What it read equals the memory store at the sequence that it answers.
//! `METERD_SNAPSHOT_SEED` repeats a run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use meterd::{
    domain::{
        api_usage::{ApiFilter, ApiReport, ApiTotalsQuery, HttpMethod, NewSeries},
        asset_usage::{AssetBatch, AssetFilter, AssetTotalsQuery, AssetUsage, DayRange, UsageDay},
        calendar::{QuarterHour, QuarterRange},
        id::{AssetId, BatchId},
        quantity::Quantity,
        totals::{TotalsQuery, UsageFilter},
        usage::{LogSequence, Submission},
    },
    store::{
        CommitGroup, StoreError, UsageStore,
        memory::MemoryStore,
        sled::{SledStore, StoreOptions, verify},
    },
};

use crate::support::{
    random::Random,
    usage::{Calls, caller, commit, event, organization, probed, record, submission, target},
};

const ORGANIZATIONS: [&str; 2] = ["alpha", "beta"];

/// One total, whatever its kind, as text.
type Row = String;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Product,
    Asset,
    Api,
}

const KINDS: [Kind; 3] = [Kind::Product, Kind::Asset, Kind::Api];

/// Visits all totals of a kind, in any order; answers the sequence they are as of.
fn read(
    store: &dyn UsageStore,
    kind: Kind,
    name: &str,
    visit: &mut dyn FnMut(Row) -> Result<(), StoreError>,
) -> Result<LogSequence, StoreError> {
    let organization = organization(name);
    let days = DayRange {
        start: UsageDay::of(jiff::civil::date(2000, 1, 1)),
        end: UsageDay::of(jiff::civil::date(2100, 1, 1)),
    };
    match kind {
        Kind::Product => {
            let range = QuarterRange { start: QuarterHour(0), end: QuarterHour(8_000_000) };
            let query = TotalsQuery { organization, range, filter: UsageFilter::default() };
            store.totals(&query, &mut |series, quarter, total| {
                visit(format!("{series:?} {quarter:?} {total:?}"))
            })
        }
        Kind::Asset => {
            let query = AssetTotalsQuery { organization, days, filter: AssetFilter::default() };
            store.asset_totals(&query, &mut |series, day, total| {
                visit(format!("{series:?} {day:?} {total:?}"))
            })
        }
        Kind::Api => {
            let query = ApiTotalsQuery { organization, days, filter: ApiFilter::default() };
            store.api_totals(&query, &mut |series, day, class, total| {
                visit(format!("{series:?} {day:?} {class:?} {total:?}"))
            })
        }
    }
}

fn all(store: &dyn UsageStore, kind: Kind, name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    read(store, kind, name, &mut |row| {
        rows.push(row);
        Ok(())
    })
    .unwrap();
    rows.sort();
    rows
}

/// Writes the same to both stores, and remembers what the totals were at every sequence.
struct Writer {
    sled: Arc<SledStore>,
    memory: MemoryStore,
    random: Random,
    uuids: u128,
    now: Timestamp,
    history: BTreeMap<LogSequence, BTreeMap<(&'static str, u8), Vec<Row>>>,
}

impl Writer {
    fn new(sled: Arc<SledStore>, seed: u64) -> Self {
        let mut writer = Self {
            sled,
            memory: MemoryStore::new(),
            random: Random::new(seed),
            uuids: 0,
            now: "2026-11-20T12:00:00Z".parse().unwrap(),
            history: BTreeMap::new(),
        };
        writer.remember();
        writer
    }

    fn reopen(self, directory: &tempfile::TempDir) -> Self {
        let Self { sled, memory, random, uuids, now, history } = self;
        drop(sled);
        let sled = Arc::new(SledStore::open(options(directory)).unwrap());
        Self { sled, memory, random, uuids, now, history }
    }

    fn write(&mut self) {
        let (submission, report, batch) = self.group();
        for store in [&*self.sled as &dyn UsageStore, &self.memory] {
            let group = CommitGroup {
                submissions: vec![probed(store, Arc::new(submission.clone()))],
                api_reports: vec![probed(store, report.clone())],
                batches: vec![batch.clone()],
            };
            // The flusher may be behind: that is refused, and not an error.
            while let Err(error) = store.commit(&group, self.now) {
                assert!(matches!(error, StoreError::Backlogged), "{error}");
            }
        }
        self.remember();
    }

    fn group(&mut self) -> (Submission, ApiReport, AssetBatch) {
        let name = self.random.one_of(&ORGANIZATIONS);
        // Few series, which change again and again, and many, most of them new.
        let series = if self.random.below(2) == 0 { 8 } else { 5_000 };
        let mut number = || {
            self.uuids += 1;
            self.uuids
        };
        let records = (0..1 + self.random.below(12))
            .map(|_| {
                let sku = format!("sku-{}", self.random.below(series));
                record(number(), &sku, 1 + self.random.below(9) as i64, self.now)
            })
            .collect();
        let events = (0..1 + self.random.below(12))
            .map(|_| {
                let user = format!("user-{}", self.random.below(series));
                let method = self.random.one_of(&[HttpMethod::Get, HttpMethod::Post]);
                let calls = Calls { user: &user, method, ..Calls::default() };
                event(number(), &calls, self.now)
            })
            .collect();
        let usages = (0..1 + self.random.below(12))
            .map(|_| AssetUsage {
                asset: AssetId::new(&format!("asset-{}", self.random.below(series))).unwrap(),
                quantity: Quantity::new(1 + self.random.below(9) as i64).unwrap(),
                day: UsageDay::of(jiff::civil::date(2026, 11, 1 + self.random.below(28) as i8)),
            })
            .collect();
        let id = BatchId::new(&format!("batch-{}", number())).unwrap();
        let submission = Submission {
            caller: caller(name, "client"),
            target: target("product", None),
            records,
            validate_only: false,
        };
        let new_series = NewSeries::Refused;
        let report = ApiReport { caller: caller(name, "reporter"), events, new_series };
        (submission, report, AssetBatch { caller: caller(name, "client"), id, usages })
    }

    fn remember(&mut self) {
        let totals = ORGANIZATIONS
            .into_iter()
            .flat_map(|name| KINDS.map(|kind| ((name, kind as u8), all(&self.memory, kind, name))));
        self.history.insert(self.sled.statistics().last_sequence, totals.collect());
    }

    #[track_caller]
    fn check(&self, kind: Kind, name: &'static str, through: LogSequence, mut rows: Vec<Row>) {
        rows.sort();
        let expected = &self.history[&through][&(name, kind as u8)];
        assert!(rows == *expected, "{kind:?} of {name} at {through:?}: {rows:#?} {expected:#?}");
    }
}

fn options(directory: &tempfile::TempDir) -> StoreOptions {
    let mut options = StoreOptions::new(directory.path());
    options.memtable_keys_max = 64;
    options.rollup_rows_max = 64;
    options
}

fn seed() -> u64 {
    let seed = std::env::var("METERD_SNAPSHOT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| Timestamp::now().as_nanosecond() as u64);
    println!("METERD_SNAPSHOT_SEED={seed}");
    seed
}

fn wait_until_idle(store: &SledStore) {
    while !store.is_idle() {
        std::thread::yield_now();
    }
}

#[test]
fn reader_held_in_its_rows_holds_up_no_commit_or_flush() {
    let seed = seed();
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(!seed);
    let mut writer = Writer::new(Arc::new(SledStore::open(options(&directory)).unwrap()), seed);
    for round in 0..12 {
        for _ in 0..random.below(12) {
            writer.write();
        }
        if random.below(4) == 0 {
            wait_until_idle(&writer.sled);
        }
        let (kind, name) = (random.one_of(&KINDS), random.one_of(&ORGANIZATIONS));
        let holds = [random.below(100), random.below(400)];
        let sled = Arc::clone(&writer.sled);
        let mut rows = Vec::new();
        let through = read(&*sled, kind, name, &mut |row| {
            if holds.contains(&rows.len()) {
                for _ in 0..random.below(30) {
                    writer.write();
                }
                // All of it is in the stored rows then, in the place of what the reader is reading.
                wait_until_idle(&writer.sled);
            }
            rows.push(row);
            Ok(())
        });
        writer.check(kind, name, through.unwrap(), rows);
        drop(sled);
        if round % 4 == 3 {
            writer = writer.reopen(&directory);
        }
    }
    drop(writer);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().differences, Vec::<String>::new());
}

#[test]
fn readers_beside_writes_see_one_moment_each() {
    let seed = seed();
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(Arc::new(SledStore::open(options(&directory)).unwrap()), seed);
    let done = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3_u64)
            .map(|number| {
                let (sled, done) = (Arc::clone(&writer.sled), &done);
                let mut random = Random::new(seed ^ (number + 1));
                scope.spawn(move || {
                    let mut found = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let (kind, name) = (random.one_of(&KINDS), random.one_of(&ORGANIZATIONS));
                        let mut rows = Vec::new();
                        let through = read(&*sled, kind, name, &mut |row| {
                            rows.push(row);
                            Ok(())
                        });
                        found.push((kind, name, through.unwrap(), rows));
                    }
                    found
                })
            })
            .collect();
        for _ in 0..150 {
            writer.write();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(found.len() >= 3);
    for (kind, name, through, rows) in found {
        writer.check(kind, name, through, rows);
    }
}

#[test]
fn reader_too_slow_for_changes_of_its_rows_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    options.overwritten_bytes_max = 4 << 10;
    let store = SledStore::open(options).unwrap();
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let change = |name: &str, round: u128| {
        let events = (0..200)
            .map(|number| {
                let user = format!("user-{number}");
                event(round * 200 + number, &Calls { user: &user, ..Calls::default() }, now)
            })
            .collect();
        let new_series = NewSeries::Refused;
        let report = ApiReport { caller: caller(name, "reporter"), events, new_series };
        let group: CommitGroup = vec![probed(&store, report)].into();
        while let Err(error) = store.commit(&group, now) {
            assert!(matches!(error, StoreError::Backlogged), "{error}");
        }
        // The next commit freezes what is in memory.
        commit_one(&store, round);
        wait_until_idle(&store);
    };
    let read_while = |changed: &str, round: u128| {
        let mut visited = 0;
        read(&store, Kind::Api, "alpha", &mut |_| {
            visited += 1;
            if visited == 1 {
                change(changed, round);
            }
            Ok(())
        })
        .map(|_| visited)
    };
    change("alpha", 0);
    assert_eq!(read_while("beta", 1).unwrap(), 200, "rows of others cost the reader nothing");
    let refused = read_while("alpha", 2).unwrap_err();
    assert!(matches!(refused, StoreError::SnapshotTooOld), "{refused}");
    assert_eq!(read_while("gamma", 3).unwrap(), 200, "the next reader is not affected");
}

fn commit_one(store: &SledStore, number: u128) {
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    commit(store, submission("other", vec![record(number, "sku", 1, now)]), now).unwrap();
}
