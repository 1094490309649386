//! Recounting everything from the log, and comparing.
//!
//! For every record of the log the index must answer that record's sequence, and the index must hold
//! exactly as many keys as the log holds records: together that makes them equal, without holding
//! either in memory. Totals are recounted in memory, one entry per series and quarter hour.

mod log_walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use self::log_walk::LogWalk;
use super::{
    batches::{self, BatchPlace},
    core::Core,
    derived,
    index::{key::UuidKey, run::Page},
    keyspace::{KeySpace, log_key},
    log::{LogEntry, batch_part::BatchPart, read},
    options::{OpenError, StoreOptions},
    recovery,
    retention::{self, DroppedCounts, UuidSum},
    rollup::{
        layer::combine,
        row::{Row, RowKey, Slots},
        snapshot::RowRanges,
    },
};
use crate::{
    domain::{quantity::Total, usage::LogSequence},
    store::{LogHead, StoreError},
};

/// What is being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyPhase {
    /// Log chunks, and each record's uuid in the index.
    Log,
    /// Pages of the uuid index.
    Index,
    /// Rows of totals.
    Totals,
}

/// How far the check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// What is being checked.
    pub phase: VerifyPhase,
    /// Chunks, pages or rows done.
    pub done: u64,
    /// How many there are, as far as known.
    pub total: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// What was dropped from the log, being older than records are kept. It is counted in none of the figures below but keys
    /// of the index and rows of totals.
    pub dropped: DroppedCounts,
    /// Records in the log.
    pub records: u64,
    /// Chunks of the log.
    pub log_chunks: u64,
    /// Those of them that do not say which one they follow: they are from before there were links.
    pub unlinked_chunks: u64,
    /// Keys in the uuid index.
    pub index_keys: u64,
    /// Batches of asset usage.
    pub batches: u64,
    /// Usages in them.
    pub asset_usages: u64,
    /// Events of API usage.
    pub api_events: u64,
    /// Rows of totals and of the chunk index.
    pub total_rows: u64,
    /// Every difference found, up to [`DIFFERENCES_MAX`]; empty if all is well.
    pub differences: Vec<String>,
    /// How many differences there were in all.
    pub differences_count: u64,
}

/// Differences that are spelled out.
pub const DIFFERENCES_MAX: usize = 100;

impl VerifyReport {
    fn differ(&mut self, what: String) {
        self.differences_count += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(what);
        }
    }
}

/// Checks the store of a directory that no process has open. Reads only, apart from what opening any
/// store does.
///
/// # Errors
/// [`OpenError`] if the store cannot be opened or read at all; what is readable but wrong is in the
/// report.
pub fn verify(
    data_dir: &Path,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    verify_against(data_dir, None, progress)
}

/// As [`verify`], and whether the log still leads through where it ended once: what is before that place is then what it
/// was, and nothing was cut off. That says nothing of values from before there were links, except of the last of them.
///
/// # Errors
/// As of [`verify`].
pub fn verify_against(
    data_dir: &Path,
    known: Option<&LogHead>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, OpenError> {
    if !data_dir.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(OpenError::Io { what: "cannot open", path: data_dir.to_owned(), source });
    }
    let (core, end) = match recovery::open(StoreOptions::new(data_dir)) {
        Ok(opened) => opened,
        // Damage in what opening reads is a finding like any other.
        Err(OpenError::Store(StoreError::Damaged(what))) => {
            return log_walk::alone(data_dir, &what, known);
        }
        Err(error) => return Err(error),
    };
    let mut check = Check { core: &core, report: VerifyReport::default(), progress };
    let walk = LogWalk::new(known, &core.retention.floor(), &mut check.report);
    walk.is_of(core.identity.store_id, &mut check.report);
    let recounted = check.log(walk, end.last)?;
    check.index()?;
    check.batches()?;
    check.totals(recounted)?;
    Ok(check.report)
}

/// What is damaged, without the preamble that the error has elsewhere.
fn plain(error: &StoreError) -> String {
    match error {
        StoreError::Damaged(what) => what.to_string(),
        other => other.to_string(),
    }
}

struct Check<'a> {
    core: &'a Core,
    report: VerifyReport,
    progress: &'a mut dyn FnMut(VerifyProgress),
}

impl Check<'_> {
    fn tick(&mut self, phase: VerifyPhase, done: u64, total: u64) {
        if done.is_multiple_of(64) || done == total {
            (self.progress)(VerifyProgress { phase, done, total });
        }
    }

    /// Reads every chunk, looks every uuid up, and recounts the totals.
    fn log(
        &mut self,
        mut walk: LogWalk<'_>,
        last: LogSequence,
    ) -> Result<BTreeMap<RowKey, Slots>, StoreError> {
        let mut recounted = self.retired()?;
        for entry in
            self.core.engine.range(log_key(LogSequence(0))..=log_key(LogSequence(u64::MAX)))
        {
            let (key, value) = entry?;
            if let Some(entry) = walk.step(&key, &value, &mut self.report) {
                self.entry(LogSequence(walk.last()), &entry, &mut recounted)?;
            }
            self.tick(VerifyPhase::Log, walk.last(), last.0);
        }
        walk.end(last, &mut self.report);
        self.report.unlinked_chunks = walk.unlinked();
        Ok(recounted)
    }

    /// What the part of the log that was dropped added up to.
    fn retired(&mut self) -> Result<BTreeMap<RowKey, Slots>, StoreError> {
        let mut rows = BTreeMap::new();
        for row in retention::retired_rows(&self.core.engine) {
            let (key, slots) = row?;
            match slots {
                Ok(slots) => drop(rows.insert(key, slots)),
                Err(error) => self.report.differ(format!("what was dropped: {}", plain(&error))),
            }
        }
        Ok(rows)
    }

    /// Looks every uuid of a value up, and recounts its totals.
    fn entry(
        &mut self,
        sequence: LogSequence,
        entry: &LogEntry,
        recounted: &mut BTreeMap<RowKey, Slots>,
    ) -> Result<(), StoreError> {
        match entry {
            LogEntry::Records(chunk) => self.report.records += chunk.records.len() as u64,
            LogEntry::ApiEvents(value) => self.report.api_events += value.events.len() as u64,
            LogEntry::BatchPart(part) => self.batch_part(part)?,
        }
        let mut keys = BTreeSet::new();
        for key in derived::uuids(entry)? {
            self.uuid(key, sequence, &mut keys)?;
        }
        for (row, slot, total) in derived::additions(entry, self.core.chunks_indexed_after)? {
            recounted.entry(row).or_default().entry(slot).or_default().add(total)?;
        }
        Ok(())
    }

    /// Compares what the index says of a uuid with where it stands; `keys` are those of the same value.
    fn uuid(
        &mut self,
        key: UuidKey,
        sequence: LogSequence,
        keys: &mut BTreeSet<UuidKey>,
    ) -> Result<(), StoreError> {
        let (at, uuid) = (sequence.0, key.uuid());
        if !keys.insert(key) {
            self.report.differ(format!("log chunk {at}: holds uuid {uuid} twice"));
        }
        match self.core.index.find(&self.core.engine, &key) {
            Ok(Some(found)) if found == sequence => {}
            Ok(Some(LogSequence(found))) => self
                .report
                .differ(format!("uuid {uuid}: stands in log chunk {at}, the index says {found}")),
            Ok(None) => self.report.differ(format!(
                "uuid {uuid}: stands in log chunk {at}, the index does not know it"
            )),
            Err(StoreError::Damaged(what)) => self.report.differ(what.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Checks a part of a batch against the index of batches.
    fn batch_part(&mut self, part: &BatchPart) -> Result<(), StoreError> {
        let first = part.sequence.0.saturating_sub(u64::from(part.part));
        let expected = BatchPlace { first: LogSequence(first), parts: part.parts };
        match batches::place(&self.core.engine, &batches::key(part.organization, &part.batch)) {
            Ok(Some(place)) if place == expected => {}
            Ok(found) => self.report.differ(format!(
                "batch {:?}: part {} of {} stands in log chunk {}, the index says {found:?}",
                part.batch, part.part, part.parts, part.sequence.0
            )),
            Err(StoreError::Damaged(what)) => self.report.differ(what.to_string()),
            Err(error) => return Err(error),
        }
        self.report.batches += u64::from(part.part == 0);
        self.report.asset_usages += part.usages.len() as u64;
        Ok(())
    }

    /// Compares the number of batches in the index with that in the log; the parts of each were looked up.
    fn batches(&mut self) -> Result<(), StoreError> {
        let floor = self.core.retention.floor();
        let (mut entries, mut dropped) = (0_u64, 0_u64);
        for entry in self.core.engine.prefix(&KeySpace::UsageBatch.only()) {
            let (key, value) = entry?;
            match BatchPlace::decode(&key, &value) {
                Ok(place) if floor.has_dropped(place.last()) => dropped += 1,
                Ok(place) => {
                    entries += 1;
                    self.parts(place)?;
                }
                Err(error) => {
                    entries += 1;
                    self.report.differ(plain(&error));
                }
            }
        }
        let VerifyReport { batches, dropped: DroppedCounts { batches: gone, .. }, .. } =
            self.report;
        if entries != batches {
            self.report.differ(format!("the index holds {entries} batches, the log {batches}"));
        }
        if dropped != gone {
            self.report.differ(format!(
                "the index holds {dropped} batches of before the log begins, {gone} were dropped"
            ));
        }
        Ok(())
    }

    /// Every part that the index promises must be there; that each is of the right batch, the log told.
    fn parts(&mut self, place: BatchPlace) -> Result<(), StoreError> {
        for part in 0..place.parts {
            let sequence = LogSequence(place.first.0 + u64::from(part));
            match read::entry(&self.core.engine, sequence) {
                Ok(LogEntry::BatchPart(found))
                    if (found.part, found.parts) == (part, place.parts) => {}
                Ok(_) => self.report.differ(format!(
                    "log chunk {}: holds something else than a batch's index says",
                    sequence.0
                )),
                Err(StoreError::Damaged(what)) => self.report.differ(what.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads every page, and compares the number of keys with the number of records.
    fn index(&mut self) -> Result<(), StoreError> {
        let snapshot = self.core.index.snapshot.load_full();
        let pages = snapshot.runs.iter().map(|run| u64::from(run.summary.pages)).sum();
        let floor = self.core.retention.floor();
        let mut dropped = UuidSum::default();
        let mut done = 0;
        self.report.index_keys = self.core.index.live.read().len() as u64;
        for run in &snapshot.runs {
            let mut last = None;
            let mut keys = 0;
            for number in 0..run.summary.pages {
                done += 1;
                self.tick(VerifyPhase::Index, done, pages);
                let page = match Page::read(&self.core.engine, run.summary.id, number) {
                    Ok(page) => page,
                    Err(StoreError::Damaged(what)) => {
                        self.report.differ(what.to_string());
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for (key, sequence) in (0..).map_while(|index| page.entry(index)) {
                    keys += 1;
                    if floor.has_dropped(sequence) {
                        dropped.add(&key, sequence);
                    }
                    if last.replace(key).is_some_and(|last| last >= key) {
                        self.report.differ(format!(
                            "uuid index run {}: page {number}: keys out of order",
                            run.summary.id
                        ));
                    }
                }
            }
            if keys != run.summary.keys {
                let id = run.summary.id;
                self.report.differ(format!(
                    "uuid index run {id}: holds {keys} keys, the manifest says {}",
                    run.summary.keys
                ));
            }
            self.report.index_keys += keys;
        }
        let VerifyReport { index_keys, records, api_events, dropped: gone, .. } = self.report;
        let gone = gone.records + gone.api_events;
        if index_keys != records + api_events + gone {
            self.report.differ(format!(
                "the index holds {index_keys} uuids, the log {records} records and {api_events} events of API usage, and \
                 {gone} were dropped"
            ));
        }
        if dropped != floor.uuids {
            self.report.differ(format!(
                "the index does not hold the {gone} uuids that were dropped from the log, or says that they stood elsewhere"
            ));
        }
        Ok(())
    }

    /// Compares stored totals and the chunk index, with what is in memory, against the recount.
    fn totals(&mut self, mut recounted: BTreeMap<RowKey, Slots>) -> Result<(), StoreError> {
        let mut prefixes =
            [KeySpace::Rollup, KeySpace::AssetRollup, KeySpace::ApiRollup, KeySpace::ChunkIndex]
                .map(|space| space.only().to_vec());
        prefixes.sort_unstable();
        let ranges = RowRanges { prefixes: prefixes.to_vec(), periods: i64::MIN..=i64::MAX };
        let mut deltas = self.core.rollups.snapshot(ranges).deltas();
        let total = recounted.len() as u64;
        let stored = prefixes.iter().flat_map(|prefix| self.core.engine.prefix(prefix));
        for entry in stored {
            let (key, value) = entry?;
            let key = RowKey::from_bytes(&key);
            self.report.total_rows += 1;
            self.tick(VerifyPhase::Totals, self.report.total_rows, total);
            let expected = recounted.remove(&key).unwrap_or_default();
            let deltas = deltas.remove(&key).unwrap_or_default();
            match Row::decode(key.as_bytes(), &value).and_then(|row| combine(row, &deltas)) {
                Ok(slots) => self.compare(&key, &slots, &expected),
                Err(error) => self.report.differ(plain(&error)),
            }
        }
        for (key, deltas) in deltas {
            self.report.total_rows += 1;
            let expected = recounted.remove(&key).unwrap_or_default();
            let slots = combine(Row::default(), &deltas)?;
            self.compare(&key, &slots, &expected);
        }
        for (key, expected) in recounted {
            self.compare(&key, &Slots::new(), &expected);
        }
        Ok(())
    }

    fn compare(&mut self, key: &RowKey, found: &Slots, expected: &Slots) {
        let slots: BTreeSet<u8> = found.keys().chain(expected.keys()).copied().collect();
        for slot in slots {
            let (found, expected) = (found.get(&slot), expected.get(&slot));
            if found == expected {
                continue;
            }
            let said = |total: Option<&Total>| total.copied().unwrap_or_default();
            self.report.differ(format!(
                "total of {}: stored {}, the log says {}",
                key.describe(slot),
                said(found),
                said(expected)
            ));
        }
    }
}
