//! The catalog of one organization: products with their SKUs, and sold instances of products.
//! Pure data and the rules of changing it; where it is kept is the store's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    id::{ProductId, ProductInstanceId, SkuId},
    limits::{
        CATALOG_ENTRIES_PER_APPLY_MAX, NAME_CHARS_MAX, SKUS_PER_PRODUCT_MAX, USAGE_UNIT_CHARS_MAX,
    },
};

/// Whether new usage is accepted. Retired entries keep their history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes new usage.
    #[default]
    Active,
    /// Refuses new usage.
    Retired,
}

/// A stock keeping unit of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sku {
    /// Unique within its product.
    pub id: SkuId,
    /// For people; may be empty.
    pub name: String,
    /// What one unit of quantity is, such as `gigabyte-hour`; may be empty.
    pub usage_unit: String,
    /// Whether new usage is accepted.
    pub state: State,
}

/// A product and its SKUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Unique within the organization.
    pub id: ProductId,
    /// For people; may be empty.
    pub name: String,
    /// Whether new usage is accepted.
    pub state: State,
    /// The SKUs by id.
    pub skus: BTreeMap<SkuId, Sku>,
}

/// A sold instance of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductInstance {
    /// Unique within the organization.
    pub id: ProductInstanceId,
    /// The product it is an instance of.
    pub product: ProductId,
    /// For people; may be empty.
    pub name: String,
    /// Whether new usage is accepted.
    pub state: State,
}

/// Everything an organization sells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// Products by id.
    pub products: BTreeMap<ProductId, Product>,
    /// Product instances by id.
    pub instances: BTreeMap<ProductInstanceId, ProductInstance>,
}

/// One broken rule of a desired catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogViolation {
    /// The member at fault, as a path such as `products[2].skus[0].name`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// What kind of entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A product.
    Product,
    /// A SKU; its id is written `product/sku`.
    Sku,
    /// A product instance.
    ProductInstance,
}

/// How an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It existed and differs now.
    Updated,
    /// It was active and takes no new usage now.
    Retired,
    /// It is gone from the catalog; its usage stays.
    Deleted,
}

/// One difference between two catalogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogChange {
    /// What kind of entry.
    pub entry: EntryKind,
    /// Its id.
    pub id: String,
    /// How it changed.
    pub change: ChangeKind,
}

/// A catalog as somebody wants it. What it does not name stays as it is, or is retired if `prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredCatalog {
    /// Products, each with all of its SKUs.
    pub products: Vec<Product>,
    /// Product instances.
    pub instances: Vec<ProductInstance>,
    /// Retire what is not named.
    pub prune: bool,
}

impl Catalog {
    /// The catalog after `desired` is applied.
    ///
    /// A SKU that a named product no longer lists is retired rather than dropped, so that its
    /// history keeps its name and unit.
    ///
    /// # Errors
    /// Every rule that `desired` breaks, all at once.
    pub fn apply(&self, desired: DesiredCatalog) -> Result<Self, Vec<CatalogViolation>> {
        let violations = self.violations(&desired);
        if !violations.is_empty() {
            return Err(violations);
        }
        let mut next = self.clone();
        if desired.prune {
            for product in next.products.values_mut() {
                product.state = State::Retired;
            }
            for instance in next.instances.values_mut() {
                instance.state = State::Retired;
            }
        }
        for mut product in desired.products {
            if let Some(before) = self.products.get(&product.id) {
                for (id, sku) in &before.skus {
                    product
                        .skus
                        .entry(id.clone())
                        .or_insert_with(|| Sku { state: State::Retired, ..sku.clone() });
                }
            }
            next.products.insert(product.id.clone(), product);
        }
        for instance in desired.instances {
            next.instances.insert(instance.id.clone(), instance);
        }
        Ok(next)
    }

    fn violations(&self, desired: &DesiredCatalog) -> Vec<CatalogViolation> {
        let mut found = Vec::new();
        let mut violation = |field: String, description: String| {
            found.push(CatalogViolation { field, description });
        };
        let skus: usize = desired.products.iter().map(|product| product.skus.len()).sum();
        let entries = desired.products.len() + desired.instances.len() + skus;
        if entries > CATALOG_ENTRIES_PER_APPLY_MAX {
            violation(
                "products".into(),
                format!(
                    "{entries} products, SKUs and instances; at most {CATALOG_ENTRIES_PER_APPLY_MAX} are allowed in one change"
                ),
            );
        }
        let name_too_long = format!("is longer than {NAME_CHARS_MAX} characters");
        let mut seen_products = BTreeMap::new();
        for (at, product) in desired.products.iter().enumerate() {
            if let Some(first) = seen_products.insert(&product.id, at) {
                violation(
                    format!("products[{at}].id"),
                    format!("{} stands already at products[{first}]", product.id),
                );
            }
            if product.name.chars().count() > NAME_CHARS_MAX {
                violation(format!("products[{at}].name"), name_too_long.clone());
            }
            let before = self.products.get(&product.id);
            let carried = before.map_or(0, |before| {
                before.skus.keys().filter(|id| !product.skus.contains_key(*id)).count()
            });
            if product.skus.len() + carried > SKUS_PER_PRODUCT_MAX {
                violation(
                    format!("products[{at}].skus"),
                    format!(
                        "more than {SKUS_PER_PRODUCT_MAX} SKUs, those retired earlier included"
                    ),
                );
            }
            for sku in product.skus.values() {
                if sku.name.chars().count() > NAME_CHARS_MAX {
                    violation(
                        format!("products[{at}].skus[{}].name", sku.id),
                        name_too_long.clone(),
                    );
                }
                if sku.usage_unit.chars().count() > USAGE_UNIT_CHARS_MAX {
                    violation(
                        format!("products[{at}].skus[{}].usage_unit", sku.id),
                        format!("is longer than {USAGE_UNIT_CHARS_MAX} characters"),
                    );
                }
            }
        }
        let mut seen_instances = BTreeMap::new();
        for (at, instance) in desired.instances.iter().enumerate() {
            if let Some(first) = seen_instances.insert(&instance.id, at) {
                violation(
                    format!("product_instances[{at}].id"),
                    format!("{} stands already at product_instances[{first}]", instance.id),
                );
            }
            if instance.name.chars().count() > NAME_CHARS_MAX {
                violation(format!("product_instances[{at}].name"), name_too_long.clone());
            }
            if !self.products.contains_key(&instance.product)
                && !seen_products.contains_key(&instance.product)
            {
                violation(
                    format!("product_instances[{at}].product_id"),
                    format!("{} is not a product of this catalog", instance.product),
                );
            }
        }
        found
    }

    /// What differs between this catalog and `next`, entry by entry, in the order of kinds and ids.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> Vec<CatalogChange> {
        let mut changes = Vec::new();
        compare(
            EntryKind::Product,
            self.products.iter().map(|(id, product)| {
                (id.to_string(), ((product.id.clone(), &product.name), product.state))
            }),
            next.products.iter().map(|(id, product)| {
                (id.to_string(), ((product.id.clone(), &product.name), product.state))
            }),
            &mut changes,
        );
        let skus = |catalog: &Self| -> Vec<(String, (Sku, State))> {
            catalog
                .products
                .iter()
                .flat_map(|(id, product)| product.skus.values().map(move |sku| (id, sku)))
                .map(|(product, sku)| {
                    let stateless = Sku { state: State::Active, ..sku.clone() };
                    (format!("{product}/{}", sku.id), (stateless, sku.state))
                })
                .collect()
        };
        compare(EntryKind::Sku, skus(self).into_iter(), skus(next).into_iter(), &mut changes);
        compare(
            EntryKind::ProductInstance,
            self.instances.iter().map(|(id, instance)| {
                (id.to_string(), ((&instance.product, &instance.name), instance.state))
            }),
            next.instances.iter().map(|(id, instance)| {
                (id.to_string(), ((&instance.product, &instance.name), instance.state))
            }),
            &mut changes,
        );
        changes
    }
}

/// Compares entries given as `(id, (everything but the state, state))`.
fn compare<T: PartialEq>(
    entry: EntryKind,
    before: impl Iterator<Item = (String, (T, State))>,
    after: impl Iterator<Item = (String, (T, State))>,
    changes: &mut Vec<CatalogChange>,
) {
    let mut before: BTreeMap<String, (T, State)> = before.collect();
    for (id, (content, state)) in after {
        let change = match before.remove(&id) {
            None => ChangeKind::Created,
            Some((old, old_state)) if old == content && old_state == state => continue,
            Some((old, State::Active)) if old == content && state == State::Retired => {
                ChangeKind::Retired
            }
            Some(_) => ChangeKind::Updated,
        };
        changes.push(CatalogChange { entry, id, change });
    }
    for id in before.into_keys() {
        changes.push(CatalogChange { entry, id, change: ChangeKind::Deleted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(id: &str, skus: &[&str]) -> Product {
        let skus = skus.iter().map(|sku| {
            let id = SkuId::new(sku).unwrap();
            (
                id.clone(),
                Sku { id, name: String::new(), usage_unit: "unit".into(), state: State::Active },
            )
        });
        Product {
            id: ProductId::new(id).unwrap(),
            name: id.into(),
            state: State::Active,
            skus: skus.collect(),
        }
    }

    fn apply(catalog: &Catalog, products: Vec<Product>, prune: bool) -> Catalog {
        catalog.apply(DesiredCatalog { products, instances: vec![], prune }).unwrap()
    }

    fn said(changes: &[CatalogChange]) -> Vec<String> {
        changes
            .iter()
            .map(|change| format!("{:?} {:?} {}", change.change, change.entry, change.id))
            .collect()
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let first = apply(&Catalog::default(), vec![product("p", &["a", "b"])], false);
        let second = apply(&first, vec![product("p", &["a", "b"])], false);
        assert!(first.changes_to(&second).is_empty());
    }

    #[test]
    fn a_dropped_sku_is_retired_and_prune_retires_the_rest() {
        let first =
            apply(&Catalog::default(), vec![product("p", &["a", "b"]), product("q", &[])], false);
        let second = apply(&first, vec![product("p", &["a"])], true);
        assert_eq!(said(&first.changes_to(&second)), ["Retired Product q", "Retired Sku p/b"]);
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let instance = ProductInstance {
            id: ProductInstanceId::new("i").unwrap(),
            product: ProductId::new("nowhere").unwrap(),
            name: "n".repeat(257),
            state: State::Active,
        };
        let desired = DesiredCatalog {
            products: vec![product("p", &[]), product("p", &[])],
            instances: vec![instance],
            prune: false,
        };
        let fields: Vec<String> = Catalog::default()
            .apply(desired)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            ["products[1].id", "product_instances[0].name", "product_instances[0].product_id"]
        );
    }
}
