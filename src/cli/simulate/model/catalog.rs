//! What an organization sells, as it must be.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cli::simulate::plan::{
        ASSETS, Account, CatalogStep, Customer, LEAVING_ASSET, PRODUCTS, skus_of,
    },
    domain::{
        catalog::{DesiredCatalog, Product, ProductInstance, Sku, State},
        id::{OrganizationId, ProductId, ProductInstanceId, SkuId},
        usage::UsageTarget,
    },
    service::product_usage::ReportedTarget,
};

#[derive(Debug, Default)]
struct OfProduct {
    is_active: bool,
    skus: BTreeMap<SkuId, bool>,
}

/// A catalog: whether each thing takes usage.
#[derive(Debug, Default)]
pub(in crate::cli::simulate) struct CatalogModel {
    products: BTreeMap<ProductId, OfProduct>,
    instances: BTreeMap<ProductInstanceId, (ProductId, bool)>,
    assets: BTreeMap<String, bool>,
}

impl CatalogModel {
    /// What is sold at the beginning.
    pub(super) fn at_first(organization: &OrganizationId, customers: &[Customer]) -> Self {
        let mut catalog = Self::default();
        for product in PRODUCTS {
            let skus = skus_of(product);
            let skus = skus.iter().filter_map(|sku| SkuId::new(sku).ok()).map(|sku| (sku, true));
            let of_product = OfProduct { is_active: true, skus: skus.collect() };
            catalog.products.extend(ProductId::new(product).ok().map(|id| (id, of_product)));
        }
        for customer in customers.iter().filter(|customer| customer.organization == *organization) {
            if let (Account::Instance(instance), 0) = (&customer.account, customer.joins) {
                catalog.add_instance(instance, customer.product);
            }
        }
        catalog.assets = (0..ASSETS)
            .map(|number| (crate::cli::simulate::clients::asset(number), true))
            .collect();
        catalog
    }

    fn add_instance(&mut self, instance: &ProductInstanceId, product: &str) {
        if let Ok(product) = ProductId::new(product) {
            self.instances.insert(instance.clone(), (product, true));
        }
    }

    pub(super) fn change(&mut self, step: &CatalogStep) {
        match step {
            CatalogStep::NewSku { product } => {
                self.set_sku(product, &format!("{product}-new"), true);
            }
            CatalogStep::SetSku { product, active } => {
                let [_, second, _] = skus_of(product);
                self.set_sku(product, &second, *active);
            }
            CatalogStep::SetProduct { product, active } => {
                if let Some(found) = self.products.get_mut(*product) {
                    found.is_active = *active;
                }
            }
            CatalogStep::NewInstances { instances } => {
                for (instance, product) in instances {
                    self.add_instance(instance, product);
                }
            }
            CatalogStep::RetireInstances { instances } => {
                for instance in instances {
                    if let Some((_, is_active)) = self.instances.get_mut(instance) {
                        *is_active = false;
                    }
                }
            }
            CatalogStep::RetireAsset => {
                self.assets.insert(LEAVING_ASSET.to_owned(), false);
            }
        }
    }

    fn set_sku(&mut self, product: &str, sku: &str, is_active: bool) {
        if let (Some(found), Ok(sku)) = (self.products.get_mut(product), SkuId::new(sku)) {
            found.skus.insert(sku, is_active);
        }
    }

    /// What usage of a reported target is of, if it is taken.
    pub(super) fn target(&self, reported: &ReportedTarget) -> Option<UsageTarget> {
        let (product, instance) = match reported {
            ReportedTarget::Product(id) => (id.as_str(), None),
            ReportedTarget::Instance(id) => {
                let (instance, (product, is_active)) = self.instances.get_key_value(id.as_str())?;
                if !is_active {
                    return None;
                }
                (product.as_str(), Some(instance.clone()))
            }
        };
        let (product, found) = self.products.get_key_value(product)?;
        found.is_active.then(|| UsageTarget { product: product.clone(), instance })
    }

    /// A SKU of a product, if it takes usage.
    pub(super) fn sku(&self, product: &ProductId, sku: &str) -> Option<SkuId> {
        let (sku, is_active) = self.products.get(product)?.skus.get_key_value(sku)?;
        is_active.then(|| sku.clone())
    }

    /// Whether an asset takes usage.
    pub(super) fn takes_asset(&self, asset: &str) -> bool {
        self.assets.get(asset).copied().unwrap_or_default()
    }

    /// All assets, and whether each takes usage.
    pub(in crate::cli::simulate) fn assets(&self) -> impl Iterator<Item = (&str, State)> {
        self.assets.iter().map(|(asset, is_active)| (asset.as_str(), state(*is_active)))
    }

    /// The catalog as a change of those products and instances that a step is about; of all, without a step.
    pub(in crate::cli::simulate) fn desired(&self, step: Option<&CatalogStep>) -> DesiredCatalog {
        let (mut products, mut instances) = (BTreeSet::new(), BTreeSet::new());
        match step {
            None => {
                products.extend(self.products.keys().map(ProductId::as_str));
                instances.extend(self.instances.keys().map(ProductInstanceId::as_str));
            }
            Some(
                CatalogStep::NewSku { product }
                | CatalogStep::SetSku { product, .. }
                | CatalogStep::SetProduct { product, .. },
            ) => {
                products.insert(*product);
            }
            Some(CatalogStep::NewInstances { instances: new }) => {
                instances.extend(new.iter().map(|(instance, _)| instance.as_str()));
            }
            Some(CatalogStep::RetireInstances { instances: retired }) => {
                instances.extend(retired.iter().map(ProductInstanceId::as_str));
            }
            Some(CatalogStep::RetireAsset) => {}
        }
        let product = |(id, found): (&ProductId, &OfProduct)| Product {
            id: id.clone(),
            name: format!("Product {id}"),
            state: state(found.is_active),
            skus: found
                .skus
                .iter()
                .map(|(sku, is_active)| (sku.clone(), self::sku(sku, *is_active)))
                .collect(),
        };
        let instance = |(id, (product, is_active)): (&ProductInstanceId, &(ProductId, bool))| {
            let (id, product) = (id.clone(), product.clone());
            ProductInstance { id, product, name: String::new(), state: state(*is_active) }
        };
        let products = products.iter().filter_map(|id| self.products.get_key_value(*id));
        let instances = instances.iter().filter_map(|id| self.instances.get_key_value(*id));
        DesiredCatalog {
            products: products.map(product).collect(),
            instances: instances.map(instance).collect(),
            prune: false,
        }
    }
}

fn sku(id: &SkuId, is_active: bool) -> Sku {
    Sku { id: id.clone(), name: String::new(), usage_unit: "unit".into(), state: state(is_active) }
}

fn state(is_active: bool) -> State {
    if is_active { State::Active } else { State::Retired }
}
