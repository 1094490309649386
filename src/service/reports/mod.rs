//! Answering how much was used, and listing records.

mod arguments;
mod asset_usage;
mod export;
mod product_usage;
mod records;
mod rows;

use std::sync::Arc;

use serde::Serialize;

pub use self::{
    asset_usage::{AssetUsagePage, AssetUsageQuery, AssetUsageRow, RawAssetFilter},
    export::{Export, ExportQuery},
    product_usage::{ProductUsagePage, ProductUsageQuery, UsageRow},
    records::{RecordsPage, RecordsQuery},
};
use super::{committer::Committer, store_reads::StoreReads};
use crate::store::UsageStore;

/// A filter as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RawFilter {
    /// Should be product ids.
    pub product_ids: Vec<String>,
    /// Should be product instance ids.
    pub product_instance_ids: Vec<String>,
    /// Should be SKU ids.
    pub sku_ids: Vec<String>,
    /// Should be client ids.
    pub client_ids: Vec<String>,
}

/// The use cases.
pub struct Reports {
    store: Arc<dyn UsageStore>,
    committer: Arc<Committer>,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl Reports {
    /// Puts the use cases together. Reads run on the committer's few threads that may block.
    #[must_use]
    pub fn new(store: Arc<dyn UsageStore>, committer: Arc<Committer>) -> Self {
        Self { store, committer }
    }

    /// The threads that the reports are read on, for other use cases that read.
    #[must_use]
    pub fn reads(&self) -> &Arc<StoreReads> {
        self.committer.reads()
    }
}

#[cfg(test)]
mod tests;
