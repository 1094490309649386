//! What a client says of itself, signed with its own key: the service-account JWT of Yandex' SDKs, and RFC 7523.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::domain::access::{Client, ClientDirectory};

/// A longer text is no assertion.
const ASSERTION_BYTES_MAX: usize = 8192;
/// The longest that an assertion may be good for (the vendor's rule).
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Clocks differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Bytes of a public RSA key of 2048 bits in PKCS#1; shorter ones are no proof any more.
const RSA_2048_DER_BYTES: usize = 268;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Option<String>,
    iat: i64,
    exp: i64,
}

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

/// The client that signed an assertion for one of `audiences`; `None` if nobody did, or not for now.
#[must_use]
pub fn verify(
    assertion: &str,
    clients: &dyn ClientDirectory,
    audiences: &[String],
    now: Timestamp,
) -> Option<Arc<Client>> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return None;
    }
    // The header says which key to try and nothing else.
    let header = jsonwebtoken::decode_header(assertion).ok()?;
    let (client, pem) = clients.with_public_key(&header.kid?)?;
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).ok()?;
    let mut validation = Validation::new(Algorithm::PS256);
    validation.algorithms = vec![Algorithm::PS256, Algorithm::RS256];
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // Times are compared with our clock, not with the system's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = jsonwebtoken::decode::<Claims>(assertion, &key, &validation).ok()?.claims;
    let is_itself = claims.iss == client.id.as_str()
        && claims.sub.is_none_or(|subject| subject == client.id.as_str());
    let (now, leeway) = (now.as_second(), LEEWAY.as_secs());
    let is_for_now = claims.iat.saturating_sub(leeway) <= now
        && now < claims.exp.saturating_add(leeway)
        && claims.exp.saturating_sub(claims.iat) <= LIFETIME_MAX.as_secs();
    (is_itself && is_for_now).then_some(client)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_lc_rs::{
        encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
        rsa::KeySize,
        signature::{KeyPair as _, RsaKeyPair},
    };
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{
        access::ClientGeneration,
        credential::CredentialHash,
        id::{ClientId, OrganizationId},
    };

    const KEY_ID: &str = "the-key";
    const AUDIENCE: &str = "https://iam.localhost:8443/iam/v1/tokens";

    struct One {
        client: Arc<Client>,
        pem: String,
    }

    impl ClientDirectory for One {
        fn with_api_key(&self, _: &CredentialHash) -> Option<Arc<Client>> {
            None
        }

        fn with_secret(&self, _: &CredentialHash) -> Option<Arc<Client>> {
            None
        }

        fn with_public_key(&self, id: &str) -> Option<(Arc<Client>, Arc<str>)> {
            (id == KEY_ID).then(|| (Arc::clone(&self.client), self.pem.as_str().into()))
        }

        fn client(&self, _: &OrganizationId, _: &ClientId) -> Option<Arc<Client>> {
            None
        }

        fn has_organization(&self, _: &OrganizationId) -> bool {
            true
        }

        fn used(&self, _: &Client) {}
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    /// A key pair: the public key in PEM, and the private one.
    fn key_pair() -> (String, EncodingKey) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = pem("PRIVATE KEY", private.as_ref());
        (pem("PUBLIC KEY", public.as_ref()), EncodingKey::from_rsa_pem(private.as_bytes()).unwrap())
    }

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn claims() -> Value {
        let now = now().as_second();
        json!({"iss": "agent", "aud": AUDIENCE, "iat": now, "exp": now + 3600})
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut claims = claims();
        claims[name] = value.into();
        claims
    }

    #[test]
    fn what_proves_something_and_what_does_not() {
        let (public, private) = key_pair();
        let (_, strangers) = key_pair();
        let client = Client {
            organization: OrganizationId::new("acme").unwrap(),
            id: ClientId::new("agent").unwrap(),
            generation: ClientGeneration::default(),
            token_epoch: 0,
            name: String::new(),
            permissions: BTreeSet::new(),
            secrets: Vec::new(),
            api_keys: Vec::new(),
            public_keys: Vec::new(),
            created: now(),
        };
        let directory = One { client: Arc::new(client), pem: public.clone() };
        let header = |algorithm| Header { kid: Some(KEY_ID.into()), ..Header::new(algorithm) };
        let signed = |algorithm, claims: &Value, key: &EncodingKey| {
            jsonwebtoken::encode(&header(algorithm), claims, key).unwrap()
        };
        let verify = |assertion: &str| {
            super::verify(assertion, &directory, &[AUDIENCE.into()], now()).is_some()
        };
        for algorithm in [Algorithm::PS256, Algorithm::RS256] {
            assert!(verify(&signed(algorithm, &claims(), &private)));
        }
        assert!(verify(&signed(Algorithm::PS256, &with("sub", "agent"), &private)));
        let second = now().as_second();
        for (name, claims) in [
            ("another client", with("iss", "other")),
            ("for another client", with("sub", "other")),
            ("for another server", with("aud", "https://iam.example.com/iam/v1/tokens")),
            ("expired", {
                let mut c = with("iat", second - 3700);
                c["exp"] = (second - 61).into();
                c
            }),
            ("of the future", {
                let mut c = with("iat", second + 61);
                c["exp"] = (second + 100).into();
                c
            }),
            ("for too long", with("exp", second + 3601)),
            ("without an end", {
                let mut c = claims();
                c.as_object_mut().unwrap().remove("exp");
                c
            }),
        ] {
            assert!(!verify(&signed(Algorithm::PS256, &claims, &private)), "{name}");
        }
        let good = signed(Algorithm::PS256, &claims(), &private);
        let [head, payload, _] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        let shared = EncodingKey::from_secret(public.as_bytes());
        for (name, assertion) in [
            ("a stranger's key", signed(Algorithm::PS256, &claims(), &strangers)),
            ("an algorithm not agreed on", signed(Algorithm::PS512, &claims(), &private)),
            ("HMAC with the public key", signed(Algorithm::HS256, &claims(), &shared)),
            ("no signature", format!("{head}.{payload}.")),
            ("garbage", "garbage".into()),
            ("much", "x".repeat(100_000)),
        ] {
            assert!(!verify(&assertion), "{name}");
        }
    }

    #[test]
    fn keys_that_can_be_registered() {
        let (public, _) = key_pair();
        assert_eq!(check_public_key(&public), Ok(()));
        for text in ["", "garbage", &public.replace("PUBLIC", "PRIVATE")] {
            assert_eq!(check_public_key(text), Err(PublicKeyError::NoKey), "{text}");
        }
    }
}
