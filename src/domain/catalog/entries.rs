//! The entries of a catalog, in maps that share what did not change.

use std::{ops::Bound, sync::Arc};

use rpds::RedBlackTreeMapSync;

use super::{CatalogDifference, CatalogSize, Product, ProductInstance, Replaced};
use crate::domain::id::{ProductId, ProductInstanceId};

/// Everything an organization sells. A clone shares all entries, and changing an entry of it copies only the path to
/// that entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    products: RedBlackTreeMapSync<ProductId, Arc<Product>>,
    instances: RedBlackTreeMapSync<ProductInstanceId, Arc<ProductInstance>>,
    // How many instances each product has that has some.
    instances_of: RedBlackTreeMapSync<ProductId, usize>,
    // SKUs of all products.
    skus: usize,
}

impl Catalog {
    /// The product of an id.
    #[must_use]
    pub fn product(&self, id: &str) -> Option<&Product> {
        self.products.get(id).map(|product| &**product)
    }

    /// The product instance of an id.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&ProductInstance> {
        self.instances.get(id).map(|instance| &**instance)
    }

    /// Products by id.
    pub fn products(&self) -> impl Iterator<Item = &Arc<Product>> {
        self.products.values()
    }

    /// Product instances by id.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<ProductInstance>> {
        self.instances.values()
    }

    /// Products by id, from the first one after `id`, or from the beginning.
    pub fn products_after(&self, id: Option<ProductId>) -> impl Iterator<Item = &Arc<Product>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.products.range((from, Bound::Unbounded)).map(|(_, product)| product)
    }

    /// Product instances by id, from the first one after `id`, or from the beginning.
    pub fn instances_after(
        &self,
        id: Option<ProductInstanceId>,
    ) -> impl Iterator<Item = &Arc<ProductInstance>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.instances.range((from, Bound::Unbounded)).map(|(_, instance)| instance)
    }

    /// How many instances a product has.
    #[must_use]
    pub fn instances_of(&self, product: &str) -> usize {
        self.instances_of.get(product).copied().unwrap_or_default()
    }

    /// How many entries there are.
    #[must_use]
    pub fn size(&self) -> CatalogSize {
        CatalogSize {
            products: self.products.size(),
            skus: self.skus,
            instances: self.instances.size(),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.products.is_empty() && self.instances.is_empty()
    }

    /// Creates or replaces a product.
    pub fn put_product(&mut self, product: impl Into<Arc<Product>>) -> Replaced<Product> {
        let product = product.into();
        let replaced = Replaced {
            before: self.products.get(&product.id).cloned(),
            after: Some(Arc::clone(&product)),
        };
        let before = replaced.before.as_ref().map_or(0, |before| before.skus.len());
        self.skus = self.skus.saturating_sub(before) + product.skus.len();
        self.products.insert_mut(product.id.clone(), product);
        replaced
    }

    /// Creates or replaces a product instance.
    pub fn put_instance(
        &mut self,
        instance: impl Into<Arc<ProductInstance>>,
    ) -> Replaced<ProductInstance> {
        let instance = instance.into();
        let before = self.instances.get(&instance.id).cloned();
        if let Some(before) = &before {
            self.count_instances(&before.product, |count| count.saturating_sub(1));
        }
        self.count_instances(&instance.product, |count| count + 1);
        self.instances.insert_mut(instance.id.clone(), Arc::clone(&instance));
        Replaced { before, after: Some(instance) }
    }

    /// Removes a product with its SKUs; `None` if there is none of that id.
    pub fn remove_product(&mut self, id: &str) -> Option<Replaced<Product>> {
        let before = Arc::clone(self.products.get(id)?);
        self.products.remove_mut(id);
        self.skus = self.skus.saturating_sub(before.skus.len());
        Some(Replaced { before: Some(before), after: None })
    }

    /// Removes a product instance; `None` if there is none of that id.
    pub fn remove_instance(&mut self, id: &str) -> Option<Replaced<ProductInstance>> {
        let before = Arc::clone(self.instances.get(id)?);
        self.instances.remove_mut(id);
        self.count_instances(&before.product, |count| count.saturating_sub(1));
        Some(Replaced { before: Some(before), after: None })
    }

    fn count_instances(&mut self, product: &ProductId, change: impl FnOnce(usize) -> usize) {
        match change(self.instances_of(product.as_str())) {
            0 => drop(self.instances_of.remove_mut(product.as_str())),
            count => self.instances_of.insert_mut(product.clone(), count),
        }
    }

    /// This catalog with a difference carried out.
    #[must_use]
    pub fn with(&self, difference: &CatalogDifference) -> Self {
        let mut next = self.clone();
        for Replaced { before, after } in &difference.products {
            match (before, after) {
                (_, Some(after)) => drop(next.put_product(Arc::clone(after))),
                (Some(before), None) => drop(next.remove_product(before.id.as_str())),
                (None, None) => {}
            }
        }
        for Replaced { before, after } in &difference.instances {
            match (before, after) {
                (_, Some(after)) => drop(next.put_instance(Arc::clone(after))),
                (Some(before), None) => drop(next.remove_instance(before.id.as_str())),
                (None, None) => {}
            }
        }
        next
    }
}
