//! The bytes of an answer → JSON, by both ways.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meterd::api::rest::fuzzing::Subject;

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| Subject::new().unwrap());

fuzz_target!(|input: &[u8]| SUBJECT.answer(input));
