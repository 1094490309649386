//! Looking the uuids of a report up, outside of the committer.

use super::{
    core::Core,
    index::{
        key::{UuidKey, UuidKind},
        snapshot::Glance,
    },
};
use crate::{
    domain::usage::LogSequence,
    store::{Probe, ProbeResult, Reported, StoreError},
};

fn keys<'a>(core: &Core, report: Reported<'a>) -> Option<impl Iterator<Item = UuidKey> + use<'a>> {
    // An organization that the store does not know has no uuids yet.
    let number = core.organizations.number(report.organization())?;
    let kind = match report {
        Reported::Records(_) => UuidKind::ProductUsage,
        Reported::Events(_) => UuidKind::ApiUsage,
    };
    Some(report.uuids().map(move |uuid| UuidKey::new(uuid, number, kind)))
}

/// Looks in memory only.
pub(super) fn probe(core: &Core, report: Reported<'_>) -> Probe {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(report.count());
    for (at, key) in keys(core, report).into_iter().flatten().enumerate() {
        match snapshot.glance(&core.index.hasher, &key) {
            Glance::Absent => {}
            Glance::At(sequence) => found.set(at, sequence),
            Glance::Maybe => return Probe::NeedsRead,
        }
    }
    Probe::Settled(ProbeResult { known: found.known, generation: snapshot.generation })
}

/// Looks on the disk where needed.
pub(super) fn settle(core: &Core, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(report.count());
    for (at, key) in keys(core, report).into_iter().flatten().enumerate() {
        if let Some(sequence) = snapshot.find(&core.engine, &core.index.hasher, &key)? {
            found.set(at, sequence);
        }
    }
    Ok(ProbeResult { known: found.known, generation: snapshot.generation })
}

/// Most reports have no duplicates, and then nothing is allocated.
struct Found {
    known: Vec<Option<LogSequence>>,
    records: usize,
}

impl Found {
    fn new(records: usize) -> Self {
        Self { known: Vec::new(), records }
    }

    fn set(&mut self, at: usize, sequence: LogSequence) {
        if self.known.is_empty() {
            self.known.resize(self.records, None);
        }
        if let Some(slot) = self.known.get_mut(at) {
            *slot = Some(sequence);
        }
    }
}
