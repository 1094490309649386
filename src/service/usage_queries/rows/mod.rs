//! The rows of a usage query: totals of API usage, grouped, sorted and cut into pages, in bounded memory.
//!
//! ```text
//! totals, in the order of the store
//!   → RowGrouper   one key per row, bytes that compare as the rows are to be ordered
//!   → Sorter       adds up what has one key; full buffers go to a temporary file and are merged
//!   → Sorter       only if counts take part in the order: a second time, by keys that hold them
//!   → PageWriter   pages, handed over as they fill
//! ```
//!
//! A row is its key and six counts: `PageRows` turns keys back into rows, so nothing else is stored. Keys
//! stand in pages that outlive the process; what `component.rs`, `key.rs`, `record.rs` and `page.rs` write
//! is a file format, and `page::VERSION` must change with it.
//!
//! Resident memory is about [`SpillOptions::memory_bytes`], twice that while one sorter hands over to the
//! other. The temporary file has no name and at most as many bytes as [`RUNS_MAX`](sorter::RUNS_MAX)
//! buffers and twice the rows of the result.

use std::io;

use crate::service::disk_reserve::BelowReserve;

mod buffer;
mod component;
mod counts;
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::service) mod fuzzing;
mod grouper;
mod key;
mod merge;
mod page;
mod plan;
mod record;
mod run;
mod sorter;
#[cfg(test)]
mod tests;

pub use counts::Metric;
pub(in crate::service) use grouper::RowGrouper;
pub(in crate::service) use key::Row;
pub(in crate::service) use page::PageRows;
pub(in crate::service) use plan::{Bucket, Column, Direction, RowPlan, SortField};
pub(in crate::service) use sorter::{SORT_MEMORY_BYTES_DEFAULT, SpillOptions};

/// Why there are no rows.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum RowsError {
    /// There are more rows than the plan allows.
    #[error("there are more than {rows_max} rows")]
    TooManyRows {
        /// Rows allowed.
        rows_max: u64,
    },
    /// The texts of a row do not fit a page. Identifiers and names within their limits always do.
    #[error("a row has {bytes} bytes of text, at most {bytes_max} are allowed")]
    RowTooLong {
        /// Bytes of its key.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// The temporary file cannot be made, written or read.
    #[error("the temporary file of a sort failed")]
    Spill(#[source] io::Error),
    /// Less of the disk is free than is reserved for usage, and the sort needs a file.
    #[error(transparent)]
    BelowReserve(#[from] BelowReserve),
    /// A page, or the temporary file, does not hold what was written; or the page belongs to another plan.
    #[error("a page of rows is damaged")]
    Damaged,
    /// The caller raised the flag.
    #[error("cancelled")]
    Cancelled,
}
