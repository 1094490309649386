//! Whatever can be read, written again.

use uuid::Uuid;

use super::{
    super::{
        LogEntry, VERSION, VERSION_WITHOUT_LINKS,
        api_events::ApiEvents,
        batch_part::{self, BatchPart},
        chain::Link,
        chunk::Chunk,
        log_nanos,
    },
    api_values, batch_of, chunk_of, chunks, records_of, sealed,
};
use crate::{
    domain::usage::LogSequence,
    store::{
        LINK_BYTES,
        sled::{codec, keyspace::log_key},
    },
};

/// Any bytes as the body of a value, of today and from before there were links.
pub(super) fn body(sequence: LogSequence, body: &[u8]) {
    let linked = codec::frame(body, VERSION, &log_key(sequence));
    let previous = LogEntry::decode_linked(sequence, &linked).map(|(_, previous)| previous);
    let link = body.first_chunk().copied().map(Link);
    assert!(previous.is_err() || previous.is_ok_and(|previous| previous == link));
    value(sequence, linked);
    let rest = body.get(LINK_BYTES..).unwrap_or_default();
    for body in [body, rest] {
        value(sequence, codec::frame(body, VERSION_WITHOUT_LINKS, &log_key(sequence)));
    }
}

fn value(sequence: LogSequence, value: Vec<u8>) {
    match LogEntry::decode(sequence, &value) {
        Ok(LogEntry::Records(chunk)) => chunk_again(&chunk, &value),
        Ok(LogEntry::BatchPart(part)) => part_again(part, &value),
        Ok(LogEntry::ApiEvents(events)) => events_again(&events),
        Err(error) => {
            let place = format!("log chunk {}: ", sequence.0);
            assert!(error.to_string().contains(&place), "{error}");
            // Texts of dimensions that are not wanted are not read; nothing else may differ.
            let _ = LogEntry::decode_only(sequence, &value, Uuid::nil());
        }
    }
}

fn chunk_again(chunk: &Chunk, value: &[u8]) {
    let records = records_of(chunk);
    let stored_nanos = log_nanos(chunk.stored_time).expect("a time of the log");
    let again = chunks(chunk.sequence, stored_nanos, &chunk.dimensions, &records);
    let again = sealed(again, Link::START);
    let read = again.iter().flat_map(|value| records_of(&chunk_of(value)));
    assert_eq!(read.collect::<Vec<_>>(), records);
    let wanted = chunk.records.iter().map(|record| record.uuid).take(4);
    for uuid in wanted.chain([Uuid::from_u128(7)]) {
        let only = LogEntry::decode_only(chunk.sequence, value, uuid);
        let only = only.expect("all of it can be read").expect("a chunk");
        let expected = records.iter().filter(|record| record.1 == uuid).cloned();
        assert_eq!(records_of(&only), expected.collect::<Vec<_>>());
        assert_eq!(only.stored_time, chunk.stored_time);
    }
}

fn part_again(part: BatchPart, value: &[u8]) {
    let BatchPart { sequence, stored_time, organization, client, batch, usages, .. } = part;
    assert_eq!(LogEntry::decode_only(sequence, value, Uuid::nil()).ok(), Some(None));
    let batch = batch_of(client, batch, usages);
    let again = batch_part::encode(&batch, organization, sequence, stored_time);
    let mut read = Vec::new();
    for (sequence, value) in sealed(again.expect("few parts"), Link::START) {
        let Ok(LogEntry::BatchPart(part)) = LogEntry::decode(sequence, &value) else {
            panic!("no part of a batch");
        };
        assert_eq!((&part.client, &part.batch), (&batch.caller.client, &batch.id));
        assert_eq!((part.organization, part.stored_time), (organization, stored_time));
        read.extend(part.usages);
    }
    assert_eq!(read, batch.usages);
}

fn events_again(events: &ApiEvents) {
    let stored_nanos = log_nanos(events.stored_time).expect("a time of the log");
    let mut read = Vec::new();
    for (sequence, value) in api_values(events.sequence, stored_nanos, &events.events) {
        let Ok(LogEntry::ApiEvents(found)) = LogEntry::decode(sequence, &value) else {
            panic!("no events");
        };
        read.extend(found.events);
    }
    assert_eq!(read, events.events);
}
