//! Reading the log: one record, or records in order.

use std::collections::HashMap;

use jiff::Timestamp;
use sled::IVec;
use uuid::Uuid;

use super::{
    LogEntry,
    chunk::{Chunk, ChunkRecord},
};
use crate::{
    domain::{
        api_usage::{ApiEvent, StoredApiEvent},
        id::OrganizationId,
        record_scan::{RecordPage, RecordPosition, RecordScan},
        usage::{LogSequence, StoredRecord, UsageRecord},
    },
    store::{
        StoreError,
        sled::{core::Core, engine::Engine, keyspace::log_key, organizations::OrganizationNumber},
    },
};

/// Bytes of the log that one page of a listing may read; some 100,000 records.
const PAGE_BYTES_MAX: usize = 3 << 20;
/// What reading any value costs at least, as bytes: a value may be as small as a lone event.
const VALUE_BYTES_MIN: usize = 256;

/// Reads one value.
pub(in crate::store::sled) fn entry(
    engine: &Engine,
    sequence: LogSequence,
) -> Result<LogEntry, StoreError> {
    LogEntry::decode(sequence, &value(engine, sequence)?)
}

/// The bytes of one value.
pub(in crate::store::sled) fn value(
    engine: &Engine,
    sequence: LogSequence,
) -> Result<IVec, StoreError> {
    engine.get(&log_key(sequence))?.ok_or_else(|| missing(sequence))
}

/// There is nothing at a sequence that the log has passed.
pub(in crate::store::sled) fn missing(sequence: LogSequence) -> StoreError {
    StoreError::Damaged(format!("log chunk {}: is missing", sequence.0).into())
}

/// The bytes of one value, unless it was dropped.
pub(in crate::store::sled) fn kept(core: &Core, sequence: LogSequence) -> Result<IVec, StoreError> {
    let found = core.engine.get(&log_key(sequence))?;
    // Afterwards: whatever is dropped is said to be before it is.
    found.ok_or_else(|| match core.retention.floor().has_dropped(sequence) {
        true => StoreError::Dropped(sequence),
        false => missing(sequence),
    })
}

/// The record of a uuid, known to stand in a certain chunk.
pub(in crate::store::sled) fn record_at(
    core: &Core,
    organization: OrganizationNumber,
    uuid: Uuid,
    sequence: LogSequence,
) -> Result<StoredRecord, StoreError> {
    let chunk = LogEntry::decode_only(sequence, &kept(core, sequence)?, uuid)?
        .ok_or(StoreError::NotAtSequence(sequence))?;
    for record in &chunk.records {
        if chunk.dimension(record)?.organization == organization {
            return stored(core, &chunk, record);
        }
    }
    Err(StoreError::NotAtSequence(sequence))
}

/// The events of uuids that are known to stand in certain values. What was reported together stands together, so the value
/// read last is kept.
pub(in crate::store::sled) fn events_at(
    core: &Core,
    organization: &OrganizationId,
    wanted: &[(Uuid, LogSequence)],
) -> Result<Vec<Option<StoredApiEvent>>, StoreError> {
    let number = core.organizations.number(organization);
    let mut last: Option<(LogSequence, Timestamp, HashMap<Uuid, ApiEvent>)> = None;
    let mut found = Vec::with_capacity(wanted.len());
    for (uuid, sequence) in wanted {
        if last.as_ref().is_none_or(|(at, ..)| at != sequence) {
            let value = match kept(core, *sequence) {
                Err(StoreError::Dropped(_)) => {
                    found.push(None);
                    continue;
                }
                value => value?,
            };
            let LogEntry::ApiEvents(value) = LogEntry::decode(*sequence, &value)? else {
                return Err(StoreError::NotAtSequence(*sequence));
            };
            let events = value.events.into_iter().filter(|(of, _)| Some(*of) == number);
            let by_uuid = events.map(|(_, event)| (event.uuid, event)).collect();
            last = Some((*sequence, value.stored_time, by_uuid));
        }
        let stored = last.as_ref().and_then(|(sequence, stored_time, events)| {
            let event = events.get(uuid)?.clone();
            Some(StoredApiEvent { event, stored_time: *stored_time, sequence: *sequence })
        });
        found.push(Some(stored.ok_or(StoreError::NotAtSequence(*sequence))?));
    }
    Ok(found)
}

fn stored(core: &Core, chunk: &Chunk, record: &ChunkRecord) -> Result<StoredRecord, StoreError> {
    let dimension = chunk.dimension(record)?;
    let organization = core.organizations.name(dimension.organization).ok_or_else(|| {
        StoreError::Damaged(
            format!("log chunk {}: names an organization that does not exist", chunk.sequence.0)
                .into(),
        )
    })?;
    Ok(StoredRecord {
        organization,
        client: dimension.series.client.clone(),
        target: dimension.series.target.clone(),
        record: UsageRecord {
            uuid: record.uuid,
            sku: dimension.series.sku.clone(),
            quantity: record.quantity,
            usage_time: record.usage_time,
        },
        stored_time: chunk.stored_time,
        sequence: chunk.sequence,
    })
}

/// Lists records in log order, up to what was durable when the call began.
pub(in crate::store::sled) fn scan(
    core: &Core,
    scan: &RecordScan,
) -> Result<RecordPage, StoreError> {
    let Some(organization) = core.organizations.number(&scan.organization) else {
        return Ok(RecordPage::default());
    };
    let through = core.rollups.through();
    let mut page = read_page(core, scan, organization, through)?;
    // Afterwards: what was dropped meanwhile may be missing.
    page.dropped = core.retention.floor().dropped_through();
    Ok(page)
}

fn read_page(
    core: &Core,
    scan: &RecordScan,
    organization: OrganizationNumber,
    through: LogSequence,
) -> Result<RecordPage, StoreError> {
    let mut from = scan.from;
    if let Some(wanted) = scan.stored_interval {
        let first = first_stored_at(core, wanted.start(), from.sequence, through)?;
        from = from.max(RecordPosition { sequence: first, index: 0 });
    }
    let mut page = RecordPage::default();
    let chunks = core.engine.range(log_key(from.sequence)..=log_key(through));
    let mut read = 0;
    for found in chunks {
        let (key, value) = found?;
        let sequence = super::super::keyspace::log_sequence(&key).unwrap_or_default();
        let start = if sequence == from.sequence { from.index } else { 0 };
        if read > PAGE_BYTES_MAX {
            page.next = Some(RecordPosition { sequence, index: start });
            return Ok(page);
        }
        read += value.len().max(VALUE_BYTES_MIN);
        let entry = LogEntry::decode(sequence, &value)?;
        if scan.stored_interval.is_some_and(|wanted| entry.stored_time() >= wanted.end()) {
            return Ok(page);
        }
        let LogEntry::Records(chunk) = entry else { continue };
        if !may_hold_wanted(&chunk, scan, organization) {
            continue;
        }
        for (index, record) in (0_u32..).zip(&chunk.records).skip(start as usize) {
            if chunk.dimension(record)?.organization != organization {
                continue;
            }
            let stored = stored(core, &chunk, record)?;
            if !scan.matches(&stored) {
                continue;
            }
            if page.records.len() == scan.records_max {
                page.next = Some(RecordPosition { sequence, index });
                return Ok(page);
            }
            page.records.push(stored);
        }
    }
    Ok(page)
}

/// A cheap look at what the chunk says of itself, before its records are judged one by one.
fn may_hold_wanted(chunk: &Chunk, scan: &RecordScan, organization: OrganizationNumber) -> bool {
    let in_time = scan.usage_interval.is_none_or(|wanted| {
        chunk.earliest_usage < wanted.end() && wanted.start() <= chunk.latest_usage
    });
    in_time
        && chunk.dimensions.iter().any(|dimension| {
            let series = &dimension.series;
            dimension.organization == organization
                && scan.filter.matches(&series.target, &series.sku, &series.client)
        })
}

/// The first sequence from `low` that was stored at or after `instant`. Stored times never decrease
/// along the log, so this takes a handful of reads.
fn first_stored_at(
    core: &Core,
    instant: Timestamp,
    low: LogSequence,
    through: LogSequence,
) -> Result<LogSequence, StoreError> {
    let first = core.retention.floor().first();
    let (mut low, mut high) = (low.max(first).0, through.0 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let is_before = match kept(core, LogSequence(middle)) {
            // Meanwhile. Only what is older than all that is kept is dropped.
            Err(StoreError::Dropped(_)) => true,
            value => LogEntry::decode(LogSequence(middle), &value?)?.stored_time() < instant,
        };
        if is_before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(LogSequence(low))
}
