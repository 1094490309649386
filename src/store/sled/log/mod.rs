//! The log: everything that was accepted, in the order of arrival. It is the truth; the uuid index, the index of
//! batches and the totals are derived from it and can be recounted.

pub(super) mod api_events;
pub(super) mod batch_part;
pub(super) mod chunk;
mod packer;
pub(super) mod read;

use jiff::Timestamp;
use uuid::Uuid;

use self::{api_events::ApiEvents, batch_part::BatchPart, chunk::Chunk};
use super::{
    codec::{self, Malformed, Reader},
    keyspace::log_key,
};
use crate::{domain::usage::LogSequence, store::StoreError};

const VERSION: u8 = 1;
/// Bytes of a value of the log, frame included.
const CHUNK_BYTES_MAX: usize = 6_400;

/// What a value of the log holds; its first byte. Part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    ProductUsage = 1,
    BatchPart = 2,
    ApiEvents = 3,
}

/// One value of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogEntry {
    /// Records of product usage.
    Records(Chunk),
    /// A batch of asset usage, or a part of one.
    BatchPart(BatchPart),
    /// Events of API usage.
    ApiEvents(ApiEvents),
}

impl LogEntry {
    /// Reads a value back.
    pub(super) fn decode(sequence: LogSequence, value: &[u8]) -> Result<Self, StoreError> {
        Self::parse(sequence, value).map_err(|error| malformed(sequence, error))
    }

    /// Reads of a chunk only the records of one uuid, of which there is one for each organization at most; `None` if
    /// the value is no chunk.
    pub(super) fn decode_only(
        sequence: LogSequence,
        value: &[u8],
        uuid: Uuid,
    ) -> Result<Option<Chunk>, StoreError> {
        let parse = || {
            let mut reader = Reader::new(codec::open_frame(value, VERSION, &log_key(sequence))?);
            if reader.u8()? != Kind::ProductUsage as u8 {
                return Ok(None);
            }
            Chunk::parse_only(sequence, &mut reader, uuid).map(Some)
        };
        parse().map_err(|error| malformed(sequence, error))
    }

    fn parse(sequence: LogSequence, value: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(codec::open_frame(value, VERSION, &log_key(sequence))?);
        let kind = reader.u8()?;
        let entry = if kind == Kind::ProductUsage as u8 {
            Self::Records(Chunk::parse(sequence, &mut reader)?)
        } else if kind == Kind::BatchPart as u8 {
            Self::BatchPart(BatchPart::parse(sequence, &mut reader)?)
        } else if kind == Kind::ApiEvents as u8 {
            Self::ApiEvents(ApiEvents::parse(sequence, &mut reader)?)
        } else {
            return Err(Malformed::Content);
        };
        reader.end()?;
        Ok(entry)
    }

    /// When it was stored; never decreases along the log.
    pub(super) fn stored_time(&self) -> Timestamp {
        match self {
            Self::Records(chunk) => chunk.stored_time,
            Self::BatchPart(part) => part.stored_time,
            Self::ApiEvents(events) => events.stored_time,
        }
    }
}

/// Begins a value of the log.
fn start(kind: Kind) -> Vec<u8> {
    let mut frame = codec::start_frame(CHUNK_BYTES_MAX);
    frame.push(kind as u8);
    frame
}

/// Completes a value of the log.
fn finish(frame: &mut [u8], sequence: LogSequence) {
    codec::finish_frame(frame, VERSION, &log_key(sequence));
    debug_assert!(frame.len() <= CHUNK_BYTES_MAX, "a chunk of {} bytes", frame.len());
}

fn malformed(sequence: LogSequence, error: Malformed) -> StoreError {
    StoreError::Damaged(format!("log chunk {}: {error}", sequence.0).into())
}

/// Every 64-bit number of nanoseconds is a timestamp of the supported range (years 1677 to 2262).
fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default()
}

/// Nanoseconds since 1970 as the log keeps them.
pub(super) fn log_nanos(instant: Timestamp) -> Result<i64, StoreError> {
    i64::try_from(instant.as_nanosecond())
        .map_err(|_| StoreError::Unrepresentable("a time before 1678 or after 2261"))
}
