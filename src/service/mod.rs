//! The use cases: what meterd does for its callers, in terms of the domain. Knows nothing of the wire.

pub mod acceptance;
pub mod access;
pub mod access_log;
pub mod api_usage;
mod arguments;
mod as_of;
pub mod assets;
pub mod audit;
pub mod backups;
pub mod catalogs;
pub mod clock;
pub mod committer;
pub mod disk_reserve;
mod error;
pub mod execution;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod organization_locks;
mod page;
pub mod product_usage;
pub mod rate_limiter;
pub mod reports;
pub mod retention;
mod sealing;
pub mod store_reads;
#[cfg(test)]
mod testing;
pub mod usage_batches;
pub mod usage_queries;

pub(crate) use error::shortened;
pub use error::{FieldViolation, FirstBatch, ServiceError};
pub use page::{Page, PageRequest};
