//! On whose behalf a use case runs.

use super::id::{ClientId, OrganizationId};

/// The authenticated client and its organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Whose data the call may touch.
    pub organization: OrganizationId,
    /// Who is calling.
    pub client: ClientId,
}
