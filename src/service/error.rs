//! Why a use case was not carried out.
//!
//! Two audiences: what a caller did wrong is in the error for the caller to read. What went wrong in
//! here is an internal text for the log, which never leaves the process.

use std::{sync::Arc, time::Duration};

use crate::{domain::catalog::CatalogViolation, store::StoreError};

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
        Self { field: field.into(), description: description.into() }
    }
}

/// Why a use case was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The request breaks rules; all of them are named.
    #[error("the request has {} invalid fields", .0.len())]
    InvalidArgument(Vec<FieldViolation>),
    /// What the request names does not exist in the caller's organization.
    #[error("there is no {resource} {name:?}")]
    NotFound {
        /// The kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// The state of things forbids it; the text says which.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Too much is waiting to be stored. Nothing of the request was.
    #[error("too many records are waiting to be stored")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Writes are refused. Internal text.
    #[error("writes are refused: {0}")]
    Unavailable(Arc<str>),
    /// Stored data is damaged. Internal text.
    #[error("stored data is damaged: {0}")]
    DataLoss(Arc<str>),
    /// Something else failed. Internal text.
    #[error("internal failure: {0}")]
    Internal(Arc<str>),
}

impl ServiceError {
    /// A request with one broken rule.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidArgument(vec![FieldViolation::new(field, description)])
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(_) | StoreError::Closed | StoreError::Engine(_) => {
                Self::Unavailable(error.to_string().into())
            }
            StoreError::Damaged(_) | StoreError::Overflow(_) => {
                Self::DataLoss(error.to_string().into())
            }
            StoreError::NotAtSequence(_) | StoreError::Unrepresentable(_) => {
                Self::Internal(error.to_string().into())
            }
            StoreError::Report(error) => Self::invalid("interval", error.to_string()),
        }
    }
}

impl From<Vec<CatalogViolation>> for ServiceError {
    fn from(violations: Vec<CatalogViolation>) -> Self {
        let violations = violations.into_iter();
        Self::InvalidArgument(
            violations
                .map(|CatalogViolation { field, description }| FieldViolation {
                    field,
                    description,
                })
                .collect(),
        )
    }
}
