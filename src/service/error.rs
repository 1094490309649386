//! Why a use case was not carried out.
//!
//! Two audiences: what a caller did wrong is in the error for the caller to read, and `Display` is safe
//! to send. What went wrong in here is an internal text for the log
//! ([`ServiceError::internal_text`]), which never leaves the process.

use std::{sync::Arc, time::Duration};

use super::disk_reserve::BelowReserve;
use crate::{
    domain::{
        catalog::{CatalogRefusal, CatalogViolation},
        exceeded_limit::ExceededLimit,
        limits::ID_CHARS_MAX,
        report::ReportError,
        series_limits::TooManySeries,
    },
    store::StoreError,
};

/// Most characters of a violation's description. It travels in a header of limited size, and may quote
/// a text of the request that is not.
const DESCRIPTION_CHARS_MAX: usize = 256;

/// Most characters of a member's name: over REST, callers make them up.
const FIELD_CHARS_MAX: usize = 128;

/// Suggested to callers when the store has to write out first what it has in memory.
const BACKLOG_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One broken rule of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The member at fault, in the spelling of the proto, such as `usage_records[3].uuid`.
    pub field: String,
    /// What is wrong with it, with the limit.
    pub description: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        let description = shortened(description.into(), DESCRIPTION_CHARS_MAX);
        Self { field: shortened(field.into(), FIELD_CHARS_MAX), description }
    }
}

/// The beginning of a text that may quote as much of a request as its caller likes.
pub(crate) fn shortened(mut text: String, chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The batch that was recorded first under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstBatch {
    /// Whether it says the same, so that a caller that sends it again has nothing left to do.
    pub identical: bool,
    /// How many usages it has.
    pub usages: usize,
}

/// Why a use case was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The request breaks rules; all of them are named.
    #[error("the request has {} invalid fields", .0.len())]
    InvalidArgument(Vec<FieldViolation>),
    /// A batch that cannot be recorded: everything that is wrong with it.
    #[error(
        "the batch has {} invalid fields and {} assets that are not known", violations.len(), unknown_assets.len()
    )]
    InvalidBatch {
        /// Every broken rule.
        violations: Vec<FieldViolation>,
        /// Every asset that takes no usage, once, in the order of the request, as it was spelled.
        unknown_assets: Vec<String>,
    },
    /// A batch of this id was recorded before.
    #[error("a batch {id:?} was recorded before")]
    BatchRecorded {
        /// Its id.
        id: String,
        /// That one, unless it is no longer kept.
        first: Option<FirstBatch>,
    },
    /// What the request names does not exist in the caller's organization.
    #[error("there is no {resource} {name:?}")]
    NotFound {
        /// The kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// What the request names was stored and counts, but is no longer kept.
    #[error("the {resource} {name:?} is no longer kept")]
    NoLongerKept {
        /// The kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// There is one of that name already.
    #[error("there is a {resource} {name:?} already")]
    AlreadyExists {
        /// The kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// The caller may not do this, whatever its permissions; the text says why.
    #[error("{0}")]
    PermissionDenied(String),
    /// The state of things forbids it; the text says which.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The organization, or the server, would keep more than it may; every limit that would be exceeded is named.
    #[error("{}", exceeded_text(.0))]
    LimitExceeded(Vec<ExceededLimit>),
    /// Too much is waiting to be stored. Nothing of the request was.
    #[error("too many records are waiting to be stored")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many reads of the organization, or of the client, wait for their turn.
    #[error(
        "{queued_max} reads of this {whose} are waiting, the most that may (queued-reads-max); make fewer calls at a time, and try again later"
    )]
    TooManyReads {
        /// Whose limit it is: `organization` or `client`.
        whose: &'static str,
        /// The limit.
        queued_max: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The usage would begin more series than there may be. Nothing of the request was stored.
    #[error(transparent)]
    TooManySeries(#[from] TooManySeries),
    /// The organization makes changes faster than they are put on record. Nothing was changed.
    #[error("more than {changes_per_minute} changes a minute are not put on record")]
    TooManyChanges {
        /// Those that are.
        changes_per_minute: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// The organization, or the client, has too many usage queries.
    #[error("{what}")]
    TooManyQueries {
        /// How many of what.
        what: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Less of the disk is free than is reserved for usage, and this is something else.
    #[error(transparent)]
    BelowReserve(#[from] BelowReserve),
    /// Writes, or the disk, are not available. Whether the call took effect may not be known; sending
    /// it again is safe. Internal text.
    #[error("the service is not available at the moment")]
    Unavailable(Arc<str>),
    /// Stored data is damaged. Internal text.
    #[error("stored data is damaged")]
    DataLoss(Arc<str>),
    /// Something else failed. Internal text.
    #[error("internal failure")]
    Internal(Arc<str>),
}

impl ServiceError {
    /// A request with one broken rule.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidArgument(vec![FieldViolation::new(field, description)])
    }

    /// Something that the caller's organization does not have.
    pub(super) fn not_found(resource: &'static str, name: &str) -> Self {
        // Nothing has a longer name, so what is cut off cannot matter.
        Self::NotFound { resource, name: shortened(name.to_owned(), ID_CHARS_MAX) }
    }

    /// What the store says of one thing that is named.
    pub(super) fn of_one(error: StoreError, resource: &'static str, name: &str) -> Self {
        match error {
            StoreError::Dropped(_) => {
                Self::NoLongerKept { resource, name: shortened(name.to_owned(), ID_CHARS_MAX) }
            }
            other => other.into(),
        }
    }

    /// Something of that name is there already.
    pub(super) fn already_exists(resource: &'static str, name: &str) -> Self {
        Self::AlreadyExists { resource, name: name.to_owned() }
    }

    /// What happened, for the log alone.
    #[must_use]
    pub fn internal_text(&self) -> Option<&str> {
        match self {
            Self::Unavailable(text) | Self::DataLoss(text) | Self::Internal(text) => Some(text),
            Self::InvalidArgument(_)
            | Self::InvalidBatch { .. }
            | Self::BatchRecorded { .. }
            | Self::NotFound { .. }
            | Self::NoLongerKept { .. }
            | Self::AlreadyExists { .. }
            | Self::TooManySeries(_)
            | Self::TooManyChanges { .. }
            | Self::TooManyQueries { .. }
            | Self::TooManyReads { .. }
            | Self::BelowReserve(_)
            | Self::PermissionDenied(_)
            | Self::FailedPrecondition(_)
            | Self::LimitExceeded(_)
            | Self::Overloaded { .. } => None,
        }
    }
}

/// What limits would be exceeded, and what can be done.
fn exceeded_text(exceeded: &[ExceededLimit]) -> String {
    let counts = exceeded.iter().map(ExceededLimit::to_string).collect::<Vec<_>>().join("; ");
    format!("{counts}; delete some, or have the operator of the server raise the limit")
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(_) | StoreError::Closed | StoreError::Engine(_) => {
                Self::Unavailable(error.to_string().into())
            }
            // A sequence comes from the store's own index, honest totals cannot overflow, and whoever reads single
            // records tells those apart that are no longer kept.
            StoreError::Damaged(_)
            | StoreError::Dropped(_)
            | StoreError::NotAtSequence(_)
            | StoreError::Overflow(_)
            | StoreError::Report(ReportError::Overflow(_)) => {
                Self::DataLoss(error.to_string().into())
            }
            StoreError::Backlogged => Self::Overloaded { retry_after: BACKLOG_RETRY_AFTER },
            StoreError::SnapshotTooOld => Self::TooManyQueries {
                what: "the usage asked for changes faster than it can be read; ask for less of it at once".into(),
                retry_after: BACKLOG_RETRY_AFTER,
            },
            StoreError::Unrepresentable(_) | StoreError::GivenUp => {
                Self::Internal(error.to_string().into())
            }
            StoreError::CannotBackUp(refusal) => Self::FailedPrecondition(refusal.to_string()),
            StoreError::Report(ReportError::TooManyRows) => {
                Self::invalid("interval", error.to_string())
            }
        }
    }
}

impl From<CatalogRefusal> for ServiceError {
    fn from(refusal: CatalogRefusal) -> Self {
        let field = |violation: CatalogViolation| {
            FieldViolation::new(violation.field, violation.description)
        };
        match refusal {
            CatalogRefusal::Invalid(violations) => {
                Self::InvalidArgument(violations.into_iter().map(field).collect())
            }
            CatalogRefusal::TooLarge(exceeded) => Self::LimitExceeded(exceeded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{quantity::TotalOverflow, usage::LogSequence};

    #[test]
    fn what_the_store_says_stays_inside() {
        let secret = "/var/lib/data: io error 5";
        for error in [
            StoreError::Failed(secret.into()),
            StoreError::Damaged(secret.into()),
            StoreError::Engine(secret.into()),
        ] {
            let error = ServiceError::from(error);
            assert!(!error.to_string().contains("/var"), "{error}");
            assert!(error.internal_text().unwrap().contains(secret));
        }
    }

    #[test]
    fn every_store_error_has_its_place() {
        let damaged = [
            StoreError::NotAtSequence(LogSequence(7)),
            StoreError::Dropped(LogSequence(7)),
            StoreError::Overflow(TotalOverflow),
            StoreError::Report(ReportError::Overflow(TotalOverflow)),
        ];
        for error in damaged {
            assert!(matches!(error.into(), ServiceError::DataLoss(_)));
        }
        let of_one = |error| ServiceError::of_one(error, "thing", "x");
        assert!(matches!(
            of_one(StoreError::Dropped(LogSequence(7))),
            ServiceError::NoLongerKept { .. }
        ));
        assert!(matches!(of_one(StoreError::Closed), ServiceError::Unavailable(_)));
        assert!(matches!(StoreError::Closed.into(), ServiceError::Unavailable(_)));
        assert!(matches!(StoreError::Unrepresentable("x").into(), ServiceError::Internal(_)));
        let too_many = ServiceError::from(StoreError::Report(ReportError::TooManyRows));
        let ServiceError::InvalidArgument(violations) = too_many else {
            panic!("the caller can mend too many rows: {too_many:?}");
        };
        assert_eq!(violations[0].field, "interval");
    }

    #[test]
    fn what_a_caller_sends_does_not_make_answers_long() {
        let quoted = FieldViolation::new("interval", "ж".repeat(100_000)).description;
        assert_eq!(quoted.chars().count(), DESCRIPTION_CHARS_MAX + 1);
        let missing = ServiceError::not_found("product", &"p".repeat(100_000));
        assert!(missing.to_string().len() < 100, "{missing}");
    }
}
