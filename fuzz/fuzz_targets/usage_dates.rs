//! Usage dates.
#![no_main]

meterd_fuzz::target!("usage_dates");
