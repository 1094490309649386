//! Page tokens and cursors.
#![no_main]

meterd_fuzz::target!("page_tokens");
