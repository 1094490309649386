//! The catalog.

use std::collections::BTreeMap;

use crate::{
    api::pb::meterd::v1 as pb,
    domain::{
        asset::Asset,
        catalog::{
            CatalogChange, ChangeKind, DesiredCatalog, EntryKind, Product, ProductInstance, Sku,
            State,
        },
        id::{IdError, ProductId, ProductInstanceId, SkuId},
    },
    service::{
        FieldViolation, Page, PageRequest, ServiceError,
        assets::{AssetChanges, NewAsset},
    },
};

/// Collects what is wrong with a request while it is read to the end.
#[derive(Default)]
struct Reading(Vec<FieldViolation>);

impl Reading {
    fn id<T>(
        &mut self,
        field: &str,
        text: &str,
        new: impl Fn(&str) -> Result<T, IdError>,
    ) -> Option<T> {
        new(text).map_err(|error| self.0.push(FieldViolation::new(field, error.to_string()))).ok()
    }

    fn state(&mut self, field: &str, number: i32) -> State {
        match pb::CatalogState::try_from(number) {
            Ok(pb::CatalogState::Unspecified | pb::CatalogState::Active) => State::Active,
            Ok(pb::CatalogState::Retired) => State::Retired,
            Err(_) => {
                self.0.push(FieldViolation::new(
                    field,
                    format!("has the value {number}, which is no state"),
                ));
                State::Active
            }
        }
    }

    fn product(&mut self, path: &str, product: pb::Product) -> Option<Product> {
        let mut skus = BTreeMap::new();
        for (place, sku) in product.skus.into_iter().enumerate() {
            let path = format!("{path}.skus[{place}]");
            let Some(sku) = self.sku(&path, sku) else { continue };
            if skus.contains_key(&sku.id) {
                let description = format!("{} stands there twice", sku.id);
                self.0.push(FieldViolation::new(format!("{path}.id"), description));
            }
            skus.insert(sku.id.clone(), sku);
        }
        let state = self.state(&format!("{path}.state"), product.state);
        let id = self.id(&format!("{path}.id"), &product.id, ProductId::new)?;
        Some(Product { id, name: product.name, state, skus })
    }

    fn sku(&mut self, path: &str, sku: pb::Sku) -> Option<Sku> {
        let state = self.state(&format!("{path}.state"), sku.state);
        let id = self.id(&format!("{path}.id"), &sku.id, SkuId::new)?;
        Some(Sku { id, name: sku.name, usage_unit: sku.usage_unit, state })
    }

    fn instance(&mut self, path: &str, instance: pb::ProductInstance) -> Option<ProductInstance> {
        let state = self.state(&format!("{path}.state"), instance.state);
        let id = self.id(&format!("{path}.id"), &instance.id, ProductInstanceId::new);
        let product = self.id(&format!("{path}.product_id"), &instance.product_id, ProductId::new);
        Some(ProductInstance { id: id?, product: product?, name: instance.name, state })
    }
}

/// The desired catalog; every member that cannot be read is a violation.
pub(in crate::api) fn desired_from_proto(
    request: pb::ApplyCatalogRequest,
) -> Result<DesiredCatalog, ServiceError> {
    let mut reading = Reading::default();
    let products = request.products.into_iter().enumerate();
    let products = products
        .filter_map(|(place, product)| reading.product(&format!("products[{place}]"), product))
        .collect();
    let instances = request.product_instances.into_iter().enumerate();
    let instances = instances
        .filter_map(|(place, instance)| {
            reading.instance(&format!("product_instances[{place}]"), instance)
        })
        .collect();
    if reading.0.is_empty() {
        Ok(DesiredCatalog { products, instances, prune: request.prune })
    } else {
        Err(ServiceError::InvalidArgument(reading.0))
    }
}

pub(in crate::api) fn changes_to_proto(changes: Vec<CatalogChange>) -> pb::ApplyCatalogResponse {
    let changes = changes.into_iter().map(|CatalogChange { entry, id, change }| {
        let kind = match change {
            ChangeKind::Created => pb::CatalogChangeKind::Created,
            ChangeKind::Updated => pb::CatalogChangeKind::Updated,
            ChangeKind::Retired => pb::CatalogChangeKind::Retired,
            ChangeKind::Deleted => pb::CatalogChangeKind::Deleted,
        };
        let entry = match entry {
            EntryKind::Product => pb::CatalogEntryKind::Product,
            EntryKind::Sku => pb::CatalogEntryKind::Sku,
            EntryKind::ProductInstance => pb::CatalogEntryKind::ProductInstance,
        };
        pb::CatalogChange { kind: kind.into(), entry: entry.into(), id }
    });
    pb::ApplyCatalogResponse { changes: changes.collect() }
}

fn state_to_proto(state: State) -> i32 {
    match state {
        State::Active => pb::CatalogState::Active.into(),
        State::Retired => pb::CatalogState::Retired.into(),
    }
}

pub(in crate::api) fn product_to_proto(product: Product) -> pb::Product {
    let skus = product.skus.into_values().map(|sku| pb::Sku {
        id: sku.id.to_string(),
        name: sku.name,
        usage_unit: sku.usage_unit,
        state: state_to_proto(sku.state),
    });
    pb::Product {
        id: product.id.to_string(),
        name: product.name,
        state: state_to_proto(product.state),
        skus: skus.collect(),
    }
}

pub(in crate::api) fn instance_to_proto(instance: ProductInstance) -> pb::ProductInstance {
    pb::ProductInstance {
        id: instance.id.to_string(),
        product_id: instance.product.to_string(),
        name: instance.name,
        state: state_to_proto(instance.state),
    }
}

pub(in crate::api) fn products_to_proto(page: Page<Product>) -> pb::ListProductsResponse {
    pb::ListProductsResponse {
        products: page.items.into_iter().map(product_to_proto).collect(),
        next_page_token: page.next_page_token,
    }
}

pub(in crate::api) fn instances_to_proto(
    page: Page<ProductInstance>,
) -> pb::ListProductInstancesResponse {
    pb::ListProductInstancesResponse {
        product_instances: page.items.into_iter().map(instance_to_proto).collect(),
        next_page_token: page.next_page_token,
    }
}

pub(in crate::api) fn page_from_proto(page_size: i32, page_token: String) -> PageRequest {
    PageRequest { page_size, page_token }
}

/// Assets as they should be; unknown states are violations, everything else is judged later.
pub(in crate::api) fn assets_from_proto(
    assets: Vec<pb::Asset>,
) -> Result<Vec<NewAsset>, ServiceError> {
    let mut reading = Reading::default();
    let assets = assets.into_iter().enumerate().map(|(place, asset)| NewAsset {
        id: asset.id,
        name: asset.name,
        state: reading.state(&format!("assets[{place}].state"), asset.state),
    });
    let assets = assets.collect();
    if reading.0.is_empty() { Ok(assets) } else { Err(ServiceError::InvalidArgument(reading.0)) }
}

pub(in crate::api) fn asset_to_proto(asset: Asset) -> pb::Asset {
    let Asset { id, name, state } = asset;
    pb::Asset { id: id.to_string(), name, state: state_to_proto(state) }
}

pub(in crate::api) fn asset_changes_to_proto(changes: AssetChanges) -> pb::ApplyAssetsResponse {
    // At most a thousand of each.
    let count = |assets: usize| i32::try_from(assets).unwrap_or(i32::MAX);
    pb::ApplyAssetsResponse {
        created_count: count(changes.created),
        updated_count: count(changes.updated),
        unchanged_count: count(changes.unchanged),
    }
}
