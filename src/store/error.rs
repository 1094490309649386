//! What can go wrong in a store.

use std::sync::Arc;

use super::backup::BackupRefusal;
use crate::domain::{quantity::TotalOverflow, report::ReportError, usage::LogSequence};

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An earlier write failed. The store refuses writes until the process is restarted, because
    /// after a failed flush nobody can tell what the disk holds.
    #[error("the store refuses writes after a failure: {0}")]
    Failed(Arc<str>),
    /// The store is closing or closed.
    #[error("the store is closed")]
    Closed,
    /// Something stored does not read back as it was written.
    #[error("damaged data: {0}")]
    Damaged(Arc<str>),
    /// The disk, or the engine on it, failed.
    #[error("storage failed: {0}")]
    Engine(Arc<str>),
    /// A decision named a log sequence at which the record does not stand.
    #[error("no such record at log sequence {}", .0.0)]
    NotAtSequence(LogSequence),
    /// What stood at a log sequence was dropped, being older than records are kept. It still counts.
    #[error("what was stored at log sequence {} is no longer kept", .0.0)]
    Dropped(LogSequence),
    /// A value is outside what the store can represent.
    #[error("cannot be stored: {0}")]
    Unrepresentable(&'static str),
    /// Whoever visited totals wants no more of them.
    #[error("the visit was given up")]
    GivenUp,
    /// Nothing was stored: what is in memory has to be written out first. Another attempt, a moment later, may succeed.
    #[error("more was stored than could be written out yet")]
    Backlogged,
    /// Totals changed faster than they could be read as of one moment.
    #[error("totals changed faster than they could be read")]
    SnapshotTooOld,
    /// A backup cannot be made.
    #[error(transparent)]
    CannotBackUp(#[from] BackupRefusal),
    /// A total overflowed.
    #[error(transparent)]
    Overflow(#[from] TotalOverflow),
    /// The report that totals were read for cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
}
