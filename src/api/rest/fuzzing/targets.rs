//! The targets: any bytes, as what each of them takes.

use std::sync::LazyLock;

use http::Method;

use super::Subject;
use crate::domain::fuzzing::{Choices, text};

static SUBJECT: LazyLock<Subject> =
    LazyLock::new(|| Subject::new().expect("the rules that the server starts with"));

/// Method and path → route: the right one or none.
///
/// # Panics
/// If it is another.
pub fn paths(input: &[u8]) {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let mut choices = Choices::new(input);
    let method = methods.get(choices.pick(methods.len())).unwrap_or(&Method::GET);
    if let Some(path) = text(choices.rest()) {
        SUBJECT.path(method, path);
    }
}

/// Query → fields of a message, or names of what is wrong.
///
/// # Panics
/// If it is neither.
pub fn queries(input: &[u8]) {
    if let Some(query) = text(input) {
        SUBJECT.query(query);
    }
}

/// Body → message, and the same message again; quickly and otherwise.
///
/// # Panics
/// If they differ.
pub fn bodies(input: &[u8]) {
    SUBJECT.json(input);
}

/// The bytes of an answer → JSON, quickly and otherwise.
///
/// # Panics
/// If they differ.
pub fn answers(input: &[u8]) {
    SUBJECT.answer(input);
}

/// A time as text → an instant, quickly and otherwise, and as the instant's own library has it.
///
/// # Panics
/// If they differ.
pub fn timestamps(input: &[u8]) {
    let mut choices = Choices::new(input);
    if choices.once_in(2) {
        SUBJECT.timestamp(&super::times::made_up(&mut choices));
    } else if let Some(time) = text(choices.rest()) {
        SUBJECT.timestamp(time);
    }
}
