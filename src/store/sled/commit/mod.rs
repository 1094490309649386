//! Deciding and storing one group.
//!
//! What can fail without harm (reading the index again, representing a time) comes first. From the
//! first key that enters the memtable on, every failure poisons the store: memory would otherwise
//! claim records that the log does not hold.

mod dimensions;
mod events;
mod records;

use jiff::Timestamp;

use super::{
    batches::{self, Settled},
    core::Core,
    engine::Batch,
    faults::FaultPoint,
    index::run::SEQUENCE_MAX,
    keyspace::log_key,
    log::{Draft, chain::Link, log_nanos},
    organizations::OrganizationNumber,
    probe,
    rollup::row::RowKey,
};
use crate::{
    domain::{caller::Caller, quantity::Total, usage::LogSequence},
    store::{CommitDecisions, CommitGroup, Probed, Reported, StoreError},
};

/// Where the log ends. Owned by whoever commits.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    pub(super) last: LogSequence,
    /// What the next value follows.
    pub(super) link: Link,
    pub(super) last_stored_time: Timestamp,
    /// Asset usages that a start would have to read again: those since the totals were last frozen.
    pub(super) asset_usages: usize,
}

/// Whether what is in memory has to be frozen before more is taken in.
pub(super) fn is_full(core: &Core, end: &LogEnd) -> bool {
    core.index.is_full()
        || core.rollups.live_rows() >= core.options.rollup_rows_max
        || end.asset_usages >= core.options.memtable_keys_max
}

/// Hands what is in memory to the flusher. All of it must be durable.
pub(super) fn freeze(core: &Core, end: &mut LogEnd) -> Result<(), StoreError> {
    core.index.freeze(&core.engine, || core.rollups.freeze())?;
    end.asset_usages = 0;
    Ok(())
}

/// Decides and stores `group`; durable and visible on return.
pub(super) fn commit(
    core: &Core,
    end: &mut LogEnd,
    group: &CommitGroup,
    now: Timestamp,
) -> Result<CommitDecisions, StoreError> {
    core.engine.writable()?;
    if is_full(core, end) {
        freeze(core, end)?;
    }
    core.index.breathe();
    let CommitGroup { submissions, api_reports, batches } = group;
    let known_records = settle_all(core, submissions)?;
    let known_events = settle_all(core, api_reports)?;
    let submitters = submissions
        .iter()
        .map(|probed| records::organization(core, &probed.report))
        .collect::<Result<Vec<_>, _>>()?;
    let reporters = api_reports
        .iter()
        .map(|probed| number_or_add(core, &probed.report.caller))
        .collect::<Result<Vec<_>, _>>()?;
    let unsettled = batches::look_up(core, batches)?;
    // The log is in the order of stored times whatever the clock does.
    let stored_time = now.max(end.last_stored_time);
    log_nanos(stored_time)?;
    let first = LogSequence(end.last.0 + 1);
    // From here on memory may know uuids that the log does not hold yet.
    let finish = || {
        let mut records = records::Writing::new(first, stored_time)?;
        let mut live = core.index.live.write();
        let mut series = core.series.lock();
        let submissions = submissions
            .iter()
            .zip(known_records)
            .zip(submitters)
            .map(|((probed, known), number)| {
                records.decide(&mut live, &mut series, &probed.report, &known, number)
            })
            .collect();
        let (mut new, next) = records.finish()?;
        let mut events = events::Writing::new(next, stored_time)?;
        let api_reports = api_reports
            .iter()
            .zip(known_events)
            .zip(reporters)
            .map(|((probed, known), number)| {
                events.decide(&mut live, &mut series, &probed.report, &known, number)
            })
            .collect();
        drop(live);
        let (new_events, next) = events.finish()?;
        new.extend(new_events);
        let settled = batches::settle(unsettled, &mut series);
        drop(series);
        let decided = settled.iter().map(Settled::decision).collect();
        new.extend(batches::encode(batches, settled, next, stored_time)?);
        let last = LogSequence(first.0 - 1 + new.values.len() as u64);
        debug_assert!(last.0 <= SEQUENCE_MAX, "the index keeps sequences in five bytes");
        if last >= first {
            let mut link = end.link;
            let seal = |draft: Draft| (draft.sequence(), draft.seal(&mut link));
            write(core, new.values.into_iter().map(seal).collect(), new.entries)?;
            core.rollups.publish(new.deltas, last)?;
            core.head.advance(last);
            let asset_usages = end.asset_usages + new.asset_usages;
            *end = LogEnd { last, link, last_stored_time: stored_time, asset_usages };
        }
        Ok(CommitDecisions { submissions, api_reports, batches: decided })
    };
    finish().inspect_err(|error: &StoreError| core.engine.fail(&error.to_string()))
}

/// What is to be written.
#[derive(Default)]
pub(super) struct NewEntries {
    /// Values of the log, in order.
    pub(super) values: Vec<Draft>,
    /// Entries of the index of batches.
    pub(super) entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the values add to the totals.
    pub(super) deltas: Vec<(RowKey, u8, Total)>,
    /// Asset usages among them.
    pub(super) asset_usages: usize,
}

impl NewEntries {
    fn extend(&mut self, more: Self) {
        self.values.extend(more.values);
        self.entries.extend(more.entries);
        self.deltas.extend(more.deltas);
        self.asset_usages += more.asset_usages;
    }
}

/// What the runs and frozen memtables know of each report. Read again where the probe is from
/// before a memtable was frozen: its keys are no longer in the live one.
fn settle_all<T>(
    core: &Core,
    reports: &[Probed<T>],
) -> Result<Vec<Vec<Option<LogSequence>>>, StoreError>
where
    for<'a> &'a T: Into<Reported<'a>>,
{
    let generation = core.index.snapshot.load().generation;
    let settled = reports.iter().map(|Probed { report, probe }| {
        let report: Reported<'_> = report.into();
        for time in report.times() {
            log_nanos(time)?;
        }
        if probe.generation == generation {
            return Ok(probe.known.clone());
        }
        probe::settle(core, report).map(|result| result.known)
    });
    settled.collect()
}

fn number_or_add(core: &Core, caller: &Caller) -> Result<OrganizationNumber, StoreError> {
    core.organizations.number_or_add(&core.engine, &caller.organization)
}

/// Puts values of the log, and entries of the index of batches, on the disk.
fn write(
    core: &Core,
    values: Vec<(LogSequence, Vec<u8>)>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), StoreError> {
    let engine = &core.engine;
    let _under_way = engine.begin_write();
    engine.pass(FaultPoint::CommitWrite)?;
    if let ([(sequence, value)], []) = (values.as_slice(), entries.as_slice()) {
        // sled writes a batch in two parts, each with a sync of its own. One key needs no batch,
        // and halves what a lone caller waits for.
        engine.stage(&log_key(*sequence), value)?;
    } else {
        let mut batch = Batch::default();
        for (sequence, value) in values {
            batch.put(&log_key(sequence), value);
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
