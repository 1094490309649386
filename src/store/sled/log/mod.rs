//! The log: everything that was accepted, in the order of arrival. It is the truth; the uuid index, the index of
//! batches and the totals are derived from it and can be recounted.

pub(super) mod api_events;
pub(super) mod batch_part;
pub(super) mod chain;
pub(super) mod chunk;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod packer;
pub(super) mod read;
pub(super) mod scan;

use jiff::Timestamp;
use uuid::Uuid;

use self::{api_events::ApiEvents, batch_part::BatchPart, chain::Link, chunk::Chunk};
use super::{
    codec::{self, Malformed, Reader},
    keyspace::log_key,
};
use crate::{
    domain::usage::LogSequence,
    store::{LINK_BYTES, StoreError},
};

/// The body of a value is its kind and its content; of this version, the [`Link`] of the value before comes first.
const VERSION: u8 = 2;
/// Without the link. Still read.
const VERSION_WITHOUT_LINKS: u8 = 1;
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
        Self::decode_linked(sequence, value).map(|(entry, _)| entry)
    }

    /// Reads a value back, and what it says that it follows: `None` of a value from before there were links.
    pub(super) fn decode_linked(
        sequence: LogSequence,
        value: &[u8],
    ) -> Result<(Self, Option<Link>), StoreError> {
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
            let (mut reader, _) = open(sequence, value)?;
            if reader.u8()? != Kind::ProductUsage as u8 {
                return Ok(None);
            }
            Chunk::parse_only(sequence, &mut reader, uuid).map(Some)
        };
        parse().map_err(|error| malformed(sequence, error))
    }

    fn parse(sequence: LogSequence, value: &[u8]) -> Result<(Self, Option<Link>), Malformed> {
        let (mut reader, previous) = open(sequence, value)?;
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
        Ok((entry, previous))
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

/// Checks the frame of a value; what it says that it follows, if it is of a version that says so.
pub(super) fn previous_link(
    sequence: LogSequence,
    value: &[u8],
) -> Result<Option<Link>, StoreError> {
    open(sequence, value).map(|(_, previous)| previous).map_err(|error| malformed(sequence, error))
}

/// Checks the frame of a value, and reads up to its kind.
fn open(sequence: LogSequence, value: &[u8]) -> Result<(Reader<'_>, Option<Link>), Malformed> {
    let key = log_key(sequence);
    match codec::open_frame(value, VERSION, &key) {
        Ok(body) => {
            let mut reader = Reader::new(body);
            let previous = Link(reader.array()?);
            Ok((reader, Some(previous)))
        }
        Err(Malformed::Version(VERSION_WITHOUT_LINKS)) => {
            let body = codec::open_frame(value, VERSION_WITHOUT_LINKS, &key)?;
            Ok((Reader::new(body), None))
        }
        Err(error) => Err(error),
    }
}

/// A value of the log that lacks its link and its checksum.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    sequence: LogSequence,
    frame: Vec<u8>,
}

impl Draft {
    fn start(sequence: LogSequence, kind: Kind) -> Self {
        let mut frame = codec::start_frame(CHUNK_BYTES_MAX);
        frame.extend_from_slice(&Link::START.0);
        frame.push(kind as u8);
        Self { sequence, frame }
    }

    /// Where it will stand.
    pub(super) fn sequence(&self) -> LogSequence {
        self.sequence
    }

    /// The value as it is to be stored after the one of link `previous`, which becomes its own.
    pub(super) fn seal(self, previous: &mut Link) -> Vec<u8> {
        let Self { sequence, mut frame } = self;
        if let Some(link) = frame.get_mut(codec::FRAME_BYTES..codec::FRAME_BYTES + LINK_BYTES) {
            link.copy_from_slice(&previous.0);
        }
        codec::finish_frame(&mut frame, VERSION, &log_key(sequence));
        debug_assert!(frame.len() <= CHUNK_BYTES_MAX, "a chunk of {} bytes", frame.len());
        *previous = Link::of(sequence, &frame);
        frame
    }
}

fn malformed(sequence: LogSequence, error: Malformed) -> StoreError {
    StoreError::Damaged(format!("log chunk {}: {error}", sequence.0).into())
}

/// Every 64-bit number of nanoseconds is a timestamp of the supported range (years 1677 to 2262).
pub(super) fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default()
}

/// Nanoseconds since 1970 as the log keeps them.
pub(super) fn log_nanos(instant: Timestamp) -> Result<i64, StoreError> {
    i64::try_from(instant.as_nanosecond())
        .map_err(|_| StoreError::Unrepresentable("a time before 1678 or after 2261"))
}

#[cfg(test)]
fn sealed(drafts: Vec<Draft>) -> Vec<(LogSequence, Vec<u8>)> {
    let mut link = Link::START;
    drafts.into_iter().map(|draft| (draft.sequence(), draft.seal(&mut link))).collect()
}
