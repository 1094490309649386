//! Catalog files.
#![no_main]

meterd_fuzz::target!("catalog_file");
