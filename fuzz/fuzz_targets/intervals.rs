//! Intervals and the buckets that they are divided into.
#![no_main]

meterd_fuzz::target!("intervals");
