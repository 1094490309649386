//! Opening a store: what the disk holds becomes what memory holds.
//!
//! The manifest names the runs and the checkpoint. Whatever the log has beyond it is replayed into
//! the memtable and the totals. Pages of runs that the manifest does not name are left-overs of work
//! that a crash interrupted, and are removed.

use std::{collections::BTreeSet, panic::resume_unwind, sync::Arc, thread};

use jiff::Timestamp;

use super::{
    backup::restore,
    commit::LogEnd,
    core::Core,
    directory,
    engine::Engine,
    head::Head,
    identity::Identity,
    index::{background::Index, key::KeyHasher, manifest::Manifest, memtable::Memtable, run::Run},
    keyspace::{KeySpace, log_key, log_sequence},
    log::{
        LogEntry,
        chain::Chain,
        read::{self, missing},
    },
    options::{OpenError, StoreOptions},
    organizations::Organizations,
    replay::{IncludedRows, Replay},
    retention::{LogFloor, Retention},
    rollup::{layer::Rollups, series::SeriesSet},
    state::State,
};
use crate::{domain::usage::LogSequence, store::StoreError};

/// Opens the store of `options.data_dir`, creating it if it is not there.
pub(super) fn open(options: StoreOptions) -> Result<(Core, LogEnd), OpenError> {
    restore::refuse_unfinished(&options.data_dir)?;
    let engine = Engine::open(&options)?;
    load(engine, options)
}

/// Makes what the disk holds into what memory holds.
pub(super) fn load(engine: Engine, options: StoreOptions) -> Result<(Core, LogEnd), OpenError> {
    let noted = Head::read(&options.data_dir)?;
    let identity = Identity::establish(&engine, &options, noted.map(|(store_id, _)| store_id))?;
    let organizations = Organizations::load(&engine)?;
    let mut manifest = Manifest::load(&engine)?;
    find_left_over_runs(&engine, &mut manifest)?;
    let floor = LogFloor::load(&engine)?;
    if floor.first() > LogSequence(1) && floor.first() > manifest.checkpoint {
        // An open replays from the checkpoint on, and needs the value there.
        return Err(missing(manifest.checkpoint).into());
    }
    let hasher = KeyHasher::new(&identity.hash_seed);
    let rollups = Rollups::new(&options);
    let series = SeriesSet::new(options.series);
    let mut live = Memtable::new(hasher, options.memtable_keys_max);
    let mut replay = Replay {
        engine: &engine,
        rollups: &rollups,
        series: &series,
        live: &mut live,
        included: &mut IncludedRows::new(),
    };
    // Two read what grows with the store, the other what came since the checkpoint, and none needs another.
    let (runs, counted, end) = thread::scope(|scope| {
        let loading = scope.spawn(|| load_runs(&engine, &manifest));
        let counting = scope.spawn(|| series.load(&engine));
        let end = replay_log(&mut replay, manifest.checkpoint);
        let runs = loading.join().unwrap_or_else(|panic| resume_unwind(panic));
        let counted = counting.join().unwrap_or_else(|panic| resume_unwind(panic));
        (runs, counted, end)
    });
    let (runs, end) = (runs?, end?);
    counted?;
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
    let chunks_indexed_after = manifest.chunks_indexed_after;
    let index = Index::new(&options, hasher, manifest, runs, live);
    let (state, retention) = (State::default(), Retention::new(floor));
    let core = Core {
        engine,
        options,
        identity,
        head,
        organizations,
        index,
        rollups,
        series,
        chunks_indexed_after,
        state,
        retention,
    };
    Ok((core, end))
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

/// Replays the log from `checkpoint`; answers where it ends.
fn replay_log(replay: &mut Replay<'_>, checkpoint: LogSequence) -> Result<LogEnd, StoreError> {
    let engine = replay.engine;
    let (mut chain, last_stored_time) = if checkpoint > LogSequence(0) {
        let value = read::value(engine, checkpoint)?;
        let (entry, previous) = LogEntry::decode_linked(checkpoint, &value)?;
        (Chain::after(checkpoint, &value, previous.is_some()), entry.stored_time())
    } else {
        (Chain::start(), Timestamp::UNIX_EPOCH)
    };
    let mut end =
        LogEnd { last: checkpoint, link: chain.link(), last_stored_time, asset_usages: 0 };
    replay.rollups.publish(Vec::new(), checkpoint)?;
    let first = LogSequence(checkpoint.0 + 1);
    for entry in engine.range(log_key(first)..=log_key(LogSequence(u64::MAX))) {
        let (key, value) = entry?;
        let expected = LogSequence(end.last.0 + 1);
        if log_sequence(&key) != Some(expected) {
            return Err(missing(expected));
        }
        let (entry, previous) = LogEntry::decode_linked(expected, &value)?;
        chain.follow(expected, &value, previous)?;
        let asset_usages = replay.entry(expected, &entry)?;
        end = LogEnd {
            last: expected,
            link: chain.link(),
            last_stored_time: entry.stored_time(),
            asset_usages: end.asset_usages + asset_usages,
        };
    }
    Ok(end)
}
