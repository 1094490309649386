//! Packing records into values of the log: those of one value share a small table of dimensions.
//!
//! A value is header, dimensions:u16 { … }, records:u16 { … }; what stands in each of them is its kind's affair.

use super::{CHUNK_BYTES_MAX, Draft, Kind, LINK_BYTES};
use crate::{domain::usage::LogSequence, store::sled::codec};

/// Bytes of a value beside its header, dimensions and records: frame, link, kind and two counts.
pub(super) const OVERHEAD_BYTES: usize = codec::FRAME_BYTES + LINK_BYTES + 1 + 2 + 2;

/// Builds one value after another.
pub(super) struct Packer {
    kind: Kind,
    sequence: LogSequence,
    dimension_bytes: Vec<u8>,
    // Group-wide dimension numbers in the order of their first use in this value.
    dimensions: Vec<usize>,
    record_bytes: Vec<u8>,
    records: u16,
    finished: Vec<Draft>,
}

impl Packer {
    /// Starts with the value of sequence `first`.
    pub(super) fn new(kind: Kind, first: LogSequence) -> Self {
        Self {
            kind,
            sequence: first,
            dimension_bytes: Vec::new(),
            dimensions: Vec::new(),
            record_bytes: Vec::new(),
            records: 0,
            finished: Vec::new(),
        }
    }

    /// The sequence of the value that is being built.
    pub(super) fn sequence(&self) -> LogSequence {
        self.sequence
    }

    /// Whether it holds no record.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether so many more bytes would be too many.
    pub(super) fn lacks_room(&self, bytes: usize) -> bool {
        let used = OVERHEAD_BYTES + self.dimension_bytes.len() + self.record_bytes.len();
        used + bytes > CHUNK_BYTES_MAX
    }

    /// The place of a dimension in this value's table; `encode` writes it if it is new there. `number` tells
    /// dimensions apart.
    pub(super) fn dimension(&mut self, number: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.dimensions.iter().position(|known| *known == number).unwrap_or_else(|| {
            encode(&mut self.dimension_bytes);
            self.dimensions.push(number);
            self.dimensions.len() - 1
        })
    }

    /// Appends a record.
    pub(super) fn record(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.record_bytes);
        self.records += 1;
    }

    /// Completes the value, and begins the next.
    pub(super) fn cut(&mut self, header: &[u8]) {
        let mut draft = Draft::start(self.sequence, self.kind);
        let frame = &mut draft.frame;
        frame.extend_from_slice(header);
        let dimensions = u16::try_from(self.dimensions.len()).unwrap_or(u16::MAX);
        frame.extend_from_slice(&dimensions.to_le_bytes());
        frame.append(&mut self.dimension_bytes);
        frame.extend_from_slice(&self.records.to_le_bytes());
        frame.append(&mut self.record_bytes);
        self.finished.push(draft);
        self.sequence = LogSequence(self.sequence.0 + 1);
        self.dimensions.clear();
        self.records = 0;
    }

    /// The finished values, in order, and the sequence after the last.
    pub(super) fn finished(self) -> (Vec<Draft>, LogSequence) {
        debug_assert!(self.records == 0, "the last value was cut");
        (self.finished, self.sequence)
    }
}
