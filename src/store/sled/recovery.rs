//! Opening a store: what the disk holds becomes what memory holds.
//!
//! The manifest names the runs and the checkpoint. Whatever the log has beyond it is replayed into
//! the memtable and the totals. Pages of runs that the manifest does not name are left-overs of work
//! that a crash interrupted, and are removed.

use std::{
    collections::{BTreeSet, HashMap},
    panic::resume_unwind,
    sync::Arc,
    thread,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    commit::LogEnd,
    core::Core,
    directory,
    engine::Engine,
    head::Head,
    identity::Identity,
    index::{
        background::Index,
        key::{KeyHasher, UuidKey, UuidKind},
        manifest::Manifest,
        memtable::Memtable,
        run::Run,
    },
    keyspace::{KeySpace, log_key, log_sequence},
    log::{
        LogEntry,
        api_events::ApiEvents,
        batch_part::BatchPart,
        chain::Chain,
        chunk::Chunk,
        read::{self, missing},
    },
    options::{OpenError, StoreOptions},
    organizations::Organizations,
    rollup::{
        layer::Rollups,
        row::{Row, RowKey, api_slot},
    },
};
use crate::{
    domain::{asset_usage::UsageDay, calendar::QuarterHour, quantity::Total, usage::LogSequence},
    store::StoreError,
};

/// Opens the store of `options.data_dir`, creating it if it is not there.
pub(super) fn open(options: StoreOptions) -> Result<(Core, LogEnd), OpenError> {
    let engine = Engine::open(&options)?;
    let noted = Head::read(&options.data_dir)?;
    let identity = Identity::establish(&engine, &options, noted.map(|(store_id, _)| store_id))?;
    let organizations = Organizations::load(&engine)?;
    let mut manifest = Manifest::load(&engine)?;
    find_left_over_runs(&engine, &mut manifest)?;
    let hasher = KeyHasher::new(&identity.hash_seed);
    let rollups = Rollups::default();
    let mut replay = Replay {
        engine: &engine,
        rollups: &rollups,
        live: Memtable::new(hasher, options.memtable_keys_max),
        included: HashMap::new(),
    };
    // One reads what grows with the store, the other what came since the checkpoint, and neither needs the other.
    let (runs, end) = thread::scope(|scope| {
        let loading = scope.spawn(|| load_runs(&engine, &manifest));
        let end = replay.run(manifest.checkpoint);
        let runs = loading.join().unwrap_or_else(|panic| resume_unwind(panic));
        (runs, end)
    });
    let (runs, end) = (runs?, end?);
    let live = replay.live;
    if let Some((_, noted)) = noted
        && noted > end.last
    {
        let what =
            format!("log chunk {}: is missing, the log had reached {}", end.last.0 + 1, noted.0);
        return Err(StoreError::Damaged(what.into()).into());
    }
    let head = Head::open(&options.data_dir, identity.store_id, end.last)?;
    if noted.is_none() {
        directory::sync_names(&options.data_dir)?;
    }
    let index = Index::new(&options, hasher, manifest, runs, live);
    Ok((Core { engine, options, identity, head, organizations, index, rollups }, end))
}

fn load_runs(engine: &Engine, manifest: &Manifest) -> Result<Vec<Arc<Run>>, StoreError> {
    manifest.runs.iter().map(|summary| Run::load(engine, *summary).map(Arc::new)).collect()
}

/// Finds the runs that are dead or were never published. The mergers remove their pages: there may be hundreds of
/// thousands, and callers wait for the store.
fn find_left_over_runs(engine: &Engine, manifest: &mut Manifest) -> Result<(), StoreError> {
    let named: BTreeSet<u32> = manifest.runs.iter().map(|run| run.id).collect();
    let mut found = BTreeSet::new();
    for space in [KeySpace::RunPage, KeySpace::RunFences, KeySpace::RunFilter] {
        let mut from = 0;
        loop {
            let next = engine
                .range(space.of_run(from, 0)..=space.of_run(u32::MAX, u32::MAX))
                .next()
                .transpose()?;
            let Some(run) = next.and_then(|(key, _)| key.get(1..5)?.try_into().ok()) else { break };
            let run = u32::from_be_bytes(run);
            found.insert(run);
            let Some(after) = run.checked_add(1) else { break };
            from = after;
        }
    }
    let left_over: Vec<u32> = found.difference(&named).copied().collect();
    if !left_over.is_empty() {
        tracing::info!(
            runs = left_over.len(),
            "removing index runs that an earlier process left unfinished"
        );
    }
    manifest.dead = left_over;
    let beyond = found.last().map_or(0, |last| last.saturating_add(1));
    manifest.next_run = manifest.next_run.max(beyond);
    Ok(())
}

struct Replay<'a> {
    engine: &'a Engine,
    rollups: &'a Rollups,
    live: Memtable,
    // Up to which sequence each stored row is complete: a checkpoint that was interrupted has
    // written some rows ahead of the manifest.
    included: HashMap<RowKey, LogSequence>,
}

impl Replay<'_> {
    /// Replays the log from `checkpoint`; answers where it ends.
    fn run(&mut self, checkpoint: LogSequence) -> Result<LogEnd, StoreError> {
        let (mut chain, last_stored_time) = if checkpoint > LogSequence(0) {
            let value = read::value(self.engine, checkpoint)?;
            let (entry, previous) = LogEntry::decode_linked(checkpoint, &value)?;
            (Chain::after(checkpoint, &value, previous.is_some()), entry.stored_time())
        } else {
            (Chain::start(), Timestamp::UNIX_EPOCH)
        };
        let mut end =
            LogEnd { last: checkpoint, link: chain.link(), last_stored_time, asset_usages: 0 };
        self.rollups.publish(Vec::new(), checkpoint)?;
        let first = LogSequence(checkpoint.0 + 1);
        for entry in self.engine.range(log_key(first)..=log_key(LogSequence(u64::MAX))) {
            let (key, value) = entry?;
            let expected = LogSequence(end.last.0 + 1);
            if log_sequence(&key) != Some(expected) {
                return Err(missing(expected));
            }
            let (entry, previous) = LogEntry::decode_linked(expected, &value)?;
            chain.follow(expected, &value, previous)?;
            let asset_usages = match &entry {
                LogEntry::Records(chunk) => {
                    self.chunk(chunk)?;
                    0
                }
                LogEntry::ApiEvents(events) => {
                    self.api_events(events)?;
                    0
                }
                LogEntry::BatchPart(part) => {
                    self.batch_part(part)?;
                    part.usages.len()
                }
            };
            end = LogEnd {
                last: expected,
                link: chain.link(),
                last_stored_time: entry.stored_time(),
                asset_usages: end.asset_usages + asset_usages,
            };
        }
        Ok(end)
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for record in &chunk.records {
            let dimension = chunk.dimension(record)?;
            let key = UuidKey::new(record.uuid, dimension.organization, UuidKind::ProductUsage);
            self.remember(key, record.uuid, chunk.sequence)?;
            let (day, slot) = QuarterHour::of(record.usage_time).day_and_slot();
            let row = RowKey::new(dimension.organization, &dimension.series, day)?;
            if self.included_through(&row)? < chunk.sequence {
                deltas.push((row, slot, Total::of(record.quantity)));
            }
        }
        self.rollups.publish(deltas, chunk.sequence)
    }

    fn api_events(&mut self, entry: &ApiEvents) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for (organization, event) in &entry.events {
            let key = UuidKey::new(event.uuid, *organization, UuidKind::ApiUsage);
            self.remember(key, event.uuid, entry.sequence)?;
            let day = UsageDay::of_instant(event.time);
            let row = RowKey::of_api_usage(*organization, &event.series, day)?;
            if self.included_through(&row)? < entry.sequence {
                deltas.push((row, api_slot(day, event.status.class()), Total::of(event.count)));
            }
        }
        self.rollups.publish(deltas, entry.sequence)
    }

    fn remember(
        &mut self,
        key: UuidKey,
        uuid: Uuid,
        sequence: LogSequence,
    ) -> Result<(), StoreError> {
        match self.live.insert_new(self.live.hashed(key), sequence) {
            None => Ok(()),
            Some(first) => {
                let what = format!(
                    "log chunk {}: holds uuid {uuid}, as chunk {} does",
                    sequence.0, first.0
                );
                Err(StoreError::Damaged(what.into()))
            }
        }
    }

    fn batch_part(&mut self, part: &BatchPart) -> Result<(), StoreError> {
        let mut deltas = Vec::new();
        for usage in &part.usages {
            let (row, slot) = RowKey::of_asset_usage(part.organization, &part.client, usage)?;
            if self.included_through(&row)? < part.sequence {
                deltas.push((row, slot, Total::of(usage.quantity)));
            }
        }
        self.rollups.publish(deltas, part.sequence)
    }

    fn included_through(&mut self, row: &RowKey) -> Result<LogSequence, StoreError> {
        if let Some(included) = self.included.get(row) {
            return Ok(*included);
        }
        let included = match self.engine.get(row.as_bytes())? {
            Some(value) => Row::decode(row.as_bytes(), &value)?.included_through,
            None => LogSequence(0),
        };
        self.included.insert(row.clone(), included);
        Ok(included)
    }
}
