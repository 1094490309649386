//! Backups.
#![no_main]

meterd_fuzz::target!("backup");
