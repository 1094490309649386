//! Listing records in the order of arrival.

use jiff::Timestamp;

use super::{
    id::OrganizationId,
    interval::HalfOpenInterval,
    totals::UsageFilter,
    usage::{LogSequence, StoredRecord},
};

/// A place in the log: just before one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordPosition {
    /// The log sequence.
    pub sequence: LogSequence,
    /// The record's place among those of that sequence, from 0.
    pub index: u32,
}

impl RecordPosition {
    /// Before everything.
    pub const START: Self = Self { sequence: LogSequence(0), index: 0 };
}

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordScan {
    /// Whose records.
    pub organization: OrganizationId,
    /// Which of them.
    pub filter: UsageFilter,
    /// Only usage of this time.
    pub usage_interval: Option<HalfOpenInterval>,
    /// Only records stored in this time.
    pub stored_interval: Option<HalfOpenInterval>,
    /// Where to go on.
    pub from: RecordPosition,
    /// Most records to return.
    pub records_max: usize,
}

impl RecordScan {
    /// Whether a record is wanted.
    #[must_use]
    pub fn matches(&self, stored: &StoredRecord) -> bool {
        stored.organization == self.organization
            && self.filter.matches(&stored.target, &stored.record.sku, &stored.client)
            && self.usage_interval.is_none_or(|wanted| wanted.contains(stored.record.usage_time))
            && self.stored_interval.is_none_or(|wanted| wanted.contains(stored.stored_time))
    }
}

/// How far the oldest records are gone. They still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppedThrough {
    /// The last sequence that is gone.
    pub sequence: LogSequence,
    /// When it was stored: nothing is missing that was stored later.
    pub stored_time: Timestamp,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordPage {
    /// The records, in log order. There may be fewer than asked for, even none, though more
    /// follow: a store bounds how much of the log it reads for one page.
    pub records: Vec<StoredRecord>,
    /// Where the next page begins; `None` at the end of the log.
    pub next: Option<RecordPosition>,
    /// The last of those that are no longer kept, if any was dropped: of all organizations, and so for none of them to see.
    pub dropped: Option<DroppedThrough>,
    /// Records stored before this may be gone, and none that was stored later; `None` if all are kept.
    pub kept_from: Option<Timestamp>,
}
