//! The log: every accepted record, in the order of arrival. It is the truth; the uuid index and the
//! totals are derived from it and can be recounted.

pub(super) mod chunk;
pub(super) mod read;
