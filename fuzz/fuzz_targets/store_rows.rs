//! Rows of totals and their keys.
#![no_main]

meterd_fuzz::target!("store_rows");
