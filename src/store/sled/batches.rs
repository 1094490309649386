//! Batches of asset usage: their index by id, deciding whether an id is new, and reading one back.
//!
//! An entry of the index is written in one step with the batch's parts in the log, so neither is ever there
//! without the other.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    codec::{self, Malformed, Reader},
    commit::NewEntries,
    core::Core,
    engine::Engine,
    keyspace::{KeySpace, push_part},
    log::{LogEntry, batch_part, read},
    organizations::OrganizationNumber,
    rollup::{row::RowKey, series::LockedSeries},
};
use crate::{
    domain::{
        asset_usage::{AssetBatch, BatchDecision, StoredBatch},
        id::{BatchId, OrganizationId},
        quantity::Total,
        series_limits::TooManySeries,
        usage::LogSequence,
    },
    store::StoreError,
};

pub(super) const VERSION: u8 = 1;

/// Where a batch stands in the log. Body, version 1: first:u64 | parts:u16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) first: LogSequence,
    pub(super) parts: u16,
}

impl BatchPlace {
    pub(super) fn last(self) -> LogSequence {
        LogSequence(self.first.0 + u64::from(self.parts).saturating_sub(1))
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        codec::open_frame(value, VERSION, key)
            .and_then(|body| {
                let mut reader = Reader::new(body);
                let place = Self { first: LogSequence(reader.u64()?), parts: reader.u16()? };
                reader.end()?;
                let ends = place.first.0.checked_add(u64::from(place.parts));
                if place.parts == 0 || ends.is_none() { Err(Malformed::Content) } else { Ok(place) }
            })
            .map_err(codec::damaged("index entry of a batch"))
    }

    pub(super) fn encode(self, key: &[u8]) -> Vec<u8> {
        let mut frame = codec::start_frame(10);
        frame.extend_from_slice(&self.first.0.to_le_bytes());
        frame.extend_from_slice(&self.parts.to_le_bytes());
        codec::finish_frame(&mut frame, VERSION, key);
        frame
    }
}

/// The key of a batch's entry.
pub(super) fn key(organization: OrganizationNumber, id: &BatchId) -> Vec<u8> {
    let mut key = KeySpace::UsageBatch.of_organization(organization);
    push_part(&mut key, id.as_str());
    key
}

/// Where a batch stands; `None` if its id is free.
pub(super) fn place(engine: &Engine, key: &[u8]) -> Result<Option<BatchPlace>, StoreError> {
    engine.get(key)?.map(|value| BatchPlace::decode(key, &value)).transpose()
}

/// Looks the ids of a group's batches up, and prepares their rows.
pub(super) fn look_up(core: &Core, batches: &[AssetBatch]) -> Result<Vec<LookedUp>, StoreError> {
    let look_up = |batch: &AssetBatch| {
        let organization =
            core.organizations.number_or_add(&core.engine, &batch.caller.organization)?;
        let key = key(organization, &batch.id);
        let is_free = place(&core.engine, &key)?.is_none();
        let client = &batch.caller.client;
        let row = |usage| RowKey::of_asset_usage(organization, client, usage);
        let rows = if is_free {
            batch.usages.iter().map(row).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(LookedUp { organization, key, is_free, rows })
    };
    batches.iter().map(look_up).collect()
}

/// A batch of a group before it is decided.
pub(super) struct LookedUp {
    organization: OrganizationNumber,
    key: Vec<u8>,
    /// Whether nothing is stored under its id.
    is_free: bool,
    /// The row and slot of each usage.
    rows: Vec<(RowKey, u8)>,
}

/// Decides a group's batches in their order: which ids are free, and which batches begin too many series.
pub(super) fn settle(looked_up: Vec<LookedUp>, series: &mut LockedSeries<'_>) -> Vec<Settled> {
    let mut of_this_group = HashSet::new();
    let settle = |LookedUp { organization, key, is_free, rows }| {
        if !is_free || of_this_group.contains(&key) {
            return Settled::Taken;
        }
        if let Err(refused) = admit(&rows, organization, series) {
            series.count_refused();
            return Settled::Refused(refused);
        }
        of_this_group.insert(key.clone());
        Settled::Free(FreeId { organization, key, rows })
    };
    looked_up.into_iter().map(settle).collect()
}

/// Adds the series of a batch, all or none.
fn admit(
    rows: &[(RowKey, u8)],
    organization: OrganizationNumber,
    series: &mut LockedSeries<'_>,
) -> Result<(), TooManySeries> {
    let mut distinct: Vec<&[u8]> = rows.iter().map(|(row, _)| row.series_bytes()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let keys = distinct.into_iter().map(|prefix| series.key(prefix.to_vec()));
    let new: Vec<_> = keys.filter(|key| !series.contains(organization, key)).collect();
    series.check(organization, new.len())?;
    for key in &new {
        series.add(organization, key);
    }
    Ok(())
}

/// A batch that is decided.
pub(super) enum Settled {
    Free(FreeId),
    Taken,
    Refused(TooManySeries),
}

impl Settled {
    pub(super) fn decision(&self) -> BatchDecision {
        match self {
            Self::Free(_) => BatchDecision::Recorded,
            Self::Taken => BatchDecision::Taken,
            Self::Refused(refused) => BatchDecision::Refused(*refused),
        }
    }
}

/// A batch's id that nothing is recorded under.
pub(super) struct FreeId {
    organization: OrganizationNumber,
    key: Vec<u8>,
    /// The row and slot of each usage.
    rows: Vec<(RowKey, u8)>,
}

/// What is to be written of those batches whose ids are free; their parts begin at sequence `next`.
pub(super) fn encode(
    batches: &[AssetBatch],
    settled: Vec<Settled>,
    mut next: LogSequence,
    stored_time: Timestamp,
) -> Result<NewEntries, StoreError> {
    let mut new = NewEntries::default();
    for (batch, settled) in batches.iter().zip(settled) {
        let Settled::Free(FreeId { organization, key, rows }) = settled else { continue };
        let parts = batch_part::encode(batch, organization, next, stored_time)?;
        let count = u16::try_from(parts.len())
            .map_err(|_| StoreError::Unrepresentable("a batch of more than 65,535 parts"))?;
        let place = BatchPlace { first: next, parts: count };
        next = LogSequence(next.0 + u64::from(count));
        let totals = batch.usages.iter().map(|usage| Total::of(usage.quantity));
        let deltas = rows.into_iter().zip(totals).map(|((row, slot), total)| (row, slot, total));
        new.deltas.extend(deltas);
        new.asset_usages += batch.usages.len();
        new.values.extend(parts);
        let entry = place.encode(&key);
        new.entries.push((key, entry));
    }
    Ok(new)
}

/// Reads the batch of an id, if it is durable.
pub(super) fn find(
    core: &Core,
    organization: &OrganizationId,
    id: &BatchId,
) -> Result<Option<StoredBatch>, StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(None) };
    // Read first: what is found afterwards at a later sequence may not be durable yet.
    let through = core.rollups.through();
    let Some(place) = place(&core.engine, &key(number, id))? else { return Ok(None) };
    if place.last() > through {
        return Ok(None);
    }
    let mut found: Option<StoredBatch> = None;
    for part in 0..place.parts {
        let sequence = LogSequence(place.first.0 + u64::from(part));
        let entry = LogEntry::decode(sequence, &read::kept(core, sequence)?)?;
        let LogEntry::BatchPart(stored) = entry else { return Err(not_there(sequence)) };
        if (&stored.batch, stored.organization, stored.part, stored.parts)
            != (id, number, part, place.parts)
        {
            return Err(not_there(sequence));
        }
        match &mut found {
            Some(batch) => batch.usages.extend(stored.usages),
            None => {
                found = Some(StoredBatch {
                    organization: organization.clone(),
                    client: stored.client,
                    id: stored.batch,
                    usages: stored.usages,
                    stored_time: stored.stored_time,
                    sequence: place.first,
                });
            }
        }
    }
    Ok(found)
}

fn not_there(sequence: LogSequence) -> StoreError {
    let what = format!("log chunk {}: holds something else than a batch's index says", sequence.0);
    StoreError::Damaged(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_beyond_the_end_of_the_log_is_refused() {
        let key = b"key";
        let place = |first, parts| BatchPlace { first: LogSequence(first), parts };
        let read = |place: BatchPlace| BatchPlace::decode(key, &place.encode(key)).ok();
        let last = place(u64::MAX - 3, 3);
        assert_eq!((read(last), last.last()), (Some(last), LogSequence(u64::MAX - 1)));
        assert_eq!(read(place(u64::MAX, 2)), None);
        assert_eq!(read(place(1, 0)), None);
    }
}
