//! Reading words of a vocabulary; what is wrong is collected.

use crate::service::FieldViolation;

/// Reads one word.
pub(super) fn word<T: Copy>(
    field: &str,
    text: &str,
    words: &[(&str, T)],
    violations: &mut Vec<FieldViolation>,
) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let description = format!("{text:?} is none of {}", known.join(", "));
        violations.push(FieldViolation::new(field, description));
    }
    found.map(|(_, meaning)| *meaning)
}

/// Reads some words, each at most once: what is said twice is said once.
pub(super) fn words<T: Copy + PartialEq>(
    field: &str,
    texts: &[String],
    words: &[(&str, T)],
    violations: &mut Vec<FieldViolation>,
) -> Vec<T> {
    let mut found = Vec::new();
    // Among so many some are said twice; no more are looked at.
    for (place, text) in texts.iter().enumerate().take(words.len() * 4) {
        let meaning = word(&format!("{field}[{place}]"), text, words, violations);
        if let Some(meaning) = meaning.filter(|meaning| !found.contains(meaning)) {
            found.push(meaning);
        }
    }
    if texts.len() > words.len() * 4 {
        let description = format!("has {} values, there are {}", texts.len(), words.len());
        violations.push(FieldViolation::new(field, description));
    }
    found
}
