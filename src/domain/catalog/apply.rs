//! Changing a catalog. What a change costs follows from what it names, not from how large the catalog is, unless it
//! prunes.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Catalog, CatalogDifference, CatalogLimits, CatalogRefusal, DesiredCatalog, Product,
    ProductInstance, Sku, State,
};
use crate::domain::id::{ProductId, ProductInstanceId};

impl Catalog {
    /// The catalog after `desired` is applied, and what differs then.
    ///
    /// A SKU that a named product no longer lists is retired rather than dropped, so that its history keeps its name
    /// and unit.
    ///
    /// # Errors
    /// [`CatalogRefusal`] with every rule that `desired` breaks, or every limit that the catalog would exceed.
    pub fn apply(
        &self,
        desired: DesiredCatalog,
        limits: &CatalogLimits,
    ) -> Result<(Self, CatalogDifference), CatalogRefusal> {
        let violations = self.violations(&desired);
        if !violations.is_empty() {
            return Err(CatalogRefusal::Invalid(violations));
        }
        let mut next = self.clone();
        let mut difference = CatalogDifference::default();
        if desired.prune {
            next.retire_unnamed(&desired, &mut difference);
        }
        for product in desired.products {
            let product = self.with_skus_retired(product);
            difference.note_product(next.put_product(product));
        }
        for instance in desired.instances {
            difference.note_instance(next.put_instance(instance));
        }
        let exceeded = limits.exceeded(self.size(), next.size());
        if exceeded.is_empty() {
            Ok((next, difference))
        } else {
            Err(CatalogRefusal::TooLarge(exceeded))
        }
    }

    /// A product as it is to be, with those SKUs of the one before that it does not list.
    fn with_skus_retired(&self, mut product: Product) -> Product {
        if let Some(before) = self.product(product.id.as_str()) {
            for (id, sku) in &before.skus {
                product
                    .skus
                    .entry(id.clone())
                    .or_insert_with(|| Sku { state: State::Retired, ..sku.clone() });
            }
        }
        product
    }

    /// Retires what is active and not named.
    fn retire_unnamed(&mut self, desired: &DesiredCatalog, difference: &mut CatalogDifference) {
        let products: BTreeSet<&ProductId> =
            desired.products.iter().map(|product| &product.id).collect();
        let instances: BTreeSet<&ProductInstanceId> =
            desired.instances.iter().map(|instance| &instance.id).collect();
        let before = self.clone();
        for product in before.products() {
            if product.state == State::Active && !products.contains(&product.id) {
                let retired = Product { state: State::Retired, ..Product::clone(product) };
                difference.note_product(self.put_product(Arc::new(retired)));
            }
        }
        for instance in before.instances() {
            if instance.state == State::Active && !instances.contains(&instance.id) {
                let retired =
                    ProductInstance { state: State::Retired, ..ProductInstance::clone(instance) };
                difference.note_instance(self.put_instance(Arc::new(retired)));
            }
        }
    }
}
