//! Reading what requests have in common; what is wrong is collected, to be told all at once.

use super::FieldViolation;
use crate::domain::{id::IdError, limits::FILTER_VALUES_MAX};

/// Adds a violation if a text has more than `chars_max` characters.
pub(super) fn check_length(
    violations: &mut Vec<FieldViolation>,
    field: impl Fn() -> String,
    text: &str,
    chars_max: usize,
) {
    // A text has at least as many bytes as characters, so most need no counting.
    if text.len() <= chars_max {
        return;
    }
    let chars = text.chars().count();
    if chars > chars_max {
        let description = format!("has {chars} characters, at most {chars_max} are allowed");
        violations.push(FieldViolation::new(field(), description));
    }
}

/// Reads the values of a filter: at most [`FILTER_VALUES_MAX`].
pub(super) fn ids<T>(
    field: String,
    texts: &[String],
    new: impl Fn(&str) -> Result<T, IdError>,
    violations: &mut Vec<FieldViolation>,
) -> Vec<T> {
    if texts.len() > FILTER_VALUES_MAX {
        let description =
            format!("has {} values, at most {FILTER_VALUES_MAX} are allowed", texts.len());
        violations.push(FieldViolation::new(field, description));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        match new(text) {
            Ok(id) => ids.push(id),
            Err(error) => {
                violations.push(FieldViolation::new(format!("{field}[{place}]"), error.to_string()))
            }
        }
    }
    ids
}
