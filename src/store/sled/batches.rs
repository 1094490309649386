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
    rollup::row::RowKey,
};
use crate::{
    domain::{
        asset_usage::{AssetBatch, StoredBatch},
        id::{BatchId, OrganizationId},
        quantity::Total,
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

/// Which batches of a group have an id that is free, and where their entries will be; `None` for the others.
pub(super) fn settle(
    core: &Core,
    batches: &[AssetBatch],
) -> Result<Vec<Option<FreeId>>, StoreError> {
    let mut of_this_group = HashSet::new();
    let settled = batches.iter().map(|batch| {
        let organization =
            core.organizations.number_or_add(&core.engine, &batch.caller.organization)?;
        let key = key(organization, &batch.id);
        let is_free = !of_this_group.contains(&key) && place(&core.engine, &key)?.is_none();
        Ok(is_free.then(|| {
            of_this_group.insert(key.clone());
            FreeId { organization, key }
        }))
    });
    settled.collect()
}

/// A batch's id that nothing is recorded under.
pub(super) struct FreeId {
    organization: OrganizationNumber,
    key: Vec<u8>,
}

/// What is to be written of those batches whose ids are free; their parts begin at sequence `next`.
pub(super) fn encode(
    batches: &[AssetBatch],
    settled: &[Option<FreeId>],
    mut next: LogSequence,
    stored_time: Timestamp,
) -> Result<NewEntries, StoreError> {
    let mut new = NewEntries::default();
    for (batch, free) in batches.iter().zip(settled) {
        let Some(FreeId { organization, key }) = free else { continue };
        let parts = batch_part::encode(batch, *organization, next, stored_time)?;
        let count = u16::try_from(parts.len())
            .map_err(|_| StoreError::Unrepresentable("a batch of more than 65,535 parts"))?;
        let place = BatchPlace { first: next, parts: count };
        next = LogSequence(next.0 + u64::from(count));
        for usage in &batch.usages {
            let (row, slot) = RowKey::of_asset_usage(*organization, &batch.caller.client, usage)?;
            new.deltas.push((row, slot, Total::of(usage.quantity)));
        }
        new.asset_usages += batch.usages.len();
        new.values.extend(parts);
        new.entries.push((key.clone(), place.encode(key)));
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
