//! Who is calling, and what they may do.
//!
//! Credentials become a [`Principal`]; one table says which permissions each method needs. Knows
//! nothing of what the methods do.

pub mod access_token;
pub mod assertion;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod numeric_date;
pub mod outside_issuer;
pub mod rpc_permissions;
pub mod server_names;
pub mod signing_keys;
mod token;

use std::sync::Arc;

use jiff::Timestamp;

use self::{
    access_token::{AccessTokens, TokenKind},
    outside_issuer::{ClaimError, OutsideIssuer},
};
use crate::domain::{
    access::{Client, ClientDirectory},
    caller::Caller,
    credential::CredentialHash,
    id::{ClientId, IdError, OrganizationId},
};

pub use crate::domain::permission::Permission;
pub use token::{AdminToken, AdminTokenError};

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Principal {
    /// On whose behalf the call acts.
    pub caller: Caller,
    permissions: Arc<[Permission]>,
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
        Ok(Self { caller, permissions: Permission::ALL.into() })
    }

    /// The principal that a client is.
    #[must_use]
    pub fn of_client(client: &Client) -> Self {
        let caller = client.caller();
        Self { caller, permissions: client.permissions.iter().copied().collect() }
    }

    /// Whether the principal is an operator: an administrator of the organization `default`.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.caller.organization.as_str() == OPERATOR_ORGANIZATION
            && self.has_any(&[Permission::AccessAdmin])
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
    #[error("no credentials: send the header `authorization: Bearer <token>` or `api-key: <key>`")]
    Missing,
    /// A header with credentials comes twice: which of them counts, two servers might see differently.
    #[error("the header `{0}` comes more than once; send one")]
    Repeated(&'static str),
    /// The header is not of the form `Bearer <token>`.
    #[error("the authorization header must be of the form `Bearer <token>`")]
    Malformed,
    /// Nobody has this token.
    #[error("the token is not valid")]
    Invalid,
    /// The token names a key that its issuer had not published when its keys were last read.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// The token is genuine, and does not say what it must.
    #[error("the token cannot be used: {0}")]
    Claims(#[from] ClaimError),
    /// Nobody has this API key, or not any more.
    #[error("the API key is not valid")]
    InvalidApiKey,
    /// Token and API key belong to different clients.
    #[error("the token and the API key belong to different clients")]
    DifferentClients,
    /// The caller is known and may not do this.
    #[error("the caller needs one of the permissions {}", Permission::names(.0))]
    Forbidden(&'static [Permission]),
}

impl AuthError {
    /// Whether credentials were shown that nobody has, as somebody does who guesses.
    #[must_use]
    pub fn is_of_credentials(self) -> bool {
        match self {
            Self::Invalid | Self::UnknownKey | Self::InvalidApiKey | Self::DifferentClients => true,
            Self::Missing
            | Self::Malformed
            | Self::Repeated(_)
            | Self::Claims(_)
            | Self::Forbidden(_) => false,
        }
    }
}

/// What a caller sends to be recognised.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The header `authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The header `api-key`.
    pub api_key: Option<&'a [u8]>,
}

/// How callers are recognised.
#[derive(Clone)]
pub struct Authentication {
    admin_token: Option<(AdminToken, Principal)>,
    anonymous: Option<Principal>,
    clients: Option<Arc<dyn ClientDirectory>>,
    tokens: Option<Arc<AccessTokens>>,
    issuer: Option<Arc<OutsideIssuer>>,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication")
            .field("admin_token", &self.admin_token.is_some())
            .field("anonymous", &self.anonymous.is_some())
            .finish_non_exhaustive()
    }
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
            clients: None,
            tokens: None,
            issuer: None,
        })
    }

    /// Lets in clients as well.
    #[must_use]
    pub fn with_clients(mut self, clients: Arc<dyn ClientDirectory>) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Accepts these tokens of clients, too.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<AccessTokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Accepts the tokens of an outside issuer, for organizations that exist.
    #[must_use]
    pub fn with_outside_issuer(mut self, issuer: Arc<OutsideIssuer>) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// The outside issuer, if there is one.
    #[must_use]
    pub fn outside_issuer(&self) -> Option<&Arc<OutsideIssuer>> {
        self.issuer.as_ref()
    }

    /// Whether somebody could get in who is no client.
    #[must_use]
    pub fn lets_in_without_clients(&self) -> bool {
        self.admin_token.is_some() || self.anonymous.is_some()
    }

    /// Whether callers without credentials are let in: development mode.
    #[must_use]
    pub fn lets_in_anybody(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Who the caller with these credentials is.
    ///
    /// # Errors
    /// [`AuthError`] if nobody, or two.
    pub fn authenticate(
        &self,
        credentials: Credentials<'_>,
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let by_header = |header| self.by_header(header, now);
        let by_token = credentials.authorization.map(by_header).transpose()?;
        let by_key = credentials.api_key.map(|key| self.by_api_key(key)).transpose()?;
        match (by_token, by_key) {
            (Some(token), Some(key)) if token.caller != key.caller => {
                Err(AuthError::DifferentClients)
            }
            (Some(principal), _) | (None, Some(principal)) => Ok(principal),
            (None, None) => self.anonymous.clone().ok_or(AuthError::Missing),
        }
    }

    fn by_header(&self, header: &[u8], now: Timestamp) -> Result<Principal, AuthError> {
        let (scheme, token) =
            header.split_at_checked("Bearer ".len()).ok_or(AuthError::Malformed)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(AuthError::Malformed);
        }
        if let Some((expected, principal)) = &self.admin_token
            && expected.matches(token)
        {
            return Ok(principal.clone());
        }
        match (self.by_token(token, now), &self.issuer) {
            (Some(principal), _) => Ok(principal),
            (None, Some(issuer)) => self.by_outside_token(issuer, token, now),
            (None, None) => Err(AuthError::Invalid),
        }
    }

    /// Permissions are the client's of this moment, not those of the token's: what is taken away is gone.
    fn by_token(&self, token: &[u8], now: Timestamp) -> Option<Principal> {
        let subject = self.tokens.as_ref()?.verify(token, TokenKind::Access, now)?;
        let clients = self.clients.as_ref()?;
        let client = clients
            .client(&subject.caller.organization, &subject.caller.client)
            .filter(|client| client.accepts_token_of(&subject))?;
        clients.used(&client);
        Some(Principal::of_client(&client))
    }

    fn by_outside_token(
        &self,
        issuer: &OutsideIssuer,
        token: &[u8],
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let principal = issuer.verify(token, now)?;
        let Caller { organization, client } = &principal.caller;
        let clients = self.clients.as_ref();
        if !clients.is_some_and(|clients| clients.has_organization(organization)) {
            return Err(ClaimError::UnknownOrganization.into());
        }
        // No client can be registered under such an id; one may have been before that was so.
        if clients.is_some_and(|clients| clients.client(organization, client).is_some()) {
            return Err(ClaimError::RegisteredClient.into());
        }
        Ok(principal)
    }

    fn by_api_key(&self, key: &[u8]) -> Result<Principal, AuthError> {
        let clients = self.clients.as_ref().ok_or(AuthError::InvalidApiKey)?;
        let client =
            clients.with_api_key(&CredentialHash::of(key)).ok_or(AuthError::InvalidApiKey)?;
        clients.used(&client);
        Ok(Principal::of_client(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a secret token of the administrator";

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn bearer(header: &[u8]) -> Credentials<'_> {
        Credentials { authorization: Some(header), api_key: None }
    }

    fn authentication(dev: bool) -> Authentication {
        Authentication::new(Some(AdminToken::new(TOKEN).unwrap()), dev).unwrap()
    }

    #[test]
    fn the_token_and_nothing_else_lets_in() {
        let strict = authentication(false);
        let organization = |header: &[u8]| {
            strict
                .authenticate(bearer(header), now())
                .map(|principal| principal.caller.organization.to_string())
        };
        assert_eq!(organization(format!("Bearer {TOKEN}").as_bytes()), Ok("default".into()));
        assert_eq!(organization(format!("bearer {TOKEN}").as_bytes()), Ok("default".into()));
        assert_eq!(organization(format!("Bearer {TOKEN}x").as_bytes()), Err(AuthError::Invalid));
        assert_eq!(organization(b"Bearer "), Err(AuthError::Invalid));
        assert_eq!(organization(b"Basic abcdef"), Err(AuthError::Malformed));
        assert_eq!(organization(b""), Err(AuthError::Malformed));
        assert_eq!(
            strict.authenticate(Credentials::default(), now()).unwrap_err(),
            AuthError::Missing
        );
    }

    #[test]
    fn development_mode_lets_in_without_credentials_but_not_with_wrong_ones() {
        let dev = authentication(true);
        assert_eq!(
            dev.authenticate(Credentials::default(), now()).unwrap().caller.organization.as_str(),
            "dev"
        );
        assert_eq!(
            dev.authenticate(bearer(b"Bearer wrong"), now()).unwrap_err(),
            AuthError::Invalid
        );
    }
}
