//! Merges runs of one level into one of the next, so that their number stays small for ever.

use std::{sync::Arc, time::Duration};

use super::{
    background::{DeadRun, MergerWork},
    key::UuidKey,
    run::{Page, Run, damaged},
    run_writer::RunWriter,
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        sled::{core::Core, engine::Engine, faults::FaultPoint, keyspace::KeySpace},
    },
};

/// Works on the runs of some levels until the store closes.
pub(in crate::store::sled) fn run(
    core: &Core,
    levels: impl Fn(u32) -> bool,
) -> Result<(), StoreError> {
    while let Some(work) = core.index.next_work(&core.engine, &levels) {
        match work {
            MergerWork::Merge(inputs) => merge(core, &inputs)?,
            MergerWork::Remove(dead) => bury(core, &dead)?,
        }
    }
    Ok(())
}

fn merge(core: &Core, inputs: &[Arc<Run>]) -> Result<(), StoreError> {
    let index = &core.index;
    let id = index.new_run_id();
    let keys = inputs.iter().map(|run| run.summary.keys).sum();
    let level = inputs.iter().map(|run| run.summary.level).max().unwrap_or(0) + 1;
    let mut writer = RunWriter::new(
        &core.engine,
        &index.merge_pacer,
        index.hasher,
        id,
        keys,
        core.options.filter_bits_per_key,
    );
    let mut cursors =
        inputs.iter().map(|run| Cursor::new(&core.engine, run)).collect::<Result<Vec<_>, _>>()?;
    // With a handful of inputs a linear search for the smallest beats a heap.
    while let Some(cursor) =
        cursors.iter_mut().filter(|cursor| cursor.head.is_some()).min_by_key(|cursor| cursor.head)
    {
        if let Some((key, sequence)) = cursor.advance(&core.engine)? {
            writer.push(key, sequence)?;
        }
    }
    let merged = writer.finish(level)?;
    // A key lost here would be accepted again one day.
    if merged.summary.keys != keys {
        return Err(damaged(id, &format_args!("merging {keys} keys gave {}", merged.summary.keys)));
    }
    index.publish_merge(&core.engine, inputs, merged)
}

/// Reads a run from its first key to its last.
struct Cursor {
    run: u32,
    pages: u32,
    next_page: u32,
    page: Option<Page>,
    index: usize,
    head: Option<(UuidKey, LogSequence)>,
}

impl Cursor {
    fn new(engine: &Engine, run: &Run) -> Result<Self, StoreError> {
        let mut cursor = Self {
            run: run.summary.id,
            pages: run.summary.pages,
            next_page: 0,
            page: None,
            index: 0,
            head: None,
        };
        cursor.advance(engine)?;
        Ok(cursor)
    }

    /// Takes the head and reads the one after it.
    fn advance(&mut self, engine: &Engine) -> Result<Option<(UuidKey, LogSequence)>, StoreError> {
        let taken = self.head.take();
        self.head = self.page.as_ref().and_then(|page| page.entry(self.index));
        if self.head.is_none() && self.next_page < self.pages {
            let page = Page::read(engine, self.run, self.next_page)?;
            self.next_page += 1;
            self.index = 0;
            self.head = page.entry(0);
            self.page = Some(page);
        }
        self.index += 1;
        Ok(taken)
    }
}

/// Removes the pages of a run that nobody refers to any more.
fn bury(core: &Core, dead: &DeadRun) -> Result<(), StoreError> {
    // Readers never hold a snapshot for long.
    while dead.readers.strong_count() > 0 {
        if core.index.is_stopping() {
            return Err(StoreError::Closed);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    remove_run(&core.engine, dead.id, |bytes| core.index.merge_pacer.wrote(bytes))?;
    core.index.buried(dead.id);
    Ok(())
}

/// Removes everything stored under a run's id.
fn remove_run(
    engine: &Engine,
    run: u32,
    mut wrote: impl FnMut(usize) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    engine.pass(FaultPoint::RunRemoval)?;
    for space in [KeySpace::RunPage, KeySpace::RunFences, KeySpace::RunFilter] {
        for entry in engine.range(space.of_run(run, 0)..=space.of_run(run, u32::MAX)) {
            let (key, _) = entry?;
            engine.unstage(&key)?;
            wrote(key.len())?;
        }
    }
    Ok(())
}
