//! Method and path → route: the right one or none.
#![no_main]

use std::sync::LazyLock;

use http::Method;
use libfuzzer_sys::fuzz_target;
use meterd::api::rest::fuzzing::Subject;

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| Subject::new().unwrap());

fuzz_target!(|input: (u8, &str)| {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    SUBJECT.path(&methods[usize::from(input.0) % methods.len()], input.1);
});
