//! The rules of a desired catalog.

use std::collections::BTreeMap;

use super::{Catalog, CatalogViolation, DesiredCatalog};
use crate::domain::limits::{
    CATALOG_ENTRIES_PER_APPLY_MAX, NAME_CHARS_MAX, SKUS_PER_PRODUCT_MAX, USAGE_UNIT_CHARS_MAX,
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
            let before = self.product(product.id.as_str());
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
