//! What a backup holds, read while writes go on, and making a store of it again ([`restore`]).
//!
//! A full backup is the runs that the manifest names, the rows of totals, the state beside usage, and the log up to its
//! end *T*; an increment is the log from where the last backup ended to *T*, and the state again in whole.
//!
//! **Why a full one is consistent.** First the index is pinned, then the manifest is read: checkpoint *C* and runs *R*.
//! 1. The pages of *R* never change, and while the pin is held none is removed. They hold the uuids of all values up to *C*,
//!    and of no later ones.
//! 2. Rows are read one by one while the flusher replaces some. A row that has usage up to *C* was on the disk before the
//!    manifest said *C*, and rows are never removed, so it is read. Each is whole and says up to which sequence it is
//!    complete; none is complete beyond the log's durable end, which is at or before *T*, for *T* is read afterwards. So
//!    replaying *C*+1 to *T*, leaving out of each row what it includes, gives the totals at *T*: what every open does.
//! 3. *T* is read at the moment that the state is as of. The catalog that a value was judged by was written before it, and
//!    the usage that a query counted was durable before its rows, so neither refers to something that is missing.
//! 4. Numbers of organizations are given before anything refers to them, and never change: they are read last. Places of
//!    batches are written together with their parts, all up to *T* or all beyond, so those up to *T* are taken.
//!
//! Whoever takes the entries may be slow. Meanwhile dead runs stay on the disk, and nobody waits.

mod pace;
pub(super) mod restore;

use std::time::{Duration, Instant};

use self::pace::Pace;
use super::{
    batches::BatchPlace,
    core::Core,
    identity::store_uuid,
    index::manifest::Manifest,
    keyspace::{KeySpace, log_key, log_sequence},
    log::{
        self,
        chain::{Chain, Link},
        read::missing,
    },
};
use crate::{
    domain::usage::LogSequence,
    store::{
        StoreError,
        backup::{
            BackupEnd, BackupPoint, BackupRefusal, BackupRequest, BackupSection, BackupSink,
            LogPosition,
        },
    },
};

/// How long the index may be pinned: meanwhile its dead runs stay on the disk, as many bytes as are merged.
const PINNED_MAX: Duration = Duration::from_hours(6);
/// Kinds of entries that hold a run.
const RUN_SPACES: [KeySpace; 3] = [KeySpace::RunPage, KeySpace::RunFences, KeySpace::RunFilter];
/// Kinds of entries that are rows of totals.
const ROW_SPACES: [KeySpace; 3] = [KeySpace::Rollup, KeySpace::AssetRollup, KeySpace::ApiRollup];

/// Hands everything that was asked for to `sink`.
pub(super) fn back_up(
    core: &Core,
    request: &BackupRequest,
    sink: &mut BackupSink<'_>,
) -> Result<BackupEnd, StoreError> {
    let mut backup = Backup { core, sink, pace: Pace::new(request.bytes_per_second_max) };
    let (after, through) = match &request.after {
        None => {
            backup.index()?;
            let through = backup.state()?;
            backup.batch_places(through)?;
            (backup.beginning(through)?, through)
        }
        Some(point) => {
            let after = continued(core, point)?;
            (after, backup.state()?)
        }
    };
    let through = backup.log(after, through)?;
    Ok(BackupEnd { store_id: store_uuid(&core.identity), after, through })
}

/// Where an increment begins, if that is in the log.
fn continued(core: &Core, point: &BackupPoint) -> Result<LogPosition, StoreError> {
    if point.store_id != store_uuid(&core.identity) {
        return Err(BackupRefusal::OtherStore.into());
    }
    let LogPosition { sequence, link } = point.position;
    // Beyond it, values may not be durable yet.
    let is_there = sequence <= core.rollups.through();
    let here = match sequence {
        LogSequence(0) => Some(Link::START),
        _ if !is_there => None,
        _ => core.engine.get(&log_key(sequence))?.map(|value| Link::of(sequence, &value)),
    };
    if here.is_some_and(|here| here.0 == link) {
        Ok(point.position)
    } else {
        Err(BackupRefusal::NotInLog.into())
    }
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
            for space in RUN_SPACES {
                let parts = space.of_run(run.id, 0)..=space.of_run(run.id, u32::MAX);
                for entry in core.engine.range(parts) {
                    let (key, value) = entry?;
                    self.entry(BackupSection::Index, &key, Some(&value))?;
                    if pinned.elapsed() > PINNED_MAX {
                        return Err(BackupRefusal::TooSlow.into());
                    }
                }
            }
        }
        drop(pin);
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

    /// Before the first value of the log.
    fn beginning(&self, through: LogSequence) -> Result<LogPosition, StoreError> {
        let mut values = self.core.engine.range(log_key(LogSequence(0))..=log_key(through));
        let Some((key, value)) = values.next().transpose()? else {
            return Ok(position(LogSequence(0), Link::START));
        };
        let first = log_sequence(&key).unwrap_or_default();
        let previous = log::previous_link(first, &value)?.unwrap_or(Link::START);
        Ok(position(LogSequence(first.0.saturating_sub(1)), previous))
    }

    /// The values after a place, each of which must follow the one before; answers where they end.
    fn log(&mut self, after: LogPosition, through: LogSequence) -> Result<LogPosition, StoreError> {
        let mut chain = Chain::at(after.sequence, Link(after.link));
        let first = LogSequence(after.sequence.0 + 1);
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
        Ok(position(chain.last(), chain.link()))
    }
}

fn position(sequence: LogSequence, link: Link) -> LogPosition {
    LogPosition { sequence, link: link.0 }
}
