//! The fuzz targets: what must hold of any bytes, whoever wrote them. `fuzz/` drives them with libFuzzer; the tests do so
//! with the corpora that it left and with random changes of them.
//!
//! Each layer says in its own `fuzzing` modules what must hold of it. They are in no release: only the tests and the
//! feature `fuzzing` have them.

#[cfg(test)]
mod tests;

use crate::{api, auth, cli, config, domain, service, store};

/// A target: its name, which is also that of its corpus, and what is tried with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 19] = [
    ("store_log", store::sled::fuzzing::log),
    ("store_index", store::sled::fuzzing::index),
    ("store_rows", store::sled::fuzzing::rows),
    ("store_entries", store::sled::fuzzing::entries),
    ("service_documents", service::fuzzing::documents),
    ("page_tokens", service::fuzzing::tokens),
    ("requests", api::fuzzing::requests),
    ("access_log", api::fuzzing::access_log),
    ("timestamps", api::fuzzing::timestamps),
    ("usage_dates", domain::fuzzing::usage_dates),
    ("intervals", domain::fuzzing::intervals),
    ("credentials", credentials),
    ("config_file", config::fuzzing::config_file),
    ("catalog_file", cli::fuzzing::catalog_file),
    ("backup", cli::fuzzing::backup),
    ("rest_path", api::fuzzing::paths),
    ("rest_query", api::fuzzing::queries),
    ("rest_json", api::fuzzing::bodies),
    ("rest_answer", api::fuzzing::answers),
];

/// Headers, tokens, keys, and requests for tokens.
fn credentials(input: &[u8]) {
    match input.split_first() {
        Some((first, rest)) if first.is_multiple_of(4) => api::fuzzing::token_requests(rest),
        Some((_, rest)) => auth::fuzzing::credentials(rest),
        None => {}
    }
}

/// Tries one input on the target of a name.
///
/// # Panics
/// If something does not hold, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, body)) = target else { panic!("there is no target {name:?}") };
    body(input);
}
