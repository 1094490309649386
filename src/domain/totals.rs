//! Totals per series and quarter hour: what the store keeps and reports are made of.

use super::{
    calendar::QuarterRange,
    id::{ClientId, OrganizationId, ProductId, ProductInstanceId, SkuId},
    usage::UsageTarget,
};

/// The dimensions that totals are kept by, within one organization.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// What it is usage of.
    pub target: UsageTarget,
    /// What was counted.
    pub sku: SkuId,
    /// Who reported it.
    pub client: ClientId,
}

/// Restricts usage to some values of each dimension. An empty list does not restrict; a record
/// must satisfy every list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct UsageFilter {
    /// Products.
    pub products: Vec<ProductId>,
    /// Product instances; records without one do not match a list that is not empty.
    pub instances: Vec<ProductInstanceId>,
    /// SKUs.
    pub skus: Vec<SkuId>,
    /// Reporting clients.
    pub clients: Vec<ClientId>,
}

impl UsageFilter {
    /// Whether usage of this target, SKU and client is wanted.
    #[must_use]
    pub fn matches(&self, target: &UsageTarget, sku: &SkuId, client: &ClientId) -> bool {
        allows(&self.products, Some(&target.product))
            && allows(&self.instances, target.instance.as_ref())
            && allows(&self.skus, Some(sku))
            && allows(&self.clients, Some(client))
    }
}

/// Whether a list of wanted values lets one through: an empty list does with all.
pub(super) fn allows<T: PartialEq>(wanted: &[T], value: Option<&T>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
}

/// Asks the store for totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalsQuery {
    /// Whose usage.
    pub organization: OrganizationId,
    /// Which quarter hours of usage time.
    pub range: QuarterRange,
    /// Which series.
    pub filter: UsageFilter,
}
