//! Settings of the server: from flags, `METERD_…` variables, a TOML file and defaults, in that order.
//!
//! [`ServeOptions`] is the one list of them: clap reads flags and variables into it, serde reads the
//! file into it, and [`ServeOptions::or`] lays one over the other. What an option means, and what
//! holds when it is not set, is decided where it is used.

pub mod environment;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod options;
mod units;

pub use file::{ConfigError, read};
pub use options::ServeOptions;
pub use units::{ByteSize, ByteSizeOrPercent, HumanDuration, Switch, UnitError};
