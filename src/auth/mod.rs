//! Who is calling, and what they may do.
//!
//! Credentials become a [`Principal`]; one table says which permissions each method needs. Knows
//! nothing of what the methods do.

mod permission;
pub mod rpc_permissions;
mod token;

use crate::domain::{
    caller::Caller,
    id::{ClientId, IdError, OrganizationId},
};

pub use permission::Permission;
pub use token::{AdminToken, AdminTokenError};

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Principal {
    /// On whose behalf the call acts.
    pub caller: Caller,
    permissions: Vec<Permission>,
}

impl Principal {
    /// A principal with every permission there is.
    ///
    /// # Errors
    /// [`IdError`] if a name is no identifier.
    pub fn administrator(organization: &str, client: &str) -> Result<Self, IdError> {
        let caller = Caller {
            organization: OrganizationId::new(organization)?,
            client: ClientId::new(client)?,
        };
        Ok(Self { caller, permissions: Permission::ALL.to_vec() })
    }

    /// Whether the principal has at least one of `permissions`.
    #[must_use]
    pub fn has_any(&self, permissions: &[Permission]) -> bool {
        permissions.iter().any(|permission| self.permissions.contains(permission))
    }
}

/// Why a call is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials, and the server wants some.
    #[error("no credentials: send the header `authorization: Bearer <token>`")]
    Missing,
    /// The header is not of the form `Bearer <token>`.
    #[error("the authorization header must be of the form `Bearer <token>`")]
    Malformed,
    /// Nobody has this token.
    #[error("the token is not valid")]
    Invalid,
    /// The caller is known and may not do this.
    #[error("the caller needs one of the permissions {}", names(.0))]
    Forbidden(&'static [Permission]),
}

fn names(permissions: &[Permission]) -> String {
    permissions.iter().map(|permission| permission.as_str()).collect::<Vec<_>>().join(", ")
}

/// How callers are recognised.
#[derive(Debug, Clone)]
pub struct Authentication {
    admin_token: Option<(AdminToken, Principal)>,
    anonymous: Option<Principal>,
}

/// The organization of the static admin token.
pub const OPERATOR_ORGANIZATION: &str = "default";
/// The organization of callers without credentials in development mode.
pub const DEV_ORGANIZATION: &str = "dev";

impl Authentication {
    /// Callers with `admin_token` administer the organization `default`; with `dev`, callers without
    /// credentials administer the organization `dev`.
    ///
    /// # Errors
    /// Never in practice: the names are constants. [`IdError`] if they were no identifiers.
    pub fn new(admin_token: Option<AdminToken>, dev: bool) -> Result<Self, IdError> {
        let operator = Principal::administrator(OPERATOR_ORGANIZATION, "admin")?;
        let developer = Principal::administrator(DEV_ORGANIZATION, "dev")?;
        Ok(Self {
            admin_token: admin_token.map(|token| (token, operator)),
            anonymous: dev.then_some(developer),
        })
    }

    /// Whether any caller could get in.
    #[must_use]
    pub fn lets_anybody_in(&self) -> bool {
        self.admin_token.is_some() || self.anonymous.is_some()
    }

    /// Who the caller with this authorization header is.
    ///
    /// # Errors
    /// [`AuthError`] if nobody.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<&Principal, AuthError> {
        let Some(header) = authorization else {
            return self.anonymous.as_ref().ok_or(AuthError::Missing);
        };
        let (scheme, token) =
            header.split_at_checked("Bearer ".len()).ok_or(AuthError::Malformed)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(AuthError::Malformed);
        }
        match &self.admin_token {
            Some((expected, principal)) if expected.matches(token) => Ok(principal),
            _ => Err(AuthError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authentication(dev: bool) -> Authentication {
        Authentication::new(Some(AdminToken::new("a secret token").unwrap()), dev).unwrap()
    }

    #[test]
    fn the_token_and_nothing_else_lets_in() {
        let strict = authentication(false);
        let organization = |header: &[u8]| {
            strict
                .authenticate(Some(header))
                .map(|principal| principal.caller.organization.to_string())
        };
        assert_eq!(organization(b"Bearer a secret token"), Ok("default".into()));
        assert_eq!(organization(b"bearer a secret token"), Ok("default".into()));
        assert_eq!(organization(b"Bearer a secret tokem"), Err(AuthError::Invalid));
        assert_eq!(organization(b"Bearer "), Err(AuthError::Invalid));
        assert_eq!(organization(b"Basic abcdef"), Err(AuthError::Malformed));
        assert_eq!(organization(b""), Err(AuthError::Malformed));
        assert_eq!(strict.authenticate(None).unwrap_err(), AuthError::Missing);
    }

    #[test]
    fn development_mode_lets_in_without_credentials_but_not_with_wrong_ones() {
        let dev = authentication(true);
        assert_eq!(dev.authenticate(None).unwrap().caller.organization.as_str(), "dev");
        assert_eq!(dev.authenticate(Some(b"Bearer wrong")).unwrap_err(), AuthError::Invalid);
    }
}
