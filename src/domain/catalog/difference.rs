//! What differs between two states of a catalog: what a change writes, and what callers are told of it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Catalog, CatalogChange, ChangeKind, EntryKind, Product, ProductInstance, State};
use crate::domain::id::SkuId;

/// One entry that was created (nothing before), replaced, or removed (nothing after).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced<T> {
    /// The entry before.
    pub before: Option<Arc<T>>,
    /// The entry after.
    pub after: Option<Arc<T>>,
}

impl<T> Replaced<T> {
    /// The entry after, or before if it was removed.
    #[must_use]
    pub fn latest(&self) -> Option<&T> {
        self.after.as_deref().or(self.before.as_deref())
    }

    /// How the entry changed, where `split` takes its state out of the rest.
    fn kind<'a, C: PartialEq>(&'a self, split: impl Fn(&'a T) -> (C, State)) -> Option<ChangeKind> {
        kind(self.before.as_deref().map(&split), self.after.as_deref().map(&split))
    }
}

/// The products and product instances in which two states of a catalog differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogDifference {
    /// Products, each with all of its SKUs.
    pub products: Vec<Replaced<Product>>,
    /// Product instances.
    pub instances: Vec<Replaced<ProductInstance>>,
}

impl CatalogDifference {
    /// Compares two catalogs entry by entry, which takes time in proportion to their sizes.
    #[must_use]
    pub fn between(before: &Catalog, after: &Catalog) -> Self {
        let mut difference = Self::default();
        let mut changed = before.clone();
        for product in after.products() {
            difference.note_product(changed.put_product(Arc::clone(product)));
        }
        for instance in after.instances() {
            difference.note_instance(changed.put_instance(Arc::clone(instance)));
        }
        for product in before.products() {
            if after.product(product.id.as_str()).is_none() {
                let removed = Replaced { before: Some(Arc::clone(product)), after: None };
                difference.note_product(removed);
            }
        }
        for instance in before.instances() {
            if after.instance(instance.id.as_str()).is_none() {
                let removed = Replaced { before: Some(Arc::clone(instance)), after: None };
                difference.note_instance(removed);
            }
        }
        difference
    }

    /// Adds a product, unless it is the same before and after.
    pub(super) fn note_product(&mut self, replaced: Replaced<Product>) {
        if replaced.before != replaced.after {
            self.products.push(replaced);
        }
    }

    /// Adds a product instance, unless it is the same before and after.
    pub(super) fn note_instance(&mut self, replaced: Replaced<ProductInstance>) {
        if replaced.before != replaced.after {
            self.instances.push(replaced);
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.products.is_empty() && self.instances.is_empty()
    }

    /// The changes entry by entry, in the order of kinds and ids.
    #[must_use]
    pub fn changes(&self) -> Vec<CatalogChange> {
        let mut products: Vec<_> = self
            .products
            .iter()
            .filter_map(|replaced| Some((&replaced.latest()?.id, replaced)))
            .collect();
        products.sort_unstable_by_key(|(id, _)| *id);
        let mut instances: Vec<_> = self
            .instances
            .iter()
            .filter_map(|replaced| Some((&replaced.latest()?.id, replaced)))
            .collect();
        instances.sort_unstable_by_key(|(id, _)| *id);
        let mut changes = Vec::new();
        for (id, replaced) in &products {
            if let Some(change) = replaced.kind(|product| (&product.name, product.state)) {
                changes.push(CatalogChange {
                    entry: EntryKind::Product,
                    id: id.to_string(),
                    change,
                });
            }
        }
        for (product, replaced) in &products {
            for (sku, change) in sku_changes(replaced) {
                let id = format!("{product}/{sku}");
                changes.push(CatalogChange { entry: EntryKind::Sku, id, change });
            }
        }
        for (id, replaced) in &instances {
            let change =
                replaced.kind(|instance| ((&instance.product, &instance.name), instance.state));
            if let Some(change) = change {
                let entry = EntryKind::ProductInstance;
                changes.push(CatalogChange { entry, id: id.to_string(), change });
            }
        }
        changes
    }
}

fn sku_changes(replaced: &Replaced<Product>) -> impl Iterator<Item = (&SkuId, ChangeKind)> {
    let Replaced { before, after } = replaced;
    let sides = [before, after].into_iter().flatten();
    let ids: BTreeSet<&SkuId> = sides.flat_map(|product| product.skus.keys()).collect();
    ids.into_iter().filter_map(move |id| {
        let split = |product: &'_ Option<Arc<Product>>| {
            let sku = product.as_ref()?.skus.get(id)?;
            Some(((sku.name.clone(), sku.usage_unit.clone()), sku.state))
        };
        Some((id, kind(split(before), split(after))?))
    })
}

/// How an entry changed that is given as everything but its state, and its state.
fn kind<C: PartialEq>(before: Option<(C, State)>, after: Option<(C, State)>) -> Option<ChangeKind> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(ChangeKind::Created),
        (Some(_), None) => Some(ChangeKind::Deleted),
        (Some(before), Some(after)) if before == after => None,
        (Some((old, State::Active)), Some((new, State::Retired))) if old == new => {
            Some(ChangeKind::Retired)
        }
        (Some(_), Some(_)) => Some(ChangeKind::Updated),
    }
}
