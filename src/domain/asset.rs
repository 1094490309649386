//! Assets: what usage batches may report.

use super::{catalog::State, id::AssetId};

/// Something whose use is reported in batches, such as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Unique within the organization.
    pub id: AssetId,
    /// For people.
    pub name: String,
    /// Whether new usage is accepted.
    pub state: State,
}
