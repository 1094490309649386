//! Deciding and storing one group.
//!
//! What can fail without harm (reading the index again, representing a time) comes first. From the
//! first key that enters the memtable on, every failure poisons the store: memory would otherwise
//! claim records that the log does not hold.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    batches::{self, FreeId},
    core::Core,
    engine::Batch,
    faults::FaultPoint,
    index::{
        key::{UuidKey, UuidKind},
        memtable::Memtable,
        run::SEQUENCE_MAX,
    },
    keyspace::log_key,
    log::{
        chunk::{ChunkWriter, Dimension},
        log_nanos,
    },
    organizations::OrganizationNumber,
    probe,
    rollup::row::RowKey,
};
use crate::{
    domain::{
        asset_usage::BatchDecision,
        calendar::QuarterHour,
        quantity::Total,
        totals::Series,
        usage::{LogSequence, Submission, UsageRecord},
        verdict::{Decision, Original},
    },
    store::{CommitDecisions, CommitGroup, ProbedSubmission, StoreError},
};

/// Where the log ends. Owned by whoever commits.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    pub(super) last: LogSequence,
    pub(super) last_stored_time: Timestamp,
    /// Asset usages that a start would have to read again: those since the totals were last frozen.
    pub(super) asset_usages: usize,
}

/// Decides and stores `group`; durable and visible on return.
pub(super) fn commit(
    core: &Core,
    end: &mut LogEnd,
    group: &CommitGroup,
    now: Timestamp,
) -> Result<CommitDecisions, StoreError> {
    core.engine.writable()?;
    if core.index.is_full()
        || core.rollups.live_rows() >= core.options.rollup_rows_max
        || end.asset_usages >= core.options.memtable_keys_max
    {
        core.index.freeze(&core.engine, || core.rollups.freeze())?;
        end.asset_usages = 0;
    }
    let CommitGroup { submissions, batches } = group;
    let known = settle_group(core, submissions)?;
    let numbers = number_organizations(core, submissions)?;
    let free = batches::settle(core, batches)?;
    // The log is in the order of stored times whatever the clock does.
    let stored_time = now.max(end.last_stored_time);
    let first = LogSequence(end.last.0 + 1);
    let mut writing = Writing {
        chunks: ChunkWriter::new(first, stored_time)?,
        dimensions: Dimensions::default(),
        gained: HashMap::new(),
    };
    let submissions = {
        let mut live = core.index.live.write();
        submissions
            .iter()
            .zip(known)
            .zip(numbers)
            .map(|((probed, known), number)| {
                decide(&mut live, &mut writing, &probed.submission, &known, number)
            })
            .collect()
    };
    let Writing { chunks, dimensions, gained } = writing;
    let (mut chunks, next) = chunks.finish();
    // From here on memory knows uuids that the log does not hold yet.
    let finish = || {
        let new = batches::encode(batches, &free, next, stored_time)?;
        let last = LogSequence(next.0 - 1 + new.chunks.len() as u64);
        if last >= first {
            let mut deltas = deltas(&dimensions, &gained)?;
            deltas.extend(new.deltas);
            chunks.extend(new.chunks);
            write(core, chunks, new.entries)?;
            core.rollups.publish(deltas, last)?;
            core.head.advance(last);
            let asset_usages = end.asset_usages + new.usages;
            *end = LogEnd { last, last_stored_time: stored_time, asset_usages };
        }
        Ok(())
    };
    finish().inspect_err(|error: &StoreError| core.engine.fail(&error.to_string()))?;
    let decision = |free: &Option<FreeId>| match free {
        Some(_) => BatchDecision::Recorded,
        None => BatchDecision::Taken,
    };
    Ok(CommitDecisions { submissions, batches: free.iter().map(decision).collect() })
}

/// What the runs and frozen memtables know of each submission. Read again where the probe is from
/// before a memtable was frozen: its keys are no longer in the live one.
fn settle_group(
    core: &Core,
    group: &[ProbedSubmission],
) -> Result<Vec<Vec<Option<LogSequence>>>, StoreError> {
    let generation = core.index.snapshot.load().generation;
    group
        .iter()
        .map(|probed| {
            for record in &probed.submission.records {
                log_nanos(record.usage_time)?;
            }
            if probed.probe.generation == generation {
                return Ok(probed.probe.known.clone());
            }
            probe::settle(core, &probed.submission).map(|result| result.known)
        })
        .collect()
}

/// The number of each submission's organization; `None` only for one that stores nothing.
fn number_organizations(
    core: &Core,
    group: &[ProbedSubmission],
) -> Result<Vec<Option<OrganizationNumber>>, StoreError> {
    group
        .iter()
        .map(|ProbedSubmission { submission, .. }| {
            let organization = &submission.caller.organization;
            if submission.validate_only {
                return Ok(core.organizations.number(organization));
            }
            core.organizations.number_or_add(&core.engine, organization).map(Some)
        })
        .collect()
}

/// What a group puts into the log and adds to the totals.
struct Writing {
    chunks: ChunkWriter,
    dimensions: Dimensions,
    gained: HashMap<(usize, QuarterHour), Total>,
}

/// Decides the records of one submission. Cannot fail.
fn decide(
    live: &mut Memtable,
    writing: &mut Writing,
    submission: &Submission,
    known: &[Option<LogSequence>],
    number: Option<OrganizationNumber>,
) -> Vec<Decision> {
    let stored = |sequence| Decision::Duplicate(Original::Stored(sequence));
    let mut seen = HashMap::new();
    let mut skus: Vec<(&UsageRecord, usize)> = Vec::new();
    submission
        .records
        .iter()
        .enumerate()
        .map(|(at, record)| {
            if let Some(sequence) = known.get(at).copied().flatten() {
                return stored(sequence);
            }
            let key =
                number.map(|number| UuidKey::new(record.uuid, number, UuidKind::ProductUsage));
            let (Some(key), Some(number), false) = (key, number, submission.validate_only) else {
                if let Some(sequence) = key.and_then(|key| live.get(&key)) {
                    return stored(sequence);
                }
                return match seen.insert(record.uuid, at) {
                    Some(first) => {
                        seen.insert(record.uuid, first);
                        Decision::Duplicate(Original::InSubmission(first))
                    }
                    None => Decision::Accepted,
                };
            };
            let sequence = writing.chunks.next_sequence();
            debug_assert!(sequence.0 <= SEQUENCE_MAX, "the index keeps sequences in five bytes");
            if let Some(first) = live.insert_new(key, sequence) {
                return stored(first);
            }
            // Few SKUs per submission: a short list beats hashing every record's dimension.
            let dimension = match skus.iter().find(|(same, _)| same.sku == record.sku) {
                Some((_, dimension)) => *dimension,
                None => {
                    let dimension = writing.dimensions.number_of(submission, number, record);
                    skus.push((record, dimension));
                    dimension
                }
            };
            writing.accept(dimension, record);
            Decision::Accepted
        })
        .collect()
}

impl Writing {
    fn accept(&mut self, number: usize, record: &UsageRecord) {
        let Some(dimension) = self.dimensions.list.get(number) else { return };
        let nanos = log_nanos(record.usage_time).expect("settle_group represented it before");
        self.chunks.push(number, dimension, record.uuid, record.quantity, nanos);
        let total = self.gained.entry((number, QuarterHour::of(record.usage_time))).or_default();
        total
            .add(Total::of(record.quantity))
            .expect("a group is far too small to overflow a total");
    }
}

/// The distinct dimensions of a group, numbered from 0.
#[derive(Default)]
struct Dimensions {
    list: Vec<Dimension>,
    numbers: HashMap<Dimension, usize>,
}

impl Dimensions {
    fn number_of(
        &mut self,
        submission: &Submission,
        organization: OrganizationNumber,
        record: &UsageRecord,
    ) -> usize {
        let series = Series {
            target: submission.target.clone(),
            sku: record.sku.clone(),
            client: submission.caller.client.clone(),
        };
        let dimension = Dimension { organization, series };
        *self.numbers.entry(dimension).or_insert_with_key(|dimension| {
            self.list.push(dimension.clone());
            self.list.len() - 1
        })
    }
}

fn deltas(
    dimensions: &Dimensions,
    gained: &HashMap<(usize, QuarterHour), Total>,
) -> Result<Vec<(RowKey, u8, Total)>, StoreError> {
    gained
        .iter()
        .filter_map(|((number, quarter), total)| {
            Some((dimensions.list.get(*number)?, quarter, total))
        })
        .map(|(dimension, quarter, total)| {
            let (day, slot) = quarter.day_and_slot();
            Ok((RowKey::new(dimension.organization, &dimension.series, day)?, slot, *total))
        })
        .collect()
}

/// Puts chunks, and entries of the index of batches, on the disk.
fn write(
    core: &Core,
    chunks: Vec<(LogSequence, Vec<u8>)>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), StoreError> {
    let engine = &core.engine;
    engine.pass(FaultPoint::CommitWrite)?;
    if let ([(sequence, chunk)], []) = (chunks.as_slice(), entries.as_slice()) {
        // sled writes a batch in two parts, each with a sync of its own. One key needs no batch,
        // and halves what a lone caller waits for.
        engine.stage(&log_key(*sequence), chunk)?;
    } else {
        let mut batch = Batch::default();
        for (sequence, chunk) in chunks {
            batch.put(&log_key(sequence), chunk);
        }
        for (key, entry) in entries {
            batch.put(&key, entry);
        }
        engine.stage_batch(batch)?;
    }
    engine.pass(FaultPoint::CommitFlush)?;
    engine.flush()?;
    engine.pass(FaultPoint::CommitPublish)
}
