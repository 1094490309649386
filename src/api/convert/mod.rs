//! Between what the protos generate and what the use cases take and give.

pub(super) mod access;
pub(super) mod access_log;
pub(super) mod api_usage;
pub(crate) mod backup;
pub(super) mod catalog;
pub(super) mod product_usage;
pub(super) mod report;
pub(crate) mod time;
pub(super) mod usage_batch;
pub(super) mod usage_query;
