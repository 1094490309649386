//! How large a catalog may be.

use crate::domain::{
    exceeded_limit::ExceededLimit,
    limits::{
        ORGANIZATION_INSTANCES_MAX_DEFAULT, ORGANIZATION_PRODUCTS_MAX_DEFAULT,
        ORGANIZATION_SKUS_MAX_DEFAULT,
    },
};

/// How many entries a catalog has. Retired ones count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogSize {
    /// Products.
    pub products: usize,
    /// SKUs of all products.
    pub skus: usize,
    /// Product instances.
    pub instances: usize,
}

/// How many entries the catalog of one organization may have. Retired ones count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Most products. Default 10,000.
    pub products_max: usize,
    /// Most SKUs of all products together. Default 100,000.
    pub skus_max: usize,
    /// Most product instances. Default 100,000.
    pub instances_max: usize,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        Self {
            products_max: ORGANIZATION_PRODUCTS_MAX_DEFAULT,
            skus_max: ORGANIZATION_SKUS_MAX_DEFAULT,
            instances_max: ORGANIZATION_INSTANCES_MAX_DEFAULT,
        }
    }
}

impl CatalogLimits {
    /// Every limit that a change from one size to another exceeds.
    pub(super) fn exceeded(&self, before: CatalogSize, after: CatalogSize) -> Vec<ExceededLimit> {
        [
            ExceededLimit::by_growth(
                "organization-products-max",
                "products of the organization",
                before.products,
                after.products,
                self.products_max,
            ),
            ExceededLimit::by_growth(
                "organization-skus-max",
                "SKUs of the organization",
                before.skus,
                after.skus,
                self.skus_max,
            ),
            ExceededLimit::by_growth(
                "organization-instances-max",
                "product instances of the organization",
                before.instances,
                after.instances,
                self.instances_max,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
