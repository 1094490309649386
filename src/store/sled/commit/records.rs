//! Product usage of a group: deciding, and packing what is new.

// Seeded for this process as the standard one, with a faster hasher: that one took a fifth of a commit.
use hashbrown::HashMap;
use jiff::Timestamp;

use super::{NewEntries, Numbered};
use crate::{
    domain::{
        calendar::QuarterHour,
        quantity::Total,
        totals::Series,
        usage::{LogSequence, Submission, UsageRecord},
        verdict::{Decision, Original},
    },
    store::{
        StoreError,
        sled::{
            core::Core,
            index::{
                key::{HashedKey, UuidKey, UuidKind},
                memtable::Memtable,
            },
            log::{
                chunk::{ChunkWriter, Dimension},
                log_nanos,
            },
            organizations::OrganizationNumber,
            rollup::{chunk_index, row::RowKey},
        },
    },
};

/// The number of a submission's organization; `None` only for one that stores nothing.
pub(super) fn organization(
    core: &Core,
    submission: &Submission,
) -> Result<Option<OrganizationNumber>, StoreError> {
    if submission.validate_only {
        return Ok(core.organizations.number(&submission.caller.organization));
    }
    super::number_or_add(core, &submission.caller).map(Some)
}

/// What a group puts into the log and adds to the totals.
pub(super) struct Writing {
    chunks: ChunkWriter,
    dimensions: Numbered<Dimension>,
    gained: HashMap<(usize, QuarterHour), Total>,
    // How many records each chunk holds of which organization, in the order of the chunks.
    held: Vec<(LogSequence, OrganizationNumber, u64)>,
}

impl Writing {
    /// Begins with the value of sequence `first`.
    pub(super) fn new(first: LogSequence, stored_time: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            chunks: ChunkWriter::new(first, stored_time)?,
            dimensions: Numbered::new(),
            gained: HashMap::new(),
            held: Vec::new(),
        })
    }

    /// Decides the records of one submission. Cannot fail.
    pub(super) fn decide(
        &mut self,
        live: &mut Memtable,
        submission: &Submission,
        known: &[Option<LogSequence>],
        number: Option<OrganizationNumber>,
    ) -> Vec<Decision> {
        let stored = |sequence| Decision::Duplicate(Original::Stored(sequence));
        let key = |number, uuid| live.hashed(UuidKey::new(uuid, number, UuidKind::ProductUsage));
        let keys: Vec<HashedKey> = number
            .map(|number| {
                submission.records.iter().map(|record| key(number, record.uuid)).collect()
            })
            .unwrap_or_default();
        live.fetch(&keys);
        let mut seen = HashMap::new();
        let mut skus: Vec<(&UsageRecord, usize)> = Vec::new();
        submission
            .records
            .iter()
            .enumerate()
            .map(|(at, record)| {
                if let Some(sequence) = known.get(at).copied().flatten() {
                    return stored(sequence);
                }
                let key = keys.get(at).copied();
                let (Some(key), Some(number), false) = (key, number, submission.validate_only)
                else {
                    if let Some(sequence) = key.and_then(|key| live.get(key)) {
                        return stored(sequence);
                    }
                    return match seen.insert(record.uuid, at) {
                        Some(first) => {
                            seen.insert(record.uuid, first);
                            Decision::Duplicate(Original::InSubmission(first))
                        }
                        None => Decision::Accepted,
                    };
                };
                let sequence = self.chunks.next_sequence();
                if let Some(first) = live.insert_new(key, sequence) {
                    return stored(first);
                }
                // Few SKUs per submission: a short list beats hashing every record's dimension.
                let dimension = match skus.iter().find(|(same, _)| same.sku == record.sku) {
                    Some((_, dimension)) => *dimension,
                    None => {
                        let dimension = self.dimension(submission, number, record);
                        skus.push((record, dimension));
                        dimension
                    }
                };
                self.accept(sequence, dimension, record);
                Decision::Accepted
            })
            .collect()
    }

    fn dimension(
        &mut self,
        submission: &Submission,
        organization: OrganizationNumber,
        record: &UsageRecord,
    ) -> usize {
        let Submission { caller, target, .. } = submission;
        let (sku, client) = (&record.sku, &caller.client);
        let is_same = |Dimension { organization: other, series }: &Dimension| {
            (*other, &series.target, &series.sku, &series.client)
                == (organization, target, sku, client)
        };
        let make = || {
            let series =
                Series { target: target.clone(), sku: sku.clone(), client: client.clone() };
            Dimension { organization, series }
        };
        self.dimensions.number_of((organization, target, sku, client), is_same, make)
    }

    fn accept(&mut self, sequence: LogSequence, number: usize, record: &UsageRecord) {
        let Some(dimension) = self.dimensions.list.get(number) else { return };
        let organization = dimension.organization;
        let nanos = log_nanos(record.usage_time).expect("settle_all represented it before");
        self.chunks.push(number, dimension, record.uuid, record.quantity, nanos);
        let total = self.gained.entry((number, QuarterHour::of(record.usage_time))).or_default();
        total
            .add(Total::of(record.quantity))
            .expect("a group is far too small to overflow a total");
        // Nearly always the last one: records come by submission.
        let mut of_chunk = self.held.iter_mut().rev().take_while(|(at, ..)| *at == sequence);
        match of_chunk.find(|(_, of, _)| *of == organization) {
            Some((.., records)) => *records += 1,
            None => self.held.push((sequence, organization, 1)),
        }
    }

    /// What is to be written, and the sequence after it.
    pub(super) fn finish(self) -> Result<(NewEntries, LogSequence), StoreError> {
        let Self { chunks, dimensions, gained, held } = self;
        let (values, next) = chunks.finish();
        let mut new = NewEntries { values, ..NewEntries::default() };
        for ((number, quarter), total) in gained {
            let Some(dimension) = dimensions.list.get(number) else { continue };
            let (day, slot) = quarter.day_and_slot();
            let row = RowKey::new(dimension.organization, &dimension.series, day)?;
            new.deltas.push((row, slot, total));
        }
        for (sequence, organization, records) in held {
            new.deltas.push(chunk_index::addition(organization, sequence, records)?);
        }
        Ok((new, next))
    }
}
