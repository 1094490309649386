//! Variables that are not simply the twin of a flag.
#![expect(clippy::disallowed_methods, reason = "this is the module that others come to instead")]

use std::{env, ffi::OsString};

/// The variable that holds the static admin token. There is no flag for it: the arguments of a
/// process are there for everybody to read.
pub const ADMIN_TOKEN_VARIABLE: &str = "METERD_ADMIN_TOKEN";

/// The static admin token, if the environment holds one.
#[must_use]
pub fn admin_token() -> Option<String> {
    env::var(ADMIN_TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

/// The PostgreSQL that comparisons are made with. There is a flag, too; but a variable that is set must not stop a bench
/// that compares nothing.
#[must_use]
pub fn bench_postgres() -> Option<String> {
    env::var("METERD_BENCH_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// Whether the user asked for output without colour (<https://no-color.org>).
#[must_use]
pub fn no_color() -> bool {
    env::var("NO_COLOR").is_ok_and(|value| !value.is_empty())
}

/// The variables of this process that are settings of `meterd`.
#[must_use]
pub fn own_variables() -> Vec<OsString> {
    let is_own = |name: &OsString| name.to_string_lossy().starts_with("METERD_");
    env::vars_os().map(|(name, _)| name).filter(is_own).collect()
}
