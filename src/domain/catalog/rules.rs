//! The rules of a desired catalog.

use std::collections::BTreeMap;

use super::{Catalog, CatalogViolation, DesiredCatalog};
use crate::domain::{
    format_character::{check_new_name, check_printable},
    limits::{CATALOG_ENTRIES_PER_APPLY_MAX, SKUS_PER_PRODUCT_MAX, USAGE_UNIT_CHARS_MAX},
};

impl Catalog {
    /// Every rule that `desired` breaks.
    pub(super) fn violations(&self, desired: &DesiredCatalog) -> Vec<CatalogViolation> {
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
        let mut seen_products = BTreeMap::new();
        for (at, product) in desired.products.iter().enumerate() {
            if let Some(first) = seen_products.insert(&product.id, at) {
                violation(
                    format!("products[{at}].id"),
                    format!("{} stands already at products[{first}]", product.id),
                );
            }
            let before = self.product(product.id.as_str());
            check_new_texts(
                &mut violation,
                &format!("products[{at}]"),
                before.is_none().then_some(product.id.as_str()),
                differs(&product.name, before.map(|before| &before.name)),
            );
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
                let path = format!("products[{at}].skus[{}]", sku.id);
                let before = before.and_then(|before| before.skus.get(&sku.id));
                check_new_texts(
                    &mut violation,
                    &path,
                    before.is_none().then_some(sku.id.as_str()),
                    differs(&sku.name, before.map(|before| &before.name)),
                );
                let unit = differs(&sku.usage_unit, before.map(|before| &before.usage_unit));
                if unit.is_some_and(|unit| unit.chars().count() > USAGE_UNIT_CHARS_MAX) {
                    violation(
                        format!("{path}.usage_unit"),
                        format!("is longer than {USAGE_UNIT_CHARS_MAX} characters"),
                    );
                } else if let Some(Err(description)) = unit.map(check_printable) {
                    violation(format!("{path}.usage_unit"), description);
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
            let before = self.instance(instance.id.as_str());
            check_new_texts(
                &mut violation,
                &format!("product_instances[{at}]"),
                before.is_none().then_some(instance.id.as_str()),
                differs(&instance.name, before.map(|before| &before.name)),
            );
            if self.product(instance.product.as_str()).is_none()
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
}

/// A text, if it is another than before.
fn differs<'a>(text: &'a str, before: Option<&String>) -> Option<&'a str> {
    before.is_none_or(|before| before != text).then_some(text)
}

/// Checks the id and the name of an entry as far as they are new: what is in the catalog may stay in it.
fn check_new_texts(
    violation: &mut impl FnMut(String, String),
    path: &str,
    id: Option<&str>,
    name: Option<&str>,
) {
    if let Some(Err(description)) = id.map(check_printable) {
        violation(format!("{path}.id"), description);
    }
    if let Some(Err(description)) = name.map(check_new_name) {
        violation(format!("{path}.name"), description);
    }
}
