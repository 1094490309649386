//! Looking the uuids of a report up, outside of the committer.

use super::{
    core::Core,
    index::key::{HashedKey, UuidKey, UuidKind},
};
use crate::{
    domain::usage::LogSequence,
    store::{Probe, ProbeResult, Reported, StoreError},
};

fn keys(core: &Core, report: Reported<'_>) -> Vec<HashedKey> {
    // An organization that the store does not know has no uuids yet.
    let Some(number) = core.organizations.number(report.organization()) else {
        return Vec::new();
    };
    let kind = match report {
        Reported::Records(_) => UuidKind::ProductUsage,
        Reported::Events(_) => UuidKind::ApiUsage,
    };
    let hasher = core.index.hasher;
    let mut keys = Vec::with_capacity(report.count());
    keys.extend(report.uuids().map(|uuid| hasher.hashed(UuidKey::new(uuid, number, kind))));
    keys
}

/// Looks in memory only.
pub(super) fn probe(core: &Core, report: Reported<'_>) -> Probe {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(report.count());
    if !snapshot.glance(&keys(core, report), |at, sequence| found.set(at, sequence)) {
        return Probe::NeedsRead;
    }
    Probe::Settled(ProbeResult { known: found.known, generation: snapshot.generation })
}

/// Looks on the disk where needed.
pub(super) fn settle(core: &Core, report: Reported<'_>) -> Result<ProbeResult, StoreError> {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(report.count());
    for (at, key) in keys(core, report).into_iter().enumerate() {
        if let Some(sequence) = snapshot.find(&core.engine, key)? {
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
