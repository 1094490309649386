//! What a backup holds, read while writes go on, and making a store of it again ([`restore`]).
//!
//! A full backup is the runs that the manifest names, the rows of totals, the state beside usage, and the log up to its
//! end *T*; an increment is the log from where the last backup ended to *T*, and the state again in whole.
//!
//! **Why a full one is consistent.** First the index is pinned, then the manifest is read: checkpoint *C* and runs *R*.
//! 1. The pages of *R* never change, and while the pin holds none is removed; whether it still held is looked at after the
//!    last one. They hold the uuids of all values up to *C*, and of no later ones.
//! 2. Rows are read one by one while the flusher replaces some. A row that has usage up to *C* was on the disk before the
//!    manifest said *C*, and rows are never removed, so it is read. Each is whole and says up to which sequence it is
//!    complete; none is complete beyond the log's durable end, which is at or before *T*, for *T* is read afterwards. So
//!    replaying *C*+1 to *T*, leaving out of each row what it includes, gives the totals at *T*: what every open does.
//! 3. *T* is read at the moment that the state is as of. The catalog that a value was judged by was written before it, and
//!    the usage that a query counted was durable before its rows, so neither refers to something that is missing.
//! 4. Numbers of organizations are given before anything refers to them, and never change: they are read last. Places of
//!    batches are written together with their parts, all up to *T* or all beyond, so those up to *T* are taken.
//!
//! Whoever takes the entries may be slow. Meanwhile dead runs stay on the disk, and nobody waits. If there come to be too many
//! of them, or it takes too long, the backup is given up rather than the disk.

mod pace;
pub(super) mod restore;
mod sections;

use std::time::{Duration, Instant};

use self::{
    pace::Pace,
    sections::{ROW_SPACES, RUN_SPACES},
};
use super::{
    batches::BatchPlace,
    core::Core,
    identity::store_uuid,
    index::{manifest::Manifest, run::damaged},
    keyspace::{KeySpace, log_key},
    log::{self, chain::Chain, read::missing},
};
use crate::{
    domain::usage::LogSequence,
    store::{
        LogHead, LogPosition, StoreError,
        backup::{BackupEnd, BackupRefusal, BackupRequest, BackupSection, BackupSink},
    },
};

/// How long the index may be pinned: meanwhile its dead runs stay on the disk, as many bytes as are merged.
const PINNED_MAX: Duration = Duration::from_hours(6);

/// Hands everything that was asked for to `sink`.
pub(super) fn back_up(
    core: &Core,
    request: &BackupRequest,
    sink: &mut BackupSink<'_>,
) -> Result<BackupEnd, StoreError> {
    // What is read first tells where the log begins, and what is read last is its values.
    let _whole = core.retention.pause();
    let mut backup = Backup { core, sink, pace: Pace::new(request.bytes_per_second_max) };
    let (mut chain, through) = match &request.after {
        None => {
            backup.index()?;
            let through = backup.state()?;
            backup.batch_places(through)?;
            (core.retention.floor().before, through)
        }
        Some(point) => {
            let chain = continued(core, point)?;
            (chain, backup.state()?)
        }
    };
    let after = position(&chain);
    backup.log(&mut chain, through)?;
    Ok(BackupEnd { store_id: store_uuid(&core.identity), after, through: position(&chain) })
}

/// Where an increment begins, if that is in the log.
fn continued(core: &Core, point: &LogHead) -> Result<Chain, StoreError> {
    if point.store_id != store_uuid(&core.identity) {
        return Err(BackupRefusal::OtherStore.into());
    }
    let sequence = point.position.sequence;
    // Beyond it, values may not be durable yet.
    let is_durable = sequence <= core.rollups.through();
    let value = if is_durable { core.engine.get(&log_key(sequence))? } else { None };
    let here = match value {
        Some(value) => {
            let is_linked = log::previous_link(sequence, &value)?.is_some();
            Some(Chain::after(sequence, &value, is_linked))
        }
        None => Some(core.retention.floor().before).filter(|chain| chain.last() == sequence),
    };
    here.filter(|chain| position(chain) == point.position)
        .ok_or_else(|| BackupRefusal::NotInLog.into())
}

struct Backup<'a, 'b> {
    core: &'a Core,
    sink: &'a mut BackupSink<'b>,
    pace: Pace,
}

impl Backup<'_, '_> {
    fn entry(
        &mut self,
        section: BackupSection,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        (self.sink)(section, key, value)?;
        self.pace.passed(key.len() + value.map_or(0, <[u8]>::len));
        Ok(())
    }

    /// The runs of a manifest and the rows of totals; the pin is let go of as soon as it is not needed.
    fn index(&mut self) -> Result<(), StoreError> {
        let core = self.core;
        let (pin, manifest) = core.index.pin();
        let pinned = Instant::now();
        let manifest = Manifest { dead: Vec::new(), ..manifest };
        let value = manifest.encode()?;
        self.entry(BackupSection::Index, &KeySpace::Manifest.only(), Some(&value))?;
        for run in &manifest.runs {
            let mut pages = 0;
            for space in RUN_SPACES {
                let parts = space.of_run(run.id, 0)..=space.of_run(run.id, u32::MAX);
                for entry in core.engine.range(parts) {
                    let (key, value) = entry?;
                    pages += u32::from(space == KeySpace::RunPage);
                    self.entry(BackupSection::Index, &key, Some(&value))?;
                    if pinned.elapsed() > PINNED_MAX || !pin.holds() {
                        return Err(BackupRefusal::TooSlow.into());
                    }
                }
            }
            // What is missing at the end of a run is not followed by an entry.
            if !pin.holds() {
                return Err(BackupRefusal::TooSlow.into());
            }
            if pages != run.pages {
                let what = format!("has {pages} pages, the manifest says {}", run.pages);
                return Err(damaged(run.id, &what));
            }
        }
        drop(pin);
        let floor = KeySpace::LogFloor.only();
        if let Some(value) = core.engine.get(&floor)? {
            self.entry(BackupSection::Index, &floor, Some(&value))?;
        }
        for space in ROW_SPACES {
            for entry in core.engine.prefix(&space.only()) {
                let (key, value) = entry?;
                self.entry(BackupSection::Index, &key, Some(&value))?;
            }
        }
        Ok(())
    }

    /// Everything beside usage; answers how far the log had come.
    fn state(&mut self) -> Result<LogSequence, StoreError> {
        let core = self.core;
        let format = KeySpace::Format.only();
        let identity = core.engine.get(&format)?;
        self.entry(BackupSection::State, &format, identity.as_deref())?;
        let mut visit =
            |key: &[u8], value: Option<&[u8]>| self.entry(BackupSection::State, key, value);
        let through = core.state.visit(&core.engine, &mut visit, || core.rollups.through())?;
        for entry in core.engine.prefix(&KeySpace::Organization.only()) {
            let (key, value) = entry?;
            self.entry(BackupSection::State, &key, Some(&value))?;
        }
        Ok(through)
    }

    /// Where the batches up to a sequence stand.
    fn batch_places(&mut self, through: LogSequence) -> Result<(), StoreError> {
        for entry in self.core.engine.prefix(&KeySpace::UsageBatch.only()) {
            let (key, value) = entry?;
            if BatchPlace::decode(&key, &value)?.last() <= through {
                self.entry(BackupSection::Index, &key, Some(&value))?;
            }
        }
        Ok(())
    }

    /// The values after a place, each of which must follow the one before.
    fn log(&mut self, chain: &mut Chain, through: LogSequence) -> Result<(), StoreError> {
        let first = LogSequence(chain.last().0 + 1);
        for entry in self.core.engine.range(log_key(first)..log_key(LogSequence(through.0 + 1))) {
            let (key, value) = entry?;
            let expected = LogSequence(chain.last().0 + 1);
            if *key != log_key(expected) {
                return Err(missing(expected));
            }
            chain.follow(expected, &value, log::previous_link(expected, &value)?)?;
            self.entry(BackupSection::Log, &key, Some(&value))?;
        }
        if chain.last() < through {
            return Err(missing(LogSequence(chain.last().0 + 1)));
        }
        Ok(())
    }
}

fn position(chain: &Chain) -> LogPosition {
    LogPosition { sequence: chain.last(), link: chain.link().0 }
}
