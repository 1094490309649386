//! Times as text.
#![no_main]

meterd_fuzz::target!("timestamps");
