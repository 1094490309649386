//! What all targets share: an input is tried within bounds of memory.

use std::alloc::System;

use cap::Cap;
pub use libfuzzer_sys;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that any input may take, in bytes, and how much more for each of its bytes. Room that is made for a length that
/// somebody claims, and nobody checked, is more than that.
const BYTES_MAX: usize = 16 << 20;
const BYTES_MAX_PER_BYTE: usize = 4 << 10;

/// Drives the target of a name. What is made once, such as the table of routes, is made before the first input.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(init: $crate::prepare($name), |input: &[u8]| {
            $crate::within_bounds($name, input);
        });
    };
}

/// Makes what is made once, and sees to it that a panic is told whatever memory it takes: it aborts the process, and the names
/// of a backtrace are many.
pub fn prepare(name: &str) {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        abort(panic);
    }));
    meterd::fuzzing::run(name, &[]);
}

/// Tries an input. The process is aborted where it takes more memory than it may.
///
/// # Panics
/// If something does not hold that should.
pub fn within_bounds(name: &str, input: &[u8]) {
    let limit = ALLOCATOR.allocated() + BYTES_MAX + BYTES_MAX_PER_BYTE * input.len();
    ALLOCATOR.set_limit(limit).expect("more than is allocated");
    meterd::fuzzing::run(name, input);
    // What libFuzzer does between inputs is its own affair.
    ALLOCATOR.set_limit(usize::MAX).expect("more than is allocated");
}
