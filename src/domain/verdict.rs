//! What becomes of a record.

use super::usage::LogSequence;

/// Why a record was not accepted. Numbers and meanings are the vendor's
/// (`RejectedUsageRecord.Reason` of Yandex Marketplace metering).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionReason {
    /// A record with that uuid was accepted before.
    Duplicate,
    /// The usage is older than the server accepts.
    Expired,
    /// The timestamp is missing, out of range or in the future.
    InvalidTimestamp,
    /// The SKU is empty, unknown, retired or not of that product.
    InvalidSkuId,
    /// The product or product instance is unknown or retired.
    InvalidProductId,
    /// The quantity is not greater than zero.
    InvalidQuantity,
    /// The uuid is not a UUID.
    InvalidId,
}

/// What the store decided about one record of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// New: stored, or (validate only) would be stored.
    Accepted,
    /// Its uuid is taken.
    Duplicate(Original),
}

/// Where the record stands that took a uuid first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original {
    /// In the log.
    Stored(LogSequence),
    /// Earlier in the same submission, by position; only with validate-only submissions, where
    /// nothing reaches the log.
    InSubmission(usize),
}
