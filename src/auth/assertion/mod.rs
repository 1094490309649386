//! What a client says of itself, signed with its own key: the service-account JWT of Yandex' SDKs, and RFC 7523.

mod used;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::{Error, ErrorKind},
};
use serde_json::{Map, Value};

use self::used::{Use, UsedAssertions};
use super::{numeric_date::seconds, server_names::ServerNames};
use crate::domain::access::{Client, ClientDirectory};

pub use self::used::AssertionLimits;

/// A longer text is no assertion.
const ASSERTION_BYTES_MAX: usize = 8192;
/// The longest that an assertion may be good for (the vendor's rule).
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Clocks differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// So much of an audience that is not ours is logged.
const AUDIENCE_CHARS_MAX: usize = 200;
/// Bytes of a public RSA key of 2048 bits in PKCS#1; shorter ones are no proof any more.
const RSA_2048_DER_BYTES: usize = 268;

/// Why a public key cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// It is something else.
    #[error(
        "must be an RSA public key in PEM: -----BEGIN PUBLIC KEY----- or -----BEGIN RSA PUBLIC KEY-----"
    )]
    NoKey,
    /// It is too short.
    #[error("must have at least 2048 bits")]
    TooShort,
}

/// Checks that a text is a public key that assertions can be verified with.
///
/// # Errors
/// [`PublicKeyError`] if it is not.
pub fn check_public_key(pem: &str) -> Result<(), PublicKeyError> {
    // A private key would be read as well; nobody should have handed it over.
    if pem.contains("PRIVATE") {
        return Err(PublicKeyError::NoKey);
    }
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| PublicKeyError::NoKey)?;
    let der = key.try_get_as_bytes().map_err(|_| PublicKeyError::NoKey)?;
    if der.len() < RSA_2048_DER_BYTES { Err(PublicKeyError::TooShort) } else { Ok(()) }
}

/// Which check an assertion did not pass. For the log and the metric; the answer does not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    /// It is something else than a signed JWT, or too long.
    #[error("it is no signed JWT of at most {ASSERTION_BYTES_MAX} bytes")]
    Form,
    /// Its header has extensions that must be understood (RFC 7515, section 4.1.11), and there is none that is.
    #[error("its header has `crit`, and no extension is known here")]
    Critical,
    /// Its header does not say which key it is signed with.
    #[error("its header has no `kid`: the id of the client's public key")]
    NoKeyId,
    /// No client has the key that it names.
    #[error("no client has registered the public key that its `kid` names")]
    UnknownKey,
    /// Its algorithm is neither PS256 nor RS256.
    #[error("it is signed with another algorithm than PS256 or RS256")]
    Algorithm,
    /// It was not signed with the key that it names.
    #[error("its signature is not that of the key that its `kid` names")]
    Signature,
    /// A claim is missing or of the wrong type.
    #[error("its claim `{0}` is missing, or of the wrong type")]
    Claim(&'static str),
    /// Its claims name another client than the one with that key.
    #[error("its claim `{0}` is not the client that has registered the key")]
    OtherClient(&'static str),
    /// This server does not know what it is called.
    #[error("this server does not know what it is called: set --public-url")]
    NoNames,
    /// It is for another server.
    #[error(
        "its claim `aud` is {audience}, and this server is called {names}; --public-url says what it is called"
    )]
    Audience {
        /// What it is for.
        audience: String,
        /// What this server is called.
        names: String,
    },
    /// It is not valid yet.
    #[error("its claim `{0}` is in the future; do the clocks agree?")]
    NotYet(&'static str),
    /// It is not valid any more.
    #[error("it has expired; do the clocks agree?")]
    Expired,
    /// It is valid for too long.
    #[error("it is valid for more than an hour")]
    Lifetime,
    /// It was used before.
    #[error("it was used before: each is good for one sign-in")]
    Used,
    /// The client has used so many that no more can be remembered.
    #[error(
        "{per_client_max} assertions of the client, or eight times as many of its organization, have not expired (--client-assertions-max)"
    )]
    TooMany {
        /// How many of one client are remembered.
        per_client_max: usize,
    },
}

impl AssertionFault {
    /// One word for it, for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Critical => "critical",
            Self::NoKeyId => "no_key_id",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claim(_) => "claim",
            Self::OtherClient(_) => "other_client",
            Self::NoNames => "no_names",
            Self::Audience { .. } => "audience",
            Self::NotYet(_) => "not_yet",
            Self::Expired => "expired",
            Self::Lifetime => "lifetime",
            Self::Used => "used",
            Self::TooMany { .. } => "too_many",
        }
    }
}

/// An assertion that proves nothing.
#[derive(Debug)]
pub struct Refused {
    /// Which check it did not pass.
    pub fault: AssertionFault,
    /// The client whose signature it has, if that much is known.
    pub client: Option<Arc<Client>>,
}

impl From<AssertionFault> for Refused {
    fn from(fault: AssertionFault) -> Self {
        Self { fault, client: None }
    }
}

/// Verifies assertions, and remembers those that were used.
#[derive(Debug)]
pub struct Assertions {
    names: Arc<ServerNames>,
    used: UsedAssertions,
}

impl Assertions {
    /// For a server of these names.
    #[must_use]
    pub fn new(names: Arc<ServerNames>, limits: AssertionLimits) -> Self {
        Self { names, used: UsedAssertions::new(limits) }
    }

    /// What this server is called.
    #[must_use]
    pub fn names(&self) -> &ServerNames {
        &self.names
    }

    /// The client that signed an assertion for this server and for now, which it can do once.
    ///
    /// # Errors
    /// Which check it did not pass.
    pub fn verify(
        &self,
        assertion: &str,
        clients: &dyn ClientDirectory,
        now: Timestamp,
    ) -> Result<Arc<Client>, Refused> {
        let (client, claims) = genuine(assertion, clients)?;
        match self.use_up(assertion, &claims, &client, now) {
            Ok(()) => Ok(client),
            Err(fault) => Err(Refused { fault, client: Some(client) }),
        }
    }

    fn use_up(
        &self,
        assertion: &str,
        claims: &Map<String, Value>,
        client: &Client,
        now: Timestamp,
    ) -> Result<(), AssertionFault> {
        is_of(client, claims)?;
        self.is_for_us(claims)?;
        let now = now.as_second();
        let expires = is_for_now(claims, now)?;
        // Of an assertion without an id the signature is remembered, and not as it is spelt: base64 has several spellings.
        // The vendor's signatures have random salt, so two assertions of one second differ in them alone.
        let identity = match claims.get("jti") {
            Some(Value::String(id)) => [b"jti:", id.as_bytes()].concat(),
            Some(_) => return Err(AssertionFault::Claim("jti")),
            None => {
                let signature = assertion.rsplit('.').next().unwrap_or_default();
                let signature =
                    URL_SAFE_NO_PAD.decode(signature).map_err(|_| AssertionFault::Form)?;
                [b"signature:", signature.as_slice()].concat()
            }
        };
        match self.used.note(client, &identity, expires, now) {
            Use::First => Ok(()),
            Use::Again => Err(AssertionFault::Used),
            Use::NoRoom => {
                let per_client_max = self.used.limits().per_client_max;
                Err(AssertionFault::TooMany { per_client_max })
            }
        }
    }

    fn is_for_us(&self, claims: &Map<String, Value>) -> Result<(), AssertionFault> {
        let audience = claims.get("aud").ok_or(AssertionFault::Claim("aud"))?;
        let is_us = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.names.has_audience(audience))
        };
        let found = match audience {
            Value::String(_) => is_us(audience),
            Value::Array(several) => several.iter().any(is_us),
            _ => return Err(AssertionFault::Claim("aud")),
        };
        if found {
            return Ok(());
        }
        if self.names.is_empty() {
            return Err(AssertionFault::NoNames);
        }
        let names: Vec<String> = self.names.all().iter().map(ToString::to_string).collect();
        let audience = audience.to_string().chars().take(AUDIENCE_CHARS_MAX).collect();
        Err(AssertionFault::Audience { audience, names: names.join(", ") })
    }
}

/// The claims of an assertion that one of a client's keys signed, and the client.
fn genuine(
    assertion: &str,
    clients: &dyn ClientDirectory,
) -> Result<(Arc<Client>, Map<String, Value>), AssertionFault> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return Err(AssertionFault::Form);
    }
    // The header says which key to try and nothing else.
    let header = jsonwebtoken::decode_header(assertion).map_err(fault_of)?;
    if header.crit.is_some() {
        return Err(AssertionFault::Critical);
    }
    let key_id = header.kid.ok_or(AssertionFault::NoKeyId)?;
    let (client, pem) = clients.with_public_key(&key_id).ok_or(AssertionFault::UnknownKey)?;
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| AssertionFault::UnknownKey)?;
    let mut validation = Validation::new(Algorithm::PS256);
    validation.algorithms = vec![Algorithm::PS256, Algorithm::RS256];
    // What it says is for us to check, with our clock and one by one.
    validation.required_spec_claims.clear();
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let decoded = jsonwebtoken::decode(assertion, &key, &validation).map_err(fault_of)?;
    Ok((client, decoded.claims))
}

fn fault_of(error: Error) -> AssertionFault {
    match error.kind() {
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => AssertionFault::Algorithm,
        ErrorKind::InvalidSignature => AssertionFault::Signature,
        _ => AssertionFault::Form,
    }
}

fn is_of(client: &Client, claims: &Map<String, Value>) -> Result<(), AssertionFault> {
    for (name, is_needed) in [("iss", true), ("sub", false)] {
        match claims.get(name) {
            Some(Value::String(id)) if id == client.id.as_str() => {}
            Some(Value::String(_)) => return Err(AssertionFault::OtherClient(name)),
            None if !is_needed => {}
            Some(_) | None => return Err(AssertionFault::Claim(name)),
        }
    }
    Ok(())
}

/// Checks the times of an assertion; from when on it is refused.
fn is_for_now(claims: &Map<String, Value>, now: i64) -> Result<i64, AssertionFault> {
    let time = |name: &'static str| {
        claims.get(name).map(|value| seconds(value).ok_or(AssertionFault::Claim(name))).transpose()
    };
    let leeway = LEEWAY.as_secs();
    let issued = time("iat")?;
    for (name, begin) in [("nbf", time("nbf")?), ("iat", issued)] {
        if begin.is_some_and(|begin| begin.saturating_sub(leeway) > now) {
            return Err(AssertionFault::NotYet(name));
        }
    }
    let expires = time("exp")?.ok_or(AssertionFault::Claim("exp"))?;
    let refused_from = expires.saturating_add(leeway);
    if now >= refused_from {
        return Err(AssertionFault::Expired);
    }
    // Without a time of issue it may have been issued now, by a clock that is ahead of ours.
    let issued = issued.unwrap_or_else(|| now.saturating_add(leeway));
    if expires.saturating_sub(issued) > LIFETIME_MAX.as_secs() {
        return Err(AssertionFault::Lifetime);
    }
    Ok(refused_from)
}

#[cfg(test)]
mod tests;
