//! What the tests share.

pub mod usage;
