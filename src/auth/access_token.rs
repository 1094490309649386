//! Our own tokens: signed JWTs (RFC 7519), of one algorithm, for one audience.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Header, Validation};
use parking_lot::{Mutex, MutexGuard};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::signing_keys::{SigningKeyError, SigningKeys};
use crate::domain::{
    access::{ClientGeneration, TokenSubject},
    caller::Caller,
    credential::CredentialHash,
    id::{ClientId, OrganizationId},
};

/// Who issues our tokens, and for whom.
const ISSUER: &str = "meterd";
/// A longer text is no token of ours.
const TOKEN_BYTES_MAX: usize = 4096;
/// Tokens that need not be verified again.
const VERIFIED_MAX: usize = 16_384;
/// Clocks of several machines that share a key differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// For calls.
    Access,
    /// For getting another token.
    Refresh,
}

impl TokenKind {
    /// How long it is valid. Vendors' SDKs renew a token five minutes before its end.
    #[must_use]
    pub const fn lifetime(self) -> SignedDuration {
        match self {
            Self::Access => SignedDuration::from_hours(1),
            Self::Refresh => SignedDuration::from_hours(24),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    org: String,
    /// The client's generation in hexadecimal digits, and its token epoch. Missing in tokens from before there were such;
    /// those are for clients that have neither.
    #[serde(default)]
    generation: String,
    #[serde(default)]
    epoch: u64,
    kind: TokenKind,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
}

/// A token that was found genuine.
#[derive(Debug, Clone)]
struct Verified {
    subject: TokenSubject,
    kind: TokenKind,
    not_before: i64,
    expires: i64,
}

impl Verified {
    fn is_valid(&self, now: Timestamp) -> bool {
        let (leeway, now) = (LEEWAY.as_secs(), now.as_second());
        self.not_before.saturating_sub(leeway) <= now && now < self.expires.saturating_add(leeway)
    }
}

/// Issues and verifies tokens.
#[derive(Debug)]
pub struct AccessTokens {
    keys: ArcSwap<SigningKeys>,
    // One rotation at a time.
    rotating: Mutex<()>,
    // By the hash of the token: what is in memory opens nothing.
    verified: Cache<CredentialHash, Arc<Verified>>,
}

/// A token cannot be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no token can be signed")]
pub struct CannotSign;

impl AccessTokens {
    /// With these keys.
    #[must_use]
    pub fn new(keys: SigningKeys) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
            rotating: Mutex::new(()),
            verified: Cache::new(VERIFIED_MAX),
        }
    }

    /// A token for a client.
    ///
    /// # Errors
    /// [`CannotSign`] if there is no key that can.
    pub fn issue(
        &self,
        subject: &TokenSubject,
        kind: TokenKind,
        now: Timestamp,
    ) -> Result<String, CannotSign> {
        let keys = self.keys.load();
        let key = keys.signing().ok_or(CannotSign)?;
        let issued = now.as_second();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            sub: subject.caller.client.to_string(),
            org: subject.caller.organization.to_string(),
            generation: format!("{:x}", subject.generation.0),
            epoch: subject.token_epoch,
            kind,
            iat: issued,
            nbf: issued,
            exp: issued.saturating_add(kind.lifetime().as_secs()),
            jti: Uuid::new_v4().to_string(),
        };
        let header =
            Header { kid: keys.ids().next().map(Into::into), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &key.signs).map_err(|_| CannotSign)
    }

    /// For whom a token was issued; `None` if it is not genuine, of another kind, or not valid at `now`. Whether the client
    /// is still there and accepts it, [`Client::accepts_token_of`] says.
    ///
    /// [`Client::accepts_token_of`]: crate::domain::access::Client::accepts_token_of
    #[must_use]
    pub fn verify(&self, token: &[u8], kind: TokenKind, now: Timestamp) -> Option<TokenSubject> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash = CredentialHash::of(token);
        let verified = match self.verified.get(&hash) {
            Some(verified) => verified,
            None => {
                let keys = self.keys.load();
                let verified = Arc::new(decode(&keys, token)?);
                self.verified.insert(hash, Arc::clone(&verified));
                // If keys were revoked meanwhile, the cache may have been emptied before it got this.
                if !Arc::ptr_eq(&keys, &self.keys.load()) {
                    self.verified.clear();
                }
                verified
            }
        };
        (verified.kind == kind && verified.is_valid(now)).then(|| verified.subject.clone())
    }

    /// Begins to sign with a new key. Tokens signed with those before stay valid for their time, or, with `revoke`, not a
    /// moment longer. Nothing has changed before [`Rotation::complete`]. Called where blocking is allowed.
    ///
    /// # Errors
    /// [`SigningKeyError`] if no key can be made, or there are too many.
    pub fn rotate(&self, now: Timestamp, revoke: bool) -> Result<Rotation<'_>, SigningKeyError> {
        let one = self.rotating.lock();
        let keys = self.keys.load().rotated(now, revoke)?;
        Ok(Rotation { tokens: self, keys, _one: one })
    }

    /// The public keys, as RFC 7517 has them.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.load().jwks()
    }
}

/// A rotation that nothing refuses any more, and that is not carried out yet: the keys are staged, then the event that tells of
/// it is put on record, then they take effect. After a crash the start does the last step if the event is there, and forgets the
/// keys if not: so no refused rotation has an event, and none is without.
#[derive(Debug)]
pub struct Rotation<'a> {
    tokens: &'a AccessTokens,
    keys: SigningKeys,
    // No other one until this one is over.
    _one: MutexGuard<'a, ()>,
}

impl Rotation<'_> {
    /// The ids of all keys, the new one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.ids()
    }

    /// Keeps the keys beside those in use, with the name of the event.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if they cannot be written; then nothing is there.
    pub fn stage(&self, event: &str) -> Result<(), SigningKeyError> {
        self.keys.stage(event)
    }

    /// Signs with the new key from now on.
    ///
    /// # Errors
    /// [`SigningKeyError::File`] if the keys cannot be put in place; the next start does it.
    pub fn complete(self) -> Result<(), SigningKeyError> {
        self.keys.put_in_place()?;
        self.tokens.keys.store(Arc::new(self.keys));
        self.tokens.verified.clear();
        Ok(())
    }
}

fn decode(keys: &SigningKeys, token: &[u8]) -> Option<Verified> {
    // The header only says which key to try; the algorithm is ours to say.
    let id = jsonwebtoken::decode_header(token).ok()?.kid?;
    let key = keys.with_id(&id)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // Times are compared with our clock, not with the system's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &validation).ok()?.claims;
    Some(Verified {
        subject: TokenSubject {
            caller: Caller {
                organization: OrganizationId::new(&claims.org).ok()?,
                client: ClientId::new(&claims.sub).ok()?,
            },
            generation: generation(&claims.generation)?,
            token_epoch: claims.epoch,
        },
        kind: claims.kind,
        not_before: claims.nbf,
        expires: claims.exp,
    })
}

/// The generation that a claim spells.
fn generation(text: &str) -> Option<ClientGeneration> {
    if text.is_empty() {
        return Some(ClientGeneration::default());
    }
    u64::from_str_radix(text, 16).ok().map(ClientGeneration)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{DecodingKey, EncodingKey};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn subject() -> TokenSubject {
        TokenSubject {
            caller: Caller {
                organization: OrganizationId::new("acme").unwrap(),
                client: ClientId::new("agent").unwrap(),
            },
            generation: ClientGeneration(u64::MAX),
            token_epoch: 3,
        }
    }

    fn tokens() -> AccessTokens {
        AccessTokens::new(SigningKeys::ephemeral().unwrap())
    }

    #[test]
    fn rotation_keeps_tokens_and_revocation_does_not() {
        let tokens = tokens();
        let first = tokens.issue(&subject(), TokenKind::Access, now()).unwrap();
        let is_valid =
            |token: &str| tokens.verify(token.as_bytes(), TokenKind::Access, now()).is_some();
        assert!(is_valid(&first));
        tokens.rotate(now(), false).unwrap().complete().unwrap();
        assert_eq!(tokens.keys.load().ids().count(), 2);
        let second = tokens.issue(&subject(), TokenKind::Access, now()).unwrap();
        assert!(is_valid(&first) && is_valid(&second));
        assert_eq!(tokens.jwks()["keys"].as_array().unwrap().len(), 2);
        // One that is not carried out changes nothing.
        drop(tokens.rotate(now(), true).unwrap());
        assert_eq!(tokens.keys.load().ids().count(), 2);
        tokens.rotate(now(), true).unwrap().complete().unwrap();
        assert_eq!(tokens.keys.load().ids().count(), 1);
        assert!(!is_valid(&first) && !is_valid(&second));
    }

    #[test]
    fn a_token_is_valid_for_its_time_and_purpose() {
        let tokens = tokens();
        let token = tokens.issue(&subject(), TokenKind::Access, now()).unwrap();
        let verify = |kind, seconds| {
            tokens.verify(token.as_bytes(), kind, now() + SignedDuration::from_secs(seconds))
        };
        // Twice each: the second time from memory.
        for _ in 0..2 {
            assert_eq!(verify(TokenKind::Access, 0), Some(subject()));
            assert_eq!(verify(TokenKind::Access, 3629), Some(subject()));
            assert_eq!(verify(TokenKind::Access, 3630), None, "expired");
            assert_eq!(verify(TokenKind::Access, -30), Some(subject()));
            assert_eq!(verify(TokenKind::Access, -31), None, "not yet valid");
            assert_eq!(verify(TokenKind::Refresh, 0), None, "of another kind");
        }
    }

    #[test]
    fn forgeries() {
        let tokens = tokens();
        let genuine = tokens.issue(&subject(), TokenKind::Access, now()).unwrap();
        let [header, payload, signature] =
            genuine.split('.').collect::<Vec<_>>().try_into().unwrap();
        let kid = jsonwebtoken::decode_header(&genuine).unwrap().kid.unwrap();
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let other_payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap())
            .unwrap()
            .replace("acme", "evil");
        let claims = |change: fn(&mut Claims)| {
            let mut claims = Claims {
                iss: ISSUER.into(),
                aud: ISSUER.into(),
                sub: "agent".into(),
                org: "acme".into(),
                generation: "ffffffffffffffff".into(),
                epoch: 3,
                kind: TokenKind::Access,
                iat: now().as_second(),
                nbf: now().as_second(),
                exp: now().as_second() + 60,
                jti: String::new(),
            };
            change(&mut claims);
            claims
        };
        let signed = |header: Header, claims: Claims, key: &EncodingKey| {
            jsonwebtoken::encode(&header, &claims, key).unwrap()
        };
        let with_kid = |algorithm| Header { kid: Some(kid.clone()), ..Header::new(algorithm) };
        let keys = tokens.keys.load();
        let own = &keys.signing().unwrap().signs;
        let foreign = SigningKeys::ephemeral().unwrap();
        let foreign = &foreign.signing().unwrap().signs;
        // Our public key, taken for a shared secret.
        let public = URL_SAFE_NO_PAD.decode(&keys.signing().unwrap().public).unwrap();
        let shared = EncodingKey::from_secret(&public);
        let eddsa = || with_kid(Algorithm::EdDSA);
        for (name, token) in [
            ("nothing", String::new()),
            ("garbage", "garbage".into()),
            ("dots", "...".into()),
            ("much", "x".repeat(100_000)),
            (
                "alg none",
                format!(
                    "{}.{payload}.",
                    encoded(&format!("{{\"alg\":\"none\",\"kid\":\"{kid}\"}}"))
                ),
            ),
            ("no signature", format!("{header}.{payload}.")),
            ("another payload", format!("{header}.{}.{signature}", encoded(&other_payload))),
            ("another signature", format!("{header}.{payload}.{}", encoded(&"x".repeat(64)))),
            ("another key", signed(eddsa(), claims(|_| {}), foreign)),
            (
                "HMAC with our public key",
                signed(with_kid(Algorithm::HS256), claims(|_| {}), &shared),
            ),
            ("no kid", signed(Header::new(Algorithm::EdDSA), claims(|_| {}), own)),
            (
                "an unknown kid",
                signed(Header { kid: Some("x".into()), ..eddsa() }, claims(|_| {}), own),
            ),
            ("another issuer", signed(eddsa(), claims(|claims| claims.iss = "evil".into()), own)),
            ("another audience", signed(eddsa(), claims(|claims| claims.aud = "evil".into()), own)),
            ("expired", signed(eddsa(), claims(|claims| claims.exp -= 3600), own)),
            ("not yet valid", signed(eddsa(), claims(|claims| claims.nbf += 3600), own)),
            (
                "a generation that cannot be",
                signed(eddsa(), claims(|claims| claims.generation = "g".into()), own),
            ),
            (
                "a client that cannot be",
                signed(eddsa(), claims(|claims| claims.sub = String::new()), own),
            ),
        ] {
            assert_eq!(tokens.verify(token.as_bytes(), TokenKind::Access, now()), None, "{name}");
        }
        let good = signed(eddsa(), claims(|_| {}), own);
        assert_eq!(tokens.verify(good.as_bytes(), TokenKind::Access, now()), Some(subject()));
    }

    #[test]
    fn token_without_generation_is_for_a_client_without_one() {
        let tokens = tokens();
        let keys = tokens.keys.load();
        let header =
            Header { kid: keys.ids().next().map(Into::into), ..Header::new(Algorithm::EdDSA) };
        let second = now().as_second();
        let claims = serde_json::json!({
            "iss": ISSUER, "aud": ISSUER, "sub": "agent", "org": "acme", "kind": "access",
            "iat": second, "nbf": second, "exp": second + 60, "jti": "",
        });
        let token = jsonwebtoken::encode(&header, &claims, &keys.signing().unwrap().signs).unwrap();
        let expected =
            TokenSubject { generation: ClientGeneration::default(), token_epoch: 0, ..subject() };
        let verified = tokens.verify(token.as_bytes(), TokenKind::Access, now());
        assert_eq!(verified, Some(expected));
    }

    #[test]
    fn others_can_verify_with_the_published_keys() {
        let tokens = tokens();
        let token = tokens.issue(&subject(), TokenKind::Access, now()).unwrap();
        let jwks = tokens.jwks();
        let key = DecodingKey::from_ed_components(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[ISSUER]);
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(decoded.claims["sub"], "agent");
        assert_eq!(decoded.header.kid.as_deref(), jwks["keys"][0]["kid"].as_str());
    }
}
