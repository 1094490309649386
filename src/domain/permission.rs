//! What a caller can be allowed to do.

use std::{fmt, str::FromStr};

/// A permission, by the name that clients are given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Report product usage.
    UsageProductWrite,
    /// See product usage.
    UsageProductView,
    /// Report asset usage.
    UsageAssetReport,
    /// See asset usage.
    UsageAssetView,
    /// Report API usage.
    UsageApiWrite,
    /// See the API usage of single clients, and the organization's by the older queries. The vendor's name.
    OauthClientView,
    /// See the API usage of single clients.
    UsageClientView,
    /// See the organization's API usage.
    UsageOrganizationView,
    /// Search the organization's API usage. The vendor's name.
    UsageSimpleSearchView,
    /// See the catalog.
    CatalogView,
    /// Change the catalog.
    CatalogAdmin,
    /// Change who may call, and see who changed what.
    AccessAdmin,
}

/// A text that names no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such permission; there are {}", Permission::names(&Permission::ALL))]
pub struct UnknownPermission;

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 12] = [
        Self::UsageProductWrite,
        Self::UsageProductView,
        Self::UsageAssetReport,
        Self::UsageAssetView,
        Self::UsageApiWrite,
        Self::OauthClientView,
        Self::UsageClientView,
        Self::UsageOrganizationView,
        Self::UsageSimpleSearchView,
        Self::CatalogView,
        Self::CatalogAdmin,
        Self::AccessAdmin,
    ];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsageProductWrite => "usage:product:write",
            Self::UsageProductView => "usage:product:view",
            Self::UsageAssetReport => "usage:asset:report",
            Self::UsageAssetView => "usage:asset:view",
            Self::UsageApiWrite => "usage:api:write",
            Self::OauthClientView => "oauth:client:view",
            Self::UsageClientView => "usage:client:view",
            Self::UsageOrganizationView => "usage:organization:view",
            Self::UsageSimpleSearchView => "usage:simpleSearch:view",
            Self::CatalogView => "catalog:view",
            Self::CatalogAdmin => "catalog:admin",
            Self::AccessAdmin => "access:admin",
        }
    }

    /// Their names, for people.
    #[must_use]
    pub fn names(permissions: &[Self]) -> String {
        permissions.iter().map(|permission| permission.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, UnknownPermission> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or(UnknownPermission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
        }
        assert_eq!("usage:product".parse::<Permission>(), Err(UnknownPermission));
    }
}
