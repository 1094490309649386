//! The catalog of one organization: products with their SKUs, and sold instances of products.
//! Pure data and the rules of changing it; where it is kept is the store's business.

mod apply;
mod difference;
mod entries;
mod limits;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    exceeded_limit::ExceededLimit,
    id::{ProductId, ProductInstanceId, SkuId},
};

pub use difference::{CatalogDifference, Replaced};
pub use entries::Catalog;
pub use limits::{CatalogLimits, CatalogSize};

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

/// One broken rule of a desired catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogViolation {
    /// The member at fault, as a path such as `products[2].skus[0].name`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why a desired catalog is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogRefusal {
    /// It breaks rules; all of them are named.
    Invalid(Vec<CatalogViolation>),
    /// The organization would have more than it may; everything that it would have too many of is named.
    TooLarge(Vec<ExceededLimit>),
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
