//! Going along the log value by value.

use std::path::Path;

use uuid::Uuid;

use super::{VerifyReport, plain};
use crate::{
    domain::usage::LogSequence,
    store::{
        LogHead,
        sled::{
            engine::Engine,
            head::Head,
            keyspace::{KeySpace, log_sequence},
            log::{LogEntry, chain::Chain},
            options::{OpenError, StoreOptions},
            retention::LogFloor,
        },
    },
};

/// Reads the log of a store that cannot be opened because of `what`.
pub(super) fn alone(
    data_dir: &Path,
    what: &str,
    known: Option<&LogHead>,
) -> Result<VerifyReport, OpenError> {
    let noted = Head::read(data_dir)?;
    let engine = Engine::open(&StoreOptions::new(data_dir))?;
    let mut report = VerifyReport::default();
    let floor = LogFloor::load(&engine).unwrap_or_else(|error| {
        report.differ(plain(&error));
        LogFloor::default()
    });
    let mut walk = LogWalk::new(known, &floor, &mut report);
    if let Some((store_id, _)) = noted {
        walk.is_of(store_id, &mut report);
    }
    for entry in engine.prefix(&KeySpace::Log.only()) {
        let (key, value) = entry?;
        walk.step(&key, &value, &mut report);
    }
    walk.end(LogSequence(walk.last()), &mut report);
    report.unlinked_chunks = walk.unlinked();
    // What the walk found comes first, since it goes from the beginning.
    if !report.differences.iter().any(|difference| difference == what) {
        report.differ(what.to_owned());
    }
    Ok(report)
}

/// Goes along the log.
pub(super) struct LogWalk<'a> {
    /// Where the log begins.
    first: u64,
    expected: u64,
    chain: Chain,
    unlinked: u64,
    /// Where the log is known to have ended once.
    known: Option<&'a LogHead>,
}

impl<'a> LogWalk<'a> {
    /// Before the first value that is kept.
    pub(super) fn new(
        known: Option<&'a LogHead>,
        floor: &LogFloor,
        report: &mut VerifyReport,
    ) -> Self {
        report.dropped = floor.counts;
        let walk = Self {
            first: floor.first().0,
            chain: floor.before,
            unlinked: 0,
            known,
            expected: floor.first().0,
        };
        walk.compare_known(report);
        if let Some(known) = known
            && known.position.sequence < floor.before.last()
        {
            report.differ(format!(
                "the checkpoint was signed at chunk {}, the log begins at chunk {} since older records are not kept: it \
                 proves nothing any more",
                known.position.sequence.0, walk.first
            ));
        }
        walk
    }

    /// If this is where the log is known to have ended once, it must have been this log.
    fn compare_known(&self, report: &mut VerifyReport) {
        if let Some(known) = self.known
            && known.position.sequence == self.chain.last()
            && known.position.link != self.chain.link().0
        {
            report.differ(format!(
                "log chunk {}: is not the one that the checkpoint was signed for",
                known.position.sequence.0
            ));
        }
    }

    /// Compares the identity of the store with the one that is known.
    pub(super) fn is_of(&self, store_id: [u8; 16], report: &mut VerifyReport) {
        let store_id = Uuid::from_bytes(store_id);
        if let Some(known) = self.known
            && known.store_id != store_id
        {
            report.differ(format!(
                "the store is {store_id}, the checkpoint is of {}",
                known.store_id
            ));
        }
    }

    /// The last sequence so far.
    pub(super) fn last(&self) -> u64 {
        self.expected - 1
    }

    /// Values that did not say which one they follow.
    pub(super) fn unlinked(&self) -> u64 {
        self.unlinked
    }

    /// Checks the next value by itself and by the one before, and reads it.
    pub(super) fn step(
        &mut self,
        key: &[u8],
        value: &[u8],
        report: &mut VerifyReport,
    ) -> Option<LogEntry> {
        let sequence = log_sequence(key).unwrap_or_default();
        if sequence.0 < self.first {
            report.differ(format!("log chunk {}: is there, and was dropped", sequence.0));
            return None;
        }
        self.miss(sequence.0.saturating_sub(1), report);
        self.expected = sequence.0.saturating_add(1);
        report.log_chunks += 1;
        let decoded = LogEntry::decode_linked(sequence, value);
        let followed = match &decoded {
            Ok((_, previous)) => {
                self.unlinked += u64::from(previous.is_none());
                self.chain.follow(sequence, value, *previous)
            }
            Err(_) => {
                self.chain.pass(sequence, value);
                Ok(())
            }
        };
        if let Err(error) = followed {
            report.differ(plain(&error));
        }
        self.compare_known(report);
        decoded.map(|(entry, _)| entry).inspect_err(|error| report.differ(plain(error))).ok()
    }

    /// Misses whatever is not there up to `last`, and up to where the log is known to have been.
    pub(super) fn end(&mut self, last: LogSequence, report: &mut VerifyReport) {
        self.miss(last.0, report);
        if let Some(known) = self.known
            && known.position.sequence.0 > self.last()
        {
            report.differ(format!(
                "the log ends at chunk {}, the checkpoint was signed at chunk {}",
                self.last(),
                known.position.sequence.0
            ));
        }
    }

    fn miss(&mut self, last: u64, report: &mut VerifyReport) {
        match self.expected {
            first if first > last => return,
            first if first == last => report.differ(format!("log chunk {first}: is missing")),
            first => report.differ(format!("log chunks {first} to {last}: are missing")),
        }
        self.expected = last.saturating_add(1);
    }
}
