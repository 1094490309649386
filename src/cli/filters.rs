//! Options that narrow usage down, shared by what reads it.

use clap::Args;

use crate::api::pb::meterd::v1::ProductUsageFilter;

/// Which usage. Each may be given more than once; usage of any of the values counts.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FilterOptions {
    /// Only this product (repeatable)
    #[arg(long, value_name = "ID")]
    pub(super) product: Vec<String>,
    /// Only this product instance (repeatable)
    #[arg(long, value_name = "ID")]
    pub(super) instance: Vec<String>,
    /// Only this SKU (repeatable)
    #[arg(long, value_name = "ID")]
    pub(super) sku: Vec<String>,
    /// Only usage reported by this client (repeatable)
    #[arg(long, value_name = "ID")]
    pub(super) client: Vec<String>,
}

impl FilterOptions {
    /// The wire form.
    pub(super) fn to_wire(&self) -> ProductUsageFilter {
        ProductUsageFilter {
            product_ids: self.product.clone(),
            product_instance_ids: self.instance.clone(),
            sku_ids: self.sku.clone(),
            client_ids: self.client.clone(),
        }
    }
}
