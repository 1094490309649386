//! Who the store is, organizations, the catalog, assets, documents, pages and places of batches.
#![no_main]

meterd_fuzz::target!("store_entries");
