//! Totals by series and quarter hour, so that the cost of a report follows the number of buckets and
//! not of records.
//!
//! A row holds one series' totals of one period: of product usage the quarter hours of a UTC day, of asset usage the
//! days of a month, of API usage those days by class of statuses. Rows on disk are absolute; what came in since is
//! kept in memory as *layers* of deltas: the live one, and frozen ones on their way to the disk. Every
//! row carries the log sequence up to which it is complete, and every delta the sequence of its last
//! record, so a delta is added to a row exactly if the row does not include it yet. A checkpoint
//! therefore needs no atomicity across rows, and a crash in its middle does no harm.
//!
//! The chunk index is rows of the same kind.

pub(super) mod api_totals;
pub(super) mod asset_totals;
pub(super) mod checkpoint;
pub(super) mod chunk_index;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
pub(super) mod layer;
pub(super) mod product_totals;
pub(super) mod row;
mod scan;
pub(super) mod series;
pub(super) mod snapshot;
