//! What must hold of what strangers send: requests, entries of access logs, and what they say of themselves.

mod access_log;
mod requests;

pub use self::{access_log::access_log, requests::requests};
pub use super::rest::fuzzing::{answers, bodies, paths, queries, timestamps};

/// Requests at the token endpoint.
///
/// # Panics
/// If somebody is taken for somebody else.
pub fn token_requests(input: &[u8]) {
    super::oauth::fuzzing::token_requests(input);
}
