//! Body → message, and the same message again.
#![no_main]

meterd_fuzz::target!("rest_json");
