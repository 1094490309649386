//! Who changed what.

use std::{fmt, net::IpAddr, str::FromStr};

use jiff::Timestamp;

use super::{
    caller::Caller,
    id::{ClientId, IdError, OrganizationId},
};

/// Who makes a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The client.
    pub caller: Caller,
    /// The address that its connection comes from; `None` for meterd itself.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// meterd itself, acting in an organization: at start, for a file that it was given.
    ///
    /// # Errors
    /// Never in practice: its name is a constant. [`IdError`] if it were no identifier.
    pub fn meterd(organization: &OrganizationId) -> Result<Self, IdError> {
        let caller =
            Caller { organization: organization.clone(), client: ClientId::new("meterd")? };
        Ok(Self { caller, address: None })
    }
}

/// A change that is kept on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Counts the events of an organization, from 1.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// Who: not always of the organization that the event belongs to.
    pub actor: Actor,
    /// What was done.
    pub action: AuditAction,
    /// To what: an id.
    pub subject: String,
    /// What else is worth knowing.
    pub detail: String,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $name:literal,)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AuditAction {
            $($(#[$doc])* $action,)*
        }

        impl AuditAction {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$action),*];

            /// Its name, on the wire and on the disk.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)*
                }
            }
        }
    };
}

actions! {
    /// The catalog was changed.
    CatalogApplied = "catalog.apply",
    /// A product was removed from the catalog.
    ProductDeleted = "catalog.product.delete",
    /// A product instance was removed from the catalog.
    InstanceDeleted = "catalog.productInstance.delete",
    /// Assets were created or changed.
    AssetsApplied = "catalog.assets.apply",
    /// An asset was removed from the catalog.
    AssetDeleted = "catalog.asset.delete",
    /// An organization was created.
    OrganizationCreated = "access.organization.create",
    /// A client was created.
    ClientCreated = "access.client.create",
    /// A client's name or permissions were changed.
    ClientUpdated = "access.client.update",
    /// A client got a new secret.
    SecretRotated = "access.client.rotateSecret",
    /// A client got a new API key.
    ApiKeyRotated = "access.client.rotateApiKey",
    /// A client registered a public key.
    PublicKeyAdded = "access.client.addPublicKey",
    /// A public key of a client was removed.
    PublicKeyRemoved = "access.client.removePublicKey",
    /// The key that signs tokens was replaced.
    SigningKeyRotated = "access.signingKey.rotate",
    /// All of the store was read for a backup.
    StoreBackedUp = "store.backUp",
    /// A client was deleted.
    ClientDeleted = "access.client.delete",
}

/// A name that no action has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such action")]
pub struct UnknownAction;

impl FromStr for AuditAction {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name).ok_or(UnknownAction)
    }
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
