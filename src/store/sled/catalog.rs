//! Catalogs in the store: one entry per product, SKU and product instance, so that no value is large
//! however long a catalog is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    codec,
    core::Core,
    documents,
    faults::FaultPoint,
    keyspace::{KeySpace, push_part},
    organizations::OrganizationNumber,
    state::StateBatch,
};
use crate::{
    domain::{
        catalog::{Catalog, CatalogDifference, Product, ProductInstance, Replaced, Sku, State},
        id::{OrganizationId, ProductId, ProductInstanceId, SkuId},
    },
    store::{StoreError, document::DocumentChange},
};

pub(super) const VERSION: u8 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProductEntry {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SkuEntry {
    pub(super) product: String,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) usage_unit: String,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceEntry {
    pub(super) id: String,
    pub(super) product: String,
    pub(super) name: String,
    pub(super) state: State,
}

/// Reads every organization's catalog.
pub(super) fn load_all(core: &Core) -> Result<Vec<(OrganizationId, Catalog)>, StoreError> {
    core.organizations
        .all()
        .into_iter()
        .map(|(number, name)| Ok((name, load(core, number)?)))
        .collect()
}

fn load(core: &Core, organization: OrganizationNumber) -> Result<Catalog, StoreError> {
    let mut products = BTreeMap::new();
    for entry in entries::<ProductEntry>(core, KeySpace::CatalogProduct, organization) {
        let ProductEntry { id, name, state } = entry?;
        let id = ProductId::new(&id).map_err(damaged)?;
        products.insert(id.clone(), Product { id, name, state, skus: BTreeMap::new() });
    }
    for entry in entries::<SkuEntry>(core, KeySpace::CatalogSku, organization) {
        let SkuEntry { product, id, name, usage_unit, state } = entry?;
        let id = SkuId::new(&id).map_err(damaged)?;
        let product =
            products.get_mut(product.as_str()).ok_or_else(|| damaged("a SKU has no product"))?;
        product.skus.insert(id.clone(), Sku { id, name, usage_unit, state });
    }
    let mut catalog = Catalog::default();
    for product in products.into_values() {
        catalog.put_product(product);
    }
    for entry in entries::<InstanceEntry>(core, KeySpace::CatalogInstance, organization) {
        let InstanceEntry { id, product, name, state } = entry?;
        let id = ProductInstanceId::new(&id).map_err(damaged)?;
        let product = ProductId::new(&product).map_err(damaged)?;
        catalog.put_instance(ProductInstance { id, product, name, state });
    }
    Ok(catalog)
}

fn entries<T: for<'de> Deserialize<'de>>(
    core: &Core,
    space: KeySpace,
    organization: OrganizationNumber,
) -> impl Iterator<Item = Result<T, StoreError>> {
    core.engine.prefix(&space.of_organization(organization)).map(|entry| {
        let (key, value) = entry?;
        decode(&key, &value)
    })
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(
    key: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    let body = codec::open_frame(value, VERSION, key).map_err(damaged)?;
    serde_json::from_slice(body).map_err(damaged)
}

pub(super) fn encode(key: &[u8], entry: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let body = serde_json::to_vec(entry)
        .map_err(|_| StoreError::Unrepresentable("a catalog entry that is no JSON"))?;
    Ok(codec::frame(&body, VERSION, key))
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    codec::damaged("catalog")(error)
}

/// Carries out a difference from what is on the disk, all at once and together with `documents`; durable on return.
pub(super) fn change(
    core: &Core,
    organization: &OrganizationId,
    difference: &CatalogDifference,
    documents: &[DocumentChange],
) -> Result<(), StoreError> {
    let number = core.organizations.number_or_add(&core.engine, organization)?;
    let mut change = Change { number, batch: StateBatch::default() };
    for replaced in &difference.products {
        change.product(replaced)?;
    }
    for replaced in &difference.instances {
        change.instance(replaced)?;
    }
    documents::stage(core, documents, &mut change.batch)?;
    core.engine.pass(FaultPoint::CatalogWrite)?;
    core.state.stage(&core.engine, change.batch)?;
    core.engine.flush()
}

struct Change {
    number: OrganizationNumber,
    batch: StateBatch,
}

impl Change {
    fn key(&self, space: KeySpace, parts: &[&str]) -> Vec<u8> {
        let mut key = space.of_organization(self.number);
        parts.iter().for_each(|part| push_part(&mut key, part));
        key
    }

    fn put(
        &mut self,
        space: KeySpace,
        parts: &[&str],
        entry: &impl Serialize,
    ) -> Result<(), StoreError> {
        let key = self.key(space, parts);
        self.batch.put(&key, encode(&key, entry)?);
        Ok(())
    }

    fn product(&mut self, replaced: &Replaced<Product>) -> Result<(), StoreError> {
        let (before, after) = (replaced.before.as_deref(), replaced.after.as_deref());
        if let Some(product) = after {
            let same =
                |before: &Product| before.name == product.name && before.state == product.state;
            if !before.is_some_and(same) {
                self.put(
                    KeySpace::CatalogProduct,
                    &[product.id.as_str()],
                    &ProductEntry {
                        id: product.id.to_string(),
                        name: product.name.clone(),
                        state: product.state,
                    },
                )?;
            }
            for sku in product.skus.values() {
                if before.and_then(|before| before.skus.get(&sku.id)) != Some(sku) {
                    self.put(
                        KeySpace::CatalogSku,
                        &[product.id.as_str(), sku.id.as_str()],
                        &SkuEntry {
                            product: product.id.to_string(),
                            id: sku.id.to_string(),
                            name: sku.name.clone(),
                            usage_unit: sku.usage_unit.clone(),
                            state: sku.state,
                        },
                    )?;
                }
            }
        }
        if let Some(product) = before {
            if after.is_none() {
                let key = self.key(KeySpace::CatalogProduct, &[product.id.as_str()]);
                self.batch.remove(&key);
            }
            for sku in product.skus.keys() {
                if !after.is_some_and(|after| after.skus.contains_key(sku)) {
                    let key = self.key(KeySpace::CatalogSku, &[product.id.as_str(), sku.as_str()]);
                    self.batch.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn instance(&mut self, replaced: &Replaced<ProductInstance>) -> Result<(), StoreError> {
        match (&replaced.before, &replaced.after) {
            (_, Some(instance)) => self.put(
                KeySpace::CatalogInstance,
                &[instance.id.as_str()],
                &InstanceEntry {
                    id: instance.id.to_string(),
                    product: instance.product.to_string(),
                    name: instance.name.clone(),
                    state: instance.state,
                },
            ),
            (Some(instance), None) => {
                let key = self.key(KeySpace::CatalogInstance, &[instance.id.as_str()]);
                self.batch.remove(&key);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }
}
