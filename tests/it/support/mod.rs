//! What the tests share.

pub mod authority;
pub mod backups;
pub mod blocking_store;
pub mod closed_store;
pub mod command;
pub mod disk;
pub mod gate;
pub mod http;
pub mod load;
pub mod process;
pub mod queries;
pub mod random;
pub mod server;
pub mod small_disk;
pub mod tenant;
pub mod tokens;
pub mod usage;
