//! What must hold of the texts that the services hand out and take back, and of what they keep in documents and pages.

use super::{access, audit, usage_queries};
use crate::domain::fuzzing::Choices;

pub use super::page::fuzzing::tokens;

/// Documents and pages of rows read back as they were written, and whatever can be read says the same when it is written
/// again.
///
/// # Panics
/// If not.
pub fn documents(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(8) {
        0 => access::fuzzing::organization(&mut choices),
        1 => access::fuzzing::client(&mut choices),
        2 => audit::fuzzing::event(&mut choices),
        3 => usage_queries::fuzzing::job(&mut choices),
        4 => usage_queries::fuzzing::query(&mut choices),
        5 => usage_queries::rows::fuzzing::rows(&mut choices),
        6 => usage_queries::rows::fuzzing::page(&mut choices),
        _ => usage_queries::rows::fuzzing::record(&mut choices),
    }
}
