//! What usage *is*: identifiers, records, quantities, calendar buckets, the catalog and the
//! arithmetic of totals. Pure: no I/O, no clock, no randomness, no wire or storage types.

pub mod access;
pub mod api_usage;
pub mod asset;
pub mod asset_usage;
pub mod audit;
pub mod calendar;
pub mod caller;
pub mod catalog;
pub mod credential;
pub mod exceeded_limit;
pub mod format_character;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod id;
pub mod interval;
pub mod limits;
pub mod permission;
pub mod quantity;
pub mod record_scan;
pub mod report;
pub mod series_limits;
pub mod token_bucket;
pub mod totals;
pub mod usage;
pub mod usage_date;
pub mod verdict;
