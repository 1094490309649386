//! Places in a log, and where one ends.

use uuid::Uuid;

use crate::domain::usage::LogSequence;

/// Bytes of a link of the log.
pub const LINK_BYTES: usize = 32;

/// A place in a log: after a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// The value's sequence; 0 before the first one.
    pub sequence: LogSequence,
    /// SHA-256 of the value, which holds that of the one before, and so on: the next value holds it. Zeros before the first
    /// one.
    pub link: [u8; LINK_BYTES],
}

/// Where a log ends or ended once, which stands for all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Whose log.
    pub store_id: Uuid,
    /// After its last value.
    pub position: LogPosition,
}
