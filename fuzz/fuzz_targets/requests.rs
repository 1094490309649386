//! Requests on their way from the wire to the use cases.
#![no_main]

meterd_fuzz::target!("requests");
