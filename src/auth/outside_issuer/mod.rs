//! Tokens of somebody else's identity provider (OpenID Connect, RFC 9068): verified with its public keys, which
//! whoever runs the server keeps up to date.

mod claims;
mod key_set;
mod refresh;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Validation, errors::ErrorKind};
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

pub use self::{
    claims::{ClaimError, ClaimMapping, OrganizationSource},
    key_set::{KeySet, KeySetError},
    refresh::Refresh,
};
use super::{AuthError, Principal, numeric_date::seconds};
use crate::domain::credential::CredentialHash;

/// A longer text is no token: so much are all headers of a request. Providers that put the groups of a user into tokens
/// make them of 16 KiB.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// What access tokens call themselves, if they do (RFC 9068, section 2.1; most providers say `JWT`).
const TOKEN_TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];
/// Claims that ID tokens alone have (OpenID Connect Core, section 3.3.2.11, and the Financial-grade API).
const ID_TOKEN_CLAIMS: [&str; 3] = ["at_hash", "c_hash", "s_hash"];
/// Tokens that need not be verified again.
const VERIFIED_MAX: usize = 16_384;
/// Clocks differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Whose tokens are accepted, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What the claim `iss` must be, with or without a slash at its end; `None` if it may call itself anything.
    pub issuer: Option<String>,
    /// What the claim `aud` must contain.
    pub audience: String,
    /// Who is calling.
    pub mapping: ClaimMapping,
}

/// A token that was found genuine.
struct Verified {
    principal: Principal,
    not_before: i64,
    expires: i64,
}

/// An issuer, with the keys of this moment.
pub struct OutsideIssuer {
    settings: IssuerSettings,
    keys: ArcSwap<KeySet>,
    // By the hash of the token; emptied when the keys change.
    verified: Cache<CredentialHash, Arc<Verified>>,
    refresh: Refresh,
}

impl std::fmt::Debug for OutsideIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutsideIssuer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl OutsideIssuer {
    /// Without keys; nobody gets in before [`Self::put_keys`].
    #[must_use]
    pub fn new(settings: IssuerSettings) -> Self {
        Self {
            settings,
            keys: ArcSwap::default(),
            verified: Cache::new(VERIFIED_MAX),
            refresh: Refresh::default(),
        }
    }

    /// Replaces the keys: tokens signed with others are not accepted any more.
    pub fn put_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
        self.verified.clear();
    }

    /// How reading the keys again is asked for and told.
    #[must_use]
    pub fn refresh(&self) -> &Refresh {
        &self.refresh
    }

    /// Who sends a token; its organization may still be one that does not exist.
    ///
    /// # Errors
    /// [`AuthError::UnknownKey`] if the issuer may have got new keys since, others if the token is no good.
    pub fn verify(&self, token: &[u8], now: Timestamp) -> Result<Principal, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let hash = CredentialHash::of(token);
        let verified = match self.verified.get(&hash) {
            Some(verified) => verified,
            None => {
                let keys = self.keys.load();
                let verified = Arc::new(self.decode(token, &keys)?);
                self.verified.insert(hash, Arc::clone(&verified));
                // If the keys changed meanwhile, the cache may have been emptied before it got this.
                if !Arc::ptr_eq(&keys, &self.keys.load()) {
                    self.verified.remove(&CredentialHash::of(token));
                }
                verified
            }
        };
        let (leeway, now) = (LEEWAY.as_secs(), now.as_second());
        let is_now = verified.not_before.saturating_sub(leeway) <= now
            && now < verified.expires.saturating_add(leeway);
        if is_now { Ok(verified.principal.clone()) } else { Err(ClaimError::NotNow.into()) }
    }

    fn decode(&self, token: &[u8], keys: &KeySet) -> Result<Verified, AuthError> {
        // The header only says which key to try; what the key may be used with is the issuer's to say.
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        if header.crit.is_some() {
            return Err(ClaimError::Critical.into());
        }
        let is_for_calls =
            |name: &str| TOKEN_TYPES.iter().any(|each| each.eq_ignore_ascii_case(name));
        if !header.typ.as_deref().is_none_or(is_for_calls) {
            return Err(ClaimError::NotForCalls.into());
        }
        let key = keys.find(header.kid.as_deref(), header.alg).ok_or(AuthError::UnknownKey)?;
        let mut validation = Validation::new(header.alg);
        if let Some(issuer) = &self.settings.issuer {
            // The configuration of an issuer is found without the slash that its name may end with, so settings leave it out
            // or add one. Both names are of one issuer.
            let issuer = issuer.trim_end_matches('/');
            validation.set_issuer(&[issuer.to_owned(), format!("{issuer}/")]);
        }
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(match self.settings.issuer {
            Some(_) => &["exp", "aud", "iss"],
            None => &["exp", "aud"][..],
        });
        // Times are compared with our clock, not with the system's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidIssuer
                | ErrorKind::InvalidAudience
                | ErrorKind::MissingRequiredClaim(_) => ClaimError::NotForUs.into(),
                _ => AuthError::Invalid,
            })?
            .claims;
        // Keycloak says it with a claim. An ID token proves a sign-in to an application and passes through browsers: where its
        // audience fits, it must not be good for calls.
        let is_id_token = ID_TOKEN_CLAIMS.iter().any(|name| claims.contains_key(*name))
            || claims.get("typ").and_then(Value::as_str) == Some("ID");
        if is_id_token {
            return Err(ClaimError::NotForCalls.into());
        }
        let not_before = match claims.get("nbf") {
            Some(value) => seconds(value).ok_or(AuthError::Invalid)?,
            None => i64::MIN,
        };
        let expires = claims.get("exp").and_then(seconds).ok_or(AuthError::Invalid)?;
        Ok(Verified { principal: self.settings.mapping.principal(&claims)?, not_before, expires })
    }
}

#[cfg(test)]
mod tests;
