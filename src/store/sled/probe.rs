//! Looking the uuids of a submission up, outside of the committer.

use super::{
    core::Core,
    index::{
        key::{UuidKey, UuidKind},
        snapshot::Glance,
    },
};
use crate::{
    domain::usage::{LogSequence, Submission},
    store::{Probe, ProbeResult, StoreError},
};

fn keys<'a>(
    core: &Core,
    submission: &'a Submission,
) -> Option<impl Iterator<Item = UuidKey> + use<'a>> {
    // An organization that the store does not know has no uuids yet.
    let number = core.organizations.number(&submission.caller.organization)?;
    let uuids = submission.records.iter().map(|record| record.uuid);
    Some(uuids.map(move |uuid| UuidKey::new(uuid, number, UuidKind::ProductUsage)))
}

/// Looks in memory only.
pub(super) fn probe(core: &Core, submission: &Submission) -> Probe {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(submission.records.len());
    for (at, key) in keys(core, submission).into_iter().flatten().enumerate() {
        match snapshot.glance(&core.index.hasher, &key) {
            Glance::Absent => {}
            Glance::At(sequence) => found.set(at, sequence),
            Glance::Maybe => return Probe::NeedsRead,
        }
    }
    Probe::Settled(ProbeResult { known: found.known, generation: snapshot.generation })
}

/// Looks on the disk where needed.
pub(super) fn settle(core: &Core, submission: &Submission) -> Result<ProbeResult, StoreError> {
    let snapshot = core.index.snapshot.load();
    let mut found = Found::new(submission.records.len());
    for (at, key) in keys(core, submission).into_iter().flatten().enumerate() {
        if let Some(sequence) = snapshot.find(&core.engine, &core.index.hasher, &key)? {
            found.set(at, sequence);
        }
    }
    Ok(ProbeResult { known: found.known, generation: snapshot.generation })
}

/// Most submissions have no duplicates, and then nothing is allocated.
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
