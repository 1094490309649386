//! Reading single records and events of the log.

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
        record_scan::RecordPosition,
        usage::{LogSequence, StoredRecord, UsageRecord},
    },
    store::{
        StoreError,
        sled::{core::Core, engine::Engine, keyspace::log_key, organizations::OrganizationNumber},
    },
};

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

/// The place of the record of a uuid, known to stand in a certain chunk.
pub(in crate::store::sled) fn position_at(
    core: &Core,
    organization: OrganizationNumber,
    uuid: Uuid,
    sequence: LogSequence,
) -> Result<RecordPosition, StoreError> {
    let LogEntry::Records(chunk) = LogEntry::decode(sequence, &kept(core, sequence)?)? else {
        return Err(StoreError::NotAtSequence(sequence));
    };
    for (index, record) in (0..).zip(&chunk.records) {
        if record.uuid == uuid && chunk.dimension(record)?.organization == organization {
            return Ok(RecordPosition { sequence, index });
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

pub(super) fn stored(
    core: &Core,
    chunk: &Chunk,
    record: &ChunkRecord,
) -> Result<StoredRecord, StoreError> {
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
