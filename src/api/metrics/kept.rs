//! What organizations keep, and how often a limit on that was exceeded.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    domain::catalog::CatalogSize,
    service::{ServiceError, access::AccessSize},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// Counts of all organizations together, and refusals by limit.
#[derive(Debug, Default)]
pub struct KeptMetrics {
    organizations: Gauge,
    clients: Gauge,
    products: Gauge,
    skus: Gauge,
    instances: Gauge,
    refusals: Family<LimitLabels, Counter>,
}

impl KeptMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("organizations", "Organizations", self.organizations.clone());
        to.register("clients", "Clients of all organizations", self.clients.clone());
        to.register(
            "catalog_products",
            "Products of all organizations, retired ones included",
            self.products.clone(),
        );
        to.register(
            "catalog_skus",
            "SKUs of all organizations, retired ones included",
            self.skus.clone(),
        );
        to.register(
            "catalog_product_instances",
            "Product instances of all organizations, retired ones included",
            self.instances.clone(),
        );
        to.register(
            "limit_refusals",
            "Changes refused because of a limit on what is kept, by the option that sets it",
            self.refusals.clone(),
        );
    }

    /// Counts an error that says which limits would have been exceeded.
    pub(in crate::api) fn refused(&self, error: &ServiceError) {
        if let ServiceError::LimitExceeded(exceeded) = error {
            for limit in exceeded {
                self.refusals.get_or_create(&LimitLabels { limit: limit.option }).inc();
            }
        }
    }

    /// Takes over what is kept now.
    pub fn observe(&self, access: AccessSize, catalogs: CatalogSize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.organizations.set(number(access.organizations));
        self.clients.set(number(access.clients));
        self.products.set(number(catalogs.products));
        self.skus.set(number(catalogs.skus));
        self.instances.set(number(catalogs.instances));
    }
}
