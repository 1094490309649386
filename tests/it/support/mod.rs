//! What the tests share.

pub mod blocking_store;
pub mod server;
pub mod usage;
