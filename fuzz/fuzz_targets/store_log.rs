//! Values of the log.
#![no_main]

meterd_fuzz::target!("store_log");
