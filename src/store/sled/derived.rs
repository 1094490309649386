//! What a value of the log puts into the uuid index, and adds to the totals and the chunk index. All are derived from the log
//! by these rules and no others: when it is replayed, recounted, or dropped.

use std::collections::BTreeMap;

use super::{
    index::key::{UuidKey, UuidKind},
    log::LogEntry,
    organizations::OrganizationNumber,
    rollup::{
        chunk_index,
        row::{RowKey, api_slot},
    },
};
use crate::{
    domain::{asset_usage::UsageDay, calendar::QuarterHour, quantity::Total, usage::LogSequence},
    store::StoreError,
};

/// The uuids of a value. Batches have an index of their own.
pub(super) fn uuids(entry: &LogEntry) -> Result<Vec<UuidKey>, StoreError> {
    match entry {
        LogEntry::Records(chunk) => {
            let key = |record| {
                let organization = chunk.dimension(record)?.organization;
                Ok(UuidKey::new(record.uuid, organization, UuidKind::ProductUsage))
            };
            chunk.records.iter().map(key).collect()
        }
        LogEntry::ApiEvents(value) => {
            let key = |(organization, event): &(_, crate::domain::api_usage::ApiEvent)| {
                UuidKey::new(event.uuid, *organization, UuidKind::ApiUsage)
            };
            Ok(value.events.iter().map(key).collect())
        }
        LogEntry::BatchPart(_) => Ok(Vec::new()),
    }
}

/// What a value adds to the totals: row, slot, and how much; a row and slot as often as it has usage. A chunk beyond
/// `chunks_indexed_after` also adds to the chunk index.
pub(super) fn additions(
    entry: &LogEntry,
    chunks_indexed_after: LogSequence,
) -> Result<Vec<(RowKey, u8, Total)>, StoreError> {
    match entry {
        LogEntry::Records(chunk) => {
            let mut added = Vec::new();
            let mut records: BTreeMap<OrganizationNumber, u64> = BTreeMap::new();
            for record in &chunk.records {
                let dimension = chunk.dimension(record)?;
                let (day, slot) = QuarterHour::of(record.usage_time).day_and_slot();
                let row = RowKey::new(dimension.organization, &dimension.series, day)?;
                added.push((row, slot, Total::of(record.quantity)));
                *records.entry(dimension.organization).or_default() += 1;
            }
            if chunk.sequence > chunks_indexed_after {
                for (organization, records) in records {
                    added.push(chunk_index::addition(organization, chunk.sequence, records)?);
                }
            }
            Ok(added)
        }
        LogEntry::ApiEvents(value) => {
            let added = value.events.iter().map(|(organization, event)| {
                let day = UsageDay::of_instant(event.time);
                let row = RowKey::of_api_usage(*organization, &event.series, day)?;
                Ok((row, api_slot(day, event.status.class()), Total::of(event.count)))
            });
            added.collect()
        }
        LogEntry::BatchPart(part) => {
            let added = part.usages.iter().map(|usage| {
                let (row, slot) = RowKey::of_asset_usage(part.organization, &part.client, usage)?;
                Ok((row, slot, Total::of(usage.quantity)))
            });
            added.collect()
        }
    }
}
