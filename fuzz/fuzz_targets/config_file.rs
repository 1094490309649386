//! Configuration files, sizes and durations.
#![no_main]

meterd_fuzz::target!("config_file");
