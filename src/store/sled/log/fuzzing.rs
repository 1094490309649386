//! Values of the log, made up and damaged.

mod again;

use uuid::Uuid;

use super::{
    Draft, LogEntry,
    api_events::{ApiDimension, ApiEventsWriter},
    batch_part,
    chain::{Chain, Link},
    chunk::{Chunk, ChunkWriter, Dimension},
    log_nanos, timestamp,
};
use crate::{
    domain::{
        api_usage::ApiEvent,
        asset_usage::{AssetBatch, AssetUsage},
        caller::Caller,
        fuzzing::{Choices, damaged, made_up},
        id::{BatchId, ClientId, OrganizationId},
        limits::BATCH_ID_CHARS_MAX,
        quantity::Quantity,
        usage::LogSequence,
    },
    store::{
        LINK_BYTES,
        sled::{
            codec::FRAME_BYTES,
            fuzzing::is_sealed,
            keyspace::{log_key, log_sequence},
            organizations::OrganizationNumber,
        },
    },
};

type Value = (LogSequence, Vec<u8>);
/// What a chunk says of a record.
type Record = (Dimension, Uuid, Quantity, i64);

/// Records, batches and events read back as they were written; a value that was changed is refused; and whatever can be
/// read says the same when it is written again.
///
/// # Panics
/// If not.
pub fn log(input: &[u8]) {
    let mut choices = Choices::new(input);
    let first = LogSequence(1 + (choices.number() >> 1));
    let values = match choices.pick(4) {
        0 => records(first, &mut choices),
        1 => batch(first, &mut choices),
        2 => events(first, &mut choices),
        _ => return again::body(first, choices.rest()),
    };
    for (sequence, value) in &values {
        let opens = |key: &[u8], value: &[u8]| {
            log_sequence(key).is_some_and(|sequence| LogEntry::decode(sequence, value).is_ok())
        };
        is_sealed(value, &log_key(*sequence), &mut choices, opens);
    }
    is_chained(&values);
    if let Some((sequence, value)) = values.first() {
        let body_bytes = value.get(FRAME_BYTES..).unwrap_or_default().to_vec();
        again::body(*sequence, &damaged(body_bytes, &mut choices));
    }
}

/// Makes values of drafts, after a value of link `previous`.
fn sealed(drafts: Vec<Draft>, mut previous: Link) -> Vec<Value> {
    drafts.into_iter().map(|draft| (draft.sequence(), draft.seal(&mut previous))).collect()
}

fn link_of((sequence, value): &Value) -> Link {
    let (_, previous) = LogEntry::decode_linked(*sequence, value).expect("a value");
    previous.expect("a value of today")
}

/// Values follow each other, and none follows another than the one before.
fn is_chained(values: &[Value]) {
    let Some((sequence, value)) = values.first() else { return };
    let mut chain = Chain::after(*sequence, value, true);
    for value in values.iter().skip(1) {
        assert!(chain.follow(value.0, &value.1, Some(link_of(value))).is_ok());
    }
    for two in values.windows(2) {
        let [(sequence, value), next] = two else { continue };
        let mut altered = value.clone();
        if let Some(last) = altered.last_mut() {
            *last ^= 1;
        }
        let mut chain = Chain::after(*sequence, &altered, true);
        assert!(chain.follow(next.0, &next.1, Some(link_of(next))).is_err());
    }
}

fn dimension(choices: &mut Choices<'_>) -> Dimension {
    let organization = OrganizationNumber(choices.number() as u32);
    Dimension { organization, series: made_up::series(choices) }
}

fn records(first: LogSequence, choices: &mut Choices<'_>) -> Vec<Value> {
    let stored_nanos = made_up::nanos(choices);
    let dimensions: Vec<Dimension> = (0..=choices.pick(8)).map(|_| dimension(choices)).collect();
    let count = if choices.once_in(8) { 400 } else { choices.pick(32) };
    let records: Vec<Record> = (0..count)
        .map(|_| {
            let dimension = dimensions.get(choices.pick(dimensions.len())).cloned();
            let dimension = dimension.expect("one of them");
            let usage_nanos = stored_nanos.saturating_add(made_up::nanos(choices));
            (dimension, made_up::uuid(choices), made_up::quantity(choices), usage_nanos)
        })
        .collect();
    let link = Link([choices.byte(); LINK_BYTES]);
    let values = sealed(chunks(first, stored_nanos, &dimensions, &records), link);
    let read: Vec<Chunk> = values.iter().map(chunk_of).collect();
    assert_eq!(read.iter().flat_map(records_of).collect::<Vec<_>>(), records);
    for (chunk, (sequence, value)) in read.iter().zip(&values) {
        assert_eq!(chunk.stored_time, timestamp(stored_nanos));
        let times = || chunk.records.iter().map(|record| record.usage_time);
        assert_eq!(times().min(), Some(chunk.earliest_usage));
        assert_eq!(times().max(), Some(chunk.latest_usage));
        let written = (*sequence, value.clone());
        let again = chunks(*sequence, stored_nanos, &chunk.dimensions, &records_of(chunk));
        assert_eq!(sealed(again, link_of(&written)), [written], "as it was");
    }
    values
}

/// Writes records whose dimensions are all in a list.
fn chunks(
    first: LogSequence,
    stored_nanos: i64,
    dimensions: &[Dimension],
    records: &[Record],
) -> Vec<Draft> {
    let mut writer = ChunkWriter::new(first, timestamp(stored_nanos)).expect("a time of the log");
    for (dimension, uuid, quantity, usage_nanos) in records {
        let number = dimensions.iter().position(|known| known == dimension).expect("in the list");
        writer.next_sequence();
        writer.push(number, dimension, *uuid, *quantity, *usage_nanos);
    }
    writer.finish().0
}

fn chunk_of((sequence, value): &Value) -> Chunk {
    match LogEntry::decode(*sequence, value) {
        Ok(LogEntry::Records(chunk)) => chunk,
        other => panic!("no chunk: {other:?}"),
    }
}

fn records_of(chunk: &Chunk) -> Vec<Record> {
    let records = chunk.records.iter().map(|record| {
        let dimension = chunk.dimension(record).expect("checked when it was read").clone();
        let usage_nanos = log_nanos(record.usage_time).expect("a time of the log");
        (dimension, record.uuid, record.quantity, usage_nanos)
    });
    records.collect()
}

fn batch(first: LogSequence, choices: &mut Choices<'_>) -> Vec<Value> {
    let number = OrganizationNumber(choices.number() as u32);
    let stored_time = made_up::instant(choices);
    let id = made_up::id(choices, BATCH_ID_CHARS_MAX, BatchId::new);
    let client = made_up::client(choices);
    let count = if choices.once_in(8) { 300 } else { choices.pick(32) };
    let usages: Vec<AssetUsage> = (0..count).map(|_| made_up::asset_usage(choices)).collect();
    let batch = batch_of(client.clone(), id.clone(), usages.clone());
    let drafts = batch_part::encode(&batch, number, first, stored_time).expect("few parts");
    let values = sealed(drafts, Link::START);
    let mut read = Vec::new();
    for (at, (sequence, value)) in values.iter().enumerate() {
        let Ok(LogEntry::BatchPart(part)) = LogEntry::decode(*sequence, value) else {
            panic!("no part of a batch");
        };
        assert_eq!((usize::from(part.part), usize::from(part.parts)), (at, values.len()));
        assert_eq!((part.organization, part.stored_time), (number, stored_time));
        assert_eq!((&part.client, &part.batch), (&client, &id));
        read.extend(part.usages);
    }
    assert_eq!(read, usages);
    values
}

fn batch_of(client: ClientId, id: BatchId, usages: Vec<AssetUsage>) -> AssetBatch {
    let organization = OrganizationId::new("o").expect("an identifier");
    AssetBatch { caller: Caller { organization, client }, id, usages }
}

fn events(first: LogSequence, choices: &mut Choices<'_>) -> Vec<Value> {
    let stored_nanos = made_up::nanos(choices);
    let dimensions: Vec<ApiDimension> = (0..=choices.pick(4))
        .map(|_| {
            let organization = OrganizationNumber(choices.number() as u32);
            ApiDimension { organization, series: made_up::api_series(choices) }
        })
        .collect();
    let count = if choices.once_in(8) { 300 } else { choices.pick(32) };
    let events: Vec<(OrganizationNumber, ApiEvent)> = (0..count)
        .map(|_| {
            let dimension = dimensions.get(choices.pick(dimensions.len())).expect("one of them");
            let event = ApiEvent {
                uuid: made_up::uuid(choices),
                series: dimension.series.clone(),
                status: made_up::status(choices),
                time: timestamp(stored_nanos.saturating_add(made_up::nanos(choices))),
                count: made_up::quantity(choices),
            };
            (dimension.organization, event)
        })
        .collect();
    let values = api_values(first, stored_nanos, &events);
    let mut read = Vec::new();
    for (sequence, value) in &values {
        let Ok(LogEntry::ApiEvents(found)) = LogEntry::decode(*sequence, value) else {
            panic!("no events");
        };
        assert_eq!(found.stored_time, timestamp(stored_nanos));
        read.extend(found.events);
    }
    assert_eq!(read, events);
    values
}

fn api_values(
    first: LogSequence,
    stored_nanos: i64,
    events: &[(OrganizationNumber, ApiEvent)],
) -> Vec<Value> {
    let mut writer =
        ApiEventsWriter::new(first, timestamp(stored_nanos)).expect("a time of the log");
    let mut known: Vec<ApiDimension> = Vec::new();
    for (organization, event) in events {
        let dimension = ApiDimension { organization: *organization, series: event.series.clone() };
        let number = known.iter().position(|known| *known == dimension).unwrap_or_else(|| {
            known.push(dimension.clone());
            known.len() - 1
        });
        writer.next_sequence();
        let nanos = log_nanos(event.time).expect("a time of the log");
        writer.push(number, &dimension, event, nanos);
    }
    sealed(writer.finish().0, Link::START)
}
