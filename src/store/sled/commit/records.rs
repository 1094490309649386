//! Product usage of a group: deciding, and packing what is new.

// Seeded for this process as the standard one, with a faster hasher: that one took a fifth of a commit.
use hashbrown::HashMap;
use jiff::Timestamp;

use super::{
    NewEntries,
    dimensions::{Dimensions, Duplicates, Numbered},
};
use crate::{
    domain::{
        calendar::QuarterHour,
        quantity::Total,
        series_limits::TooManySeries,
        totals::Series,
        usage::{LogSequence, Submission, UsageRecord},
        verdict::{Decision, Original},
    },
    store::{
        ReportDecision, StoreError,
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
            rollup::{
                chunk_index,
                row::{RowKey, series_prefix},
                series::LockedSeries,
            },
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

/// Stands for an organization that has no number yet, and so no series. Numbers begin with 1.
const NO_ORGANIZATION: OrganizationNumber = OrganizationNumber(0);

/// What is known of the records of a submission, each in their order.
struct Asked<'a> {
    known: &'a [Option<LogSequence>],
    keys: &'a [HashedKey],
    dimensions: &'a [Option<usize>],
    organization: OrganizationNumber,
}

/// What a group puts into the log and adds to the totals.
pub(super) struct Writing {
    chunks: ChunkWriter,
    dimensions: Dimensions<Dimension>,
    gained: HashMap<(usize, QuarterHour), Total>,
    // How many records each chunk holds of which organization, in the order of the chunks.
    held: Vec<(LogSequence, OrganizationNumber, u64)>,
}

impl Writing {
    /// Begins with the value of sequence `first`.
    pub(super) fn new(first: LogSequence, stored_time: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            chunks: ChunkWriter::new(first, stored_time)?,
            dimensions: Dimensions::new(),
            gained: HashMap::new(),
            held: Vec::new(),
        })
    }

    /// Decides the records of one submission. Takes nothing of it in if it is refused.
    pub(super) fn decide(
        &mut self,
        live: &mut Memtable,
        series: &mut LockedSeries<'_>,
        submission: &Submission,
        known: &[Option<LogSequence>],
        number: Option<OrganizationNumber>,
    ) -> ReportDecision {
        let stored = |sequence| Decision::Duplicate(Original::Stored(sequence));
        let key = |number, uuid| live.hashed(UuidKey::new(uuid, number, UuidKind::ProductUsage));
        let keys: Vec<HashedKey> = number
            .map(|number| {
                submission.records.iter().map(|record| key(number, record.uuid)).collect()
            })
            .unwrap_or_default();
        live.fetch(&keys);
        let organization = number.unwrap_or(NO_ORGANIZATION);
        let dimensions = self.dimensions(series, submission, known, organization);
        let asked = Asked { known, keys: &keys, dimensions: &dimensions, organization };
        self.admit(live, series, submission, &asked)?;
        let mut seen = HashMap::new();
        let decided = submission
            .records
            .iter()
            .enumerate()
            .map(|(at, record)| {
                if let Some(sequence) = known.get(at).copied().flatten() {
                    return stored(sequence);
                }
                let key = keys.get(at).copied();
                let (Some(key), false) = (key, submission.validate_only) else {
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
                if let Some(dimension) = dimensions.get(at).copied().flatten() {
                    self.accept(sequence, dimension, record);
                }
                Decision::Accepted
            })
            .collect();
        Ok(decided)
    }

    /// The dimension of each record, but of those that are known to be duplicates.
    fn dimensions(
        &mut self,
        series: &LockedSeries<'_>,
        submission: &Submission,
        known: &[Option<LogSequence>],
        organization: OrganizationNumber,
    ) -> Vec<Option<usize>> {
        // Few SKUs per submission: a short list beats hashing every record's dimension.
        let mut skus: Vec<(&UsageRecord, usize)> = Vec::new();
        let dimensions = submission.records.iter().enumerate().map(|(at, record)| {
            if known.get(at).copied().flatten().is_some() {
                return None;
            }
            if let Some((_, dimension)) = skus.iter().find(|(same, _)| same.sku == record.sku) {
                return Some(*dimension);
            }
            let dimension = self.dimension(series, submission, organization, record);
            skus.push((record, dimension));
            Some(dimension)
        });
        dimensions.collect()
    }

    /// Adds the series that a submission begins, unless there would be too many.
    fn admit(
        &mut self,
        live: &Memtable,
        series: &mut LockedSeries<'_>,
        submission: &Submission,
        asked: &Asked<'_>,
    ) -> Result<(), TooManySeries> {
        let Asked { known, keys, dimensions, organization } = *asked;
        if dimensions.iter().flatten().all(|dimension| self.dimensions.is_counted(*dimension)) {
            return Ok(());
        }
        let mut duplicates = Duplicates::new(live, known);
        let records = submission.records.iter().enumerate().zip(dimensions);
        let new = records.filter_map(|((at, record), dimension)| {
            let is_duplicate = duplicates.contain(at, record.uuid, keys.get(at).copied());
            dimension.filter(|dimension| !is_duplicate && !self.dimensions.is_counted(*dimension))
        });
        let mut new: Vec<usize> = new.collect();
        new.sort_unstable();
        new.dedup();
        let admitted = if submission.validate_only {
            series.check(organization, new.len())
        } else {
            self.dimensions.admit(series, organization, &new)
        };
        admitted.inspect_err(|_| series.count_refused())
    }

    fn dimension(
        &mut self,
        series: &LockedSeries<'_>,
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
            let prefix = series_prefix(organization, &series);
            (Dimension { organization, series }, prefix)
        };
        let parts = (organization, target, sku, client);
        self.dimensions.number_of(parts, is_same, series, organization, make)
    }

    fn accept(&mut self, sequence: LogSequence, number: usize, record: &UsageRecord) {
        let Some(Numbered { dimension, .. }) = self.dimensions.get(number) else { return };
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
            let Some(Numbered { series, .. }) = dimensions.get(number) else { continue };
            let (day, slot) = quarter.day_and_slot();
            let row = RowKey::in_period(&series.prefix, day)?;
            new.deltas.push((row, slot, total));
        }
        for (sequence, organization, records) in held {
            new.deltas.push(chunk_index::addition(organization, sequence, records)?);
        }
        Ok((new, next))
    }
}
