//! The index in memory, and the hand-over between the committer and the background threads.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use super::{
    key::{KeyHasher, UuidKey},
    manifest::Manifest,
    memtable::Memtable,
    pacer::Pacer,
    run::{ENTRY_BYTES, Run, RunSummary},
    snapshot::IndexSnapshot,
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::{engine::Engine, options::StoreOptions, rollup::layer::FrozenLayers},
    },
};

/// Frozen memtables that may wait for the flusher before commits wait for it.
const FROZEN_MAX: usize = 2;
/// What writing out one key costs, as bytes. Besides its page that is its part of fences, filter, totals and the last sync:
/// with those left out, the debt would be paid while a third of the time is still to come.
const FLUSH_BYTES_PER_KEY: usize = ENTRY_BYTES * 3 / 2;
/// Merging may owe this many memtables' worth of bytes before it goes at full speed.
const TOLERATED_MERGE_MEMTABLES: u64 = 64;
/// The longest that one commit is held up so that memtables fill no faster than they are written out.
const BREATH_MAX: Duration = Duration::from_millis(100);
const BREATH_STEP: Duration = Duration::from_millis(1);
/// The longest that a commit waits until a memtable can be frozen. Then it is refused: its callers can do better than wait.
const FREEZE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often a waiting thread looks whether the store failed or closes.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// A full memtable with the totals of the same records: written out together.
#[derive(Debug)]
pub(in crate::store::sled) struct Frozen {
    pub(in crate::store::sled) memtable: Arc<Memtable>,
    pub(in crate::store::sled) layer: Arc<FrozenLayers>,
}

/// A run that no manifest names any more and whose pages are to be removed.
#[derive(Debug)]
pub(super) struct DeadRun {
    pub(super) id: u32,
    level: u32,
    /// Readers that took an older snapshot may still look into it.
    pub(super) readers: Weak<Run>,
}

/// What a merger is to do.
#[derive(Debug)]
pub(super) enum MergerWork {
    /// Make one run of these.
    Merge(Vec<Arc<Run>>),
    /// Remove what is left of this one.
    Remove(DeadRun),
}

#[derive(Debug, Default)]
struct Hands {
    to_flush: VecDeque<Arc<Frozen>>,
    dead: Vec<DeadRun>,
    /// While there are any, no more than `dead_runs_max` are kept.
    pins: usize,
    /// Counts how often pins were broken.
    broken_pins: u64,
    stopping: bool,
}

/// The level that removing a run of an earlier process counts as: small merges must not wait for it.
const LEFT_OVER_LEVEL: u32 = 1;

/// Keeps the pages of all runs, dead ones included, for as long as it lives, or until there are too many dead ones.
pub(in crate::store::sled) struct IndexPin<'a> {
    index: &'a Index,
    broken_before: u64,
}

impl IndexPin<'_> {
    /// Whether nothing was removed since it was made.
    pub(in crate::store::sled) fn holds(&self) -> bool {
        self.index.hands.lock().broken_pins == self.broken_before
    }
}

impl Drop for IndexPin<'_> {
    fn drop(&mut self) {
        let mut hands = self.index.hands.lock();
        // Those that were broken are no longer counted.
        if hands.broken_pins == self.broken_before {
            hands.pins -= 1;
        }
        drop(hands);
        self.index.changed.notify_all();
    }
}

/// The uuid index of an open store.
pub(in crate::store::sled) struct Index {
    pub(in crate::store::sled) hasher: KeyHasher,
    pub(in crate::store::sled) snapshot: ArcSwap<IndexSnapshot>,
    /// Looked into before the snapshot: keys move from here to there, never back.
    pub(in crate::store::sled) live: RwLock<Memtable>,
    pub(in crate::store::sled) flush_pacer: Pacer,
    pub(in crate::store::sled) merge_pacer: Pacer,
    manifest: Mutex<Manifest>,
    hands: Mutex<Hands>,
    changed: Condvar,
    memtable_keys_max: usize,
    merge_fan_in: usize,
    runs_max: usize,
    dead_runs_max: usize,
}

/// The bytes that the flusher owes for so many keys.
fn flush_debt(keys: usize) -> u64 {
    (keys * FLUSH_BYTES_PER_KEY) as u64
}

impl Index {
    pub(in crate::store::sled) fn new(
        options: &StoreOptions,
        hasher: KeyHasher,
        manifest: Manifest,
        runs: Vec<Arc<Run>>,
        live: Memtable,
    ) -> Self {
        let memtable_bytes = (options.memtable_keys_max * ENTRY_BYTES) as u64;
        let left_over = manifest.dead.iter().map(|id| DeadRun {
            id: *id,
            level: LEFT_OVER_LEVEL,
            readers: Weak::new(),
        });
        let index = Self {
            hasher,
            snapshot: ArcSwap::from_pointee(IndexSnapshot {
                generation: 1,
                frozen: Vec::new(),
                runs,
            }),
            live: RwLock::new(live),
            flush_pacer: Pacer::new(flush_debt(FROZEN_MAX * options.memtable_keys_max)),
            merge_pacer: Pacer::new(TOLERATED_MERGE_MEMTABLES * memtable_bytes),
            hands: Mutex::new(Hands { dead: left_over.collect(), ..Hands::default() }),
            manifest: Mutex::new(manifest),
            changed: Condvar::new(),
            memtable_keys_max: options.memtable_keys_max,
            merge_fan_in: options.merge_fan_in.max(2),
            runs_max: options.runs_max.max(options.merge_fan_in + 1),
            dead_runs_max: options.dead_runs_max,
        };
        index.recount_merge_debt();
        index
    }

    /// Whether the live memtable has no room left.
    pub(in crate::store::sled) fn is_full(&self) -> bool {
        self.live.read().len() >= self.memtable_keys_max
    }

    /// Looks everywhere.
    pub(in crate::store::sled) fn find(
        &self,
        engine: &Engine,
        key: &UuidKey,
    ) -> Result<Option<LogSequence>, StoreError> {
        let key = self.hasher.hashed(*key);
        if let Some(sequence) = self.live.read().get(key) {
            return Ok(Some(sequence));
        }
        self.snapshot.load().find(engine, key)
    }

    /// Holds a commit up for a moment where the live memtable fills faster than the frozen ones are written. Without that,
    /// commits would run at full speed until [`Self::freeze`] has to wait, and then all callers would wait together,
    /// for half a second.
    pub(in crate::store::sled) fn breathe(&self) {
        let room = flush_debt(FROZEN_MAX * self.memtable_keys_max);
        let live = flush_debt(self.live.read().len());
        // While it fills there is time to write the frozen ones without haste; when it is full there is none.
        self.flush_pacer.expect(live);
        let mut waited = Duration::ZERO;
        while live + self.flush_pacer.owed_bytes() > room && waited < BREATH_MAX {
            std::thread::sleep(BREATH_STEP);
            waited += BREATH_STEP;
        }
    }

    /// Waits until the background threads can take another memtable, then freezes the live one
    /// together with `freeze_layer`'s totals. Only the committer calls this, between commits: all of
    /// what it freezes is durable, so a run never gets ahead of the log.
    ///
    /// # Errors
    /// [`StoreError::Backlogged`] if the background threads are too far behind; nothing is frozen then.
    pub(in crate::store::sled) fn freeze(
        &self,
        engine: &Engine,
        freeze_layer: impl FnOnce() -> Arc<FrozenLayers>,
    ) -> Result<(), StoreError> {
        let mut hands = self.hands.lock();
        let mut steps_left = FREEZE_WAIT_MAX.as_millis() / WAIT_STEP.as_millis();
        while hands.to_flush.len() >= FROZEN_MAX || self.snapshot.load().runs.len() >= self.runs_max
        {
            engine.writable()?;
            if hands.stopping {
                return Err(StoreError::Closed);
            }
            if steps_left == 0 {
                return Err(StoreError::Backlogged);
            }
            if self.changed.wait_for(&mut hands, WAIT_STEP).timed_out() {
                steps_left -= 1;
            }
        }
        let mut live = self.live.write();
        let fresh = Memtable::new(self.hasher, self.memtable_keys_max);
        let memtable = Arc::new(std::mem::replace(&mut *live, fresh));
        let frozen = Arc::new(Frozen { memtable: Arc::clone(&memtable), layer: freeze_layer() });
        // While `live` is locked, so that a reader who finds it empty finds the new snapshot. In one
        // step: a run that is published at the same moment must not be lost from the snapshot, for
        // its uuids would be accepted again.
        self.snapshot.rcu(|snapshot| {
            let mut changed = IndexSnapshot::clone(snapshot);
            changed.generation += 1;
            changed.frozen.push(Arc::clone(&memtable));
            changed
        });
        drop(live);
        self.flush_pacer.owe(flush_debt(frozen.memtable.len()));
        hands.to_flush.push_back(frozen);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for a frozen memtable; `None` when the store closes or failed.
    pub(super) fn next_frozen(&self, engine: &Engine) -> Option<Arc<Frozen>> {
        let mut hands = self.hands.lock();
        loop {
            if hands.stopping || engine.writable().is_err() {
                return None;
            }
            if let Some(frozen) = hands.to_flush.front() {
                return Some(Arc::clone(frozen));
            }
            self.changed.wait_for(&mut hands, WAIT_STEP);
        }
    }

    /// Keeps everything that the manifest names from being removed, and says what that is.
    pub(in crate::store::sled) fn pin(&self) -> (IndexPin<'_>, Manifest) {
        // Before the manifest is read: a run that it names cannot have been picked for removal by then.
        let mut hands = self.hands.lock();
        hands.pins += 1;
        let pin = IndexPin { index: self, broken_before: hands.broken_pins };
        drop(hands);
        (pin, self.manifest.lock().clone())
    }

    /// Waits for a dead run of one of `levels` that may be removed, or for enough runs to merge, of which it picks the
    /// oldest; `None` when the store closes or failed.
    pub(super) fn next_work(
        &self,
        engine: &Engine,
        levels: impl Fn(u32) -> bool,
    ) -> Option<MergerWork> {
        let mut hands = self.hands.lock();
        loop {
            if hands.stopping || engine.writable().is_err() {
                return None;
            }
            if hands.pins > 0 && hands.dead.len() > self.dead_runs_max {
                tracing::warn!(dead = hands.dead.len(), "a backup reads the index too slowly");
                hands.pins = 0;
                hands.broken_pins += 1;
            }
            let removable = hands.dead.iter().position(|run| levels(run.level));
            if let Some(at) = removable.filter(|_| hands.pins == 0) {
                return Some(MergerWork::Remove(hands.dead.swap_remove(at)));
            }
            let snapshot = self.snapshot.load();
            let mut due: Vec<u32> = snapshot
                .runs
                .iter()
                .map(|run| run.summary.level)
                .filter(|level| levels(*level))
                .collect();
            due.sort_unstable();
            due.dedup();
            for level in due {
                let of_level = snapshot.runs.iter().filter(|run| run.summary.level == level);
                let oldest: Vec<Arc<Run>> = of_level.take(self.merge_fan_in).cloned().collect();
                if oldest.len() == self.merge_fan_in {
                    return Some(MergerWork::Merge(oldest));
                }
            }
            drop(snapshot);
            self.changed.wait_for(&mut hands, WAIT_STEP);
        }
    }

    /// Everything up to here is in the runs and in the stored totals.
    pub(in crate::store::sled) fn checkpoint(&self) -> LogSequence {
        self.manifest.lock().checkpoint
    }

    /// Whether there is something that the flusher still has to write, and with it a later checkpoint to come.
    pub(in crate::store::sled) fn has_frozen(&self) -> bool {
        !self.hands.lock().to_flush.is_empty()
    }

    /// Gives out a run id that no run has had.
    pub(super) fn new_run_id(&self) -> u32 {
        let mut manifest = self.manifest.lock();
        manifest.next_run += 1;
        manifest.next_run - 1
    }

    /// Publishes the run that a frozen memtable became, and the checkpoint that comes with it.
    pub(super) fn publish_flush(
        &self,
        engine: &Engine,
        frozen: &Arc<Frozen>,
        run: Option<Run>,
    ) -> Result<(), StoreError> {
        let manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.runs.extend(run.as_ref().map(|run| run.summary));
        next.checkpoint = frozen.layer.through;
        let run = run.map(Arc::new);
        self.replace(engine, manifest, next, |snapshot| {
            snapshot.frozen.retain(|memtable| !Arc::ptr_eq(memtable, &frozen.memtable));
            snapshot.runs.extend(run.clone());
        })?;
        let mut hands = self.hands.lock();
        hands.to_flush.pop_front();
        // What was written is not to the byte what was owed for it.
        let waiting = hands.to_flush.iter().map(|frozen| flush_debt(frozen.memtable.len()));
        self.flush_pacer.set_owed(waiting.sum());
        drop(hands);
        self.changed.notify_all();
        Ok(())
    }

    /// Publishes a merged run in the place of those that went into it.
    pub(super) fn publish_merge(
        &self,
        engine: &Engine,
        inputs: &[Arc<Run>],
        run: Run,
    ) -> Result<(), StoreError> {
        let merged = |id: u32| inputs.iter().any(|input| input.summary.id == id);
        let manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.runs.retain(|summary| !merged(summary.id));
        next.runs.push(run.summary);
        next.dead.extend(inputs.iter().map(|input| input.summary.id));
        let run = Arc::new(run);
        self.replace(engine, manifest, next, |snapshot| {
            snapshot.runs.retain(|run| !merged(run.summary.id));
            snapshot.runs.push(Arc::clone(&run));
        })?;
        let dead = inputs.iter().map(|input| DeadRun {
            id: input.summary.id,
            level: input.summary.level,
            readers: Arc::downgrade(input),
        });
        self.hands.lock().dead.extend(dead);
        self.changed.notify_all();
        Ok(())
    }

    /// Stores a manifest and then shows memory what it says. In this order: what memory shows must
    /// survive a crash.
    fn replace(
        &self,
        engine: &Engine,
        mut manifest: MutexGuard<'_, Manifest>,
        next: Manifest,
        change: impl Fn(&mut IndexSnapshot),
    ) -> Result<(), StoreError> {
        next.store(engine)?;
        debug_assert!(is_consistent(&next), "a run is live and dead, or twice in the manifest");
        *manifest = next;
        // The committer freezes concurrently, so the snapshot may move under us.
        self.snapshot.rcu(|snapshot| {
            let mut changed = IndexSnapshot::clone(snapshot);
            change(&mut changed);
            changed
        });
        drop(manifest);
        self.recount_merge_debt();
        Ok(())
    }

    /// Forgets a dead run whose pages are gone. The manifest on disk learns of it with its next
    /// change; until then an open removes nothing, once more.
    pub(super) fn buried(&self, run: u32) {
        self.manifest.lock().dead.retain(|dead| *dead != run);
    }

    fn recount_merge_debt(&self) {
        self.merge_pacer.set_owed(self.due_merge_bytes());
    }

    /// Bytes of the runs that are to be merged, those of a merge that is under way included to its end.
    fn due_merge_bytes(&self) -> u64 {
        let snapshot = self.snapshot.load();
        let levels = snapshot.runs.iter().map(|run| run.summary.level).max().unwrap_or(0);
        let of_level = |level| {
            snapshot.runs.iter().map(|run| &run.summary).filter(move |run| run.level == level)
        };
        (0..=levels)
            .filter(|level| of_level(*level).count() >= self.merge_fan_in)
            .flat_map(|level| of_level(level).take(self.merge_fan_in))
            .map(|run: &RunSummary| run.keys * ENTRY_BYTES as u64)
            .sum()
    }

    /// Whether the background threads have nothing to do.
    pub(in crate::store::sled) fn is_idle(&self) -> bool {
        let waiting = !self.hands.lock().to_flush.is_empty();
        let dead = !self.manifest.lock().dead.is_empty();
        // Not what the pacer says: that is paid before the last page of a merge is written.
        !waiting && !dead && self.due_merge_bytes() == 0
    }

    /// Whether the background threads should give up what they are doing.
    pub(super) fn is_stopping(&self) -> bool {
        self.hands.lock().stopping
    }

    /// Makes the background threads end soon.
    pub(in crate::store::sled) fn stop(&self) {
        self.hands.lock().stopping = true;
        self.flush_pacer.stop();
        self.merge_pacer.stop();
        self.changed.notify_all();
    }

    /// Keys in memory and in runs.
    pub(in crate::store::sled) fn keys(&self) -> u64 {
        let live = self.live.read().len() as u64;
        let snapshot = self.snapshot.load();
        let frozen: u64 = snapshot.frozen.iter().map(|memtable| memtable.len() as u64).sum();
        live + frozen + snapshot.runs.iter().map(|run| run.summary.keys).sum::<u64>()
    }

    /// Bytes of memory in use.
    pub(in crate::store::sled) fn bytes(&self) -> u64 {
        let live = self.live.read().bytes();
        let snapshot = self.snapshot.load();
        let frozen: u64 = snapshot.frozen.iter().map(|memtable| memtable.bytes()).sum();
        live + frozen + snapshot.runs.iter().map(|run| run.bytes()).sum::<u64>()
    }
}

fn is_consistent(manifest: &Manifest) -> bool {
    let mut ids: Vec<u32> =
        manifest.runs.iter().map(|run| run.id).chain(manifest.dead.iter().copied()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ids.len() == count && ids.iter().all(|id| *id < manifest.next_run)
}
