//! What a caller can be allowed to do.

/// A permission, by the name that clients are given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Report product usage.
    UsageProductWrite,
    /// See product usage.
    UsageProductView,
    /// See the catalog.
    CatalogView,
    /// Change the catalog.
    CatalogAdmin,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 4] =
        [Self::UsageProductWrite, Self::UsageProductView, Self::CatalogView, Self::CatalogAdmin];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsageProductWrite => "usage:product:write",
            Self::UsageProductView => "usage:product:view",
            Self::CatalogView => "catalog:view",
            Self::CatalogAdmin => "catalog:admin",
        }
    }
}
