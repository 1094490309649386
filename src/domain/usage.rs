//! Usage records: as reported, and as stored.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    caller::Caller,
    id::{ClientId, OrganizationId, ProductId, ProductInstanceId, SkuId},
    quantity::Quantity,
};

/// What the usage is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageTarget {
    /// The product.
    pub product: ProductId,
    /// The instance of it, when the report named an instance rather than a product.
    pub instance: Option<ProductInstanceId>,
}

/// One record that passed every rule but the last: whether its uuid is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// The caller's identity for this record; compared by value.
    pub uuid: Uuid,
    /// What was used.
    pub sku: SkuId,
    /// How much.
    pub quantity: Quantity,
    /// When it was used.
    pub usage_time: Timestamp,
}

/// Records of one call for one target, to be decided and stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Who reports.
    pub caller: Caller,
    /// What the usage is of.
    pub target: UsageTarget,
    /// The records, in the order of the request.
    pub records: Vec<UsageRecord>,
    /// Decide only; store nothing.
    pub validate_only: bool,
}

/// Position of a stored record in the order of arrival, from 1. Several records stored by one
/// commit share a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogSequence(pub u64);

/// A record as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Who reported it.
    pub client: ClientId,
    /// What it is usage of.
    pub target: UsageTarget,
    /// The record itself.
    pub record: UsageRecord,
    /// When it was accepted, by the server's clock; never decreases along the log.
    pub stored_time: Timestamp,
    /// Where it stands in the log.
    pub sequence: LogSequence,
}

impl StoredRecord {
    /// Whether a later report of the same uuid says the same: target, SKU, quantity and usage time.
    /// Who reported it does not matter.
    #[must_use]
    pub fn says_the_same(&self, target: &UsageTarget, record: &UsageRecord) -> bool {
        self.target == *target && self.record == *record
    }
}
