//! Pages, fences, filters and the manifest of the uuid index.
#![no_main]

meterd_fuzz::target!("store_index");
