use std::collections::BTreeSet;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{KeyPair as _, RsaKeyPair},
};
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;
use crate::{
    auth::server_names::PublicUrl,
    domain::{
        credential::CredentialHash,
        id::{ClientId, OrganizationId},
    },
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

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn header(algorithm: Algorithm) -> Header {
    Header { kid: Some(KEY_ID.into()), ..Header::new(algorithm) }
}

/// A server called `https://localhost:8443` with one client, and the client's private key.
struct Fixture {
    assertions: Assertions,
    directory: One,
    private: EncodingKey,
}

impl Fixture {
    fn new() -> Self {
        Self::called(&["https://localhost:8443"])
    }

    fn called(names: &[&str]) -> Self {
        let (public, private) = key_pair();
        let client = Client {
            organization: OrganizationId::new("acme").unwrap(),
            id: ClientId::new("agent").unwrap(),
            generation: Default::default(),
            token_epoch: 0,
            name: String::new(),
            permissions: BTreeSet::new(),
            secrets: Vec::new(),
            api_keys: Vec::new(),
            public_keys: Vec::new(),
            created: now(),
        };
        let given = names.iter().map(|name| PublicUrl::parse(name).unwrap()).collect();
        let names = ServerNames::new(given, "0.0.0.0:8080".parse().unwrap(), None);
        let limits = AssertionLimits { per_client_max: 3 };
        Self {
            assertions: Assertions::new(Arc::new(names), limits),
            directory: One { client: Arc::new(client), pem: public },
            private,
        }
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&header(Algorithm::PS256), claims, &self.private).unwrap()
    }

    fn verify(&self, assertion: &str) -> Result<(), AssertionFault> {
        self.verify_at(assertion, now())
    }

    fn verify_at(&self, assertion: &str, now: Timestamp) -> Result<(), AssertionFault> {
        let verified = self.assertions.verify(assertion, &self.directory, now);
        verified.map(drop).map_err(|refused| refused.fault)
    }

    fn check(&self, claims: &Value) -> Result<(), AssertionFault> {
        // Each on its own: that one was used before is not in question.
        Self {
            assertions: self.fresh(),
            directory: self.directory(),
            private: self.private.clone(),
        }
        .verify(&self.sign(claims))
    }

    fn fresh(&self) -> Assertions {
        Assertions::new(Arc::clone(&self.assertions.names), AssertionLimits::default())
    }

    fn directory(&self) -> One {
        One { client: Arc::clone(&self.directory.client), pem: self.directory.pem.clone() }
    }
}

#[test]
fn assertion_for_this_server_and_now_is_accepted() {
    let fixture = Fixture::new();
    let second = now().as_second();
    for algorithm in [Algorithm::PS256, Algorithm::RS256] {
        let assertion =
            jsonwebtoken::encode(&header(algorithm), &claims(), &fixture.private).unwrap();
        assert_eq!(fixture.verify(&assertion), Ok(()));
    }
    for claims in [
        with("sub", "agent"),
        with("aud", json!(["https://elsewhere", AUDIENCE])),
        with("aud", "https://localhost:8443"),
        with("aud", "https://localhost:8443/oauth/token"),
        with("nbf", second + 60),
        with("nbf", second as f64 - 0.25),
        with("iat", second as f64 + 0.5),
        with("exp", second as f64 + 3599.5),
        with("iat", second + 60),
        without("iat"),
    ] {
        assert_eq!(fixture.check(&claims), Ok(()), "{claims}");
    }
}

#[test]
fn claims_that_prove_nothing_are_named() {
    let fixture = Fixture::new();
    let second = now().as_second();
    let lasting = |from: i64, until: i64| {
        let mut claims = with("iat", second + from);
        claims["exp"] = (second + until).into();
        claims
    };
    let mut unissued = without("iat");
    unissued["exp"] = (second + 3661).into();
    for (claims, fault) in [
        (with("iss", "other"), AssertionFault::OtherClient("iss")),
        (with("sub", "other"), AssertionFault::OtherClient("sub")),
        (with("sub", 7), AssertionFault::Claim("sub")),
        (without("iss"), AssertionFault::Claim("iss")),
        (without("aud"), AssertionFault::Claim("aud")),
        (with("aud", 7), AssertionFault::Claim("aud")),
        (without("exp"), AssertionFault::Claim("exp")),
        (with("exp", "soon"), AssertionFault::Claim("exp")),
        (with("nbf", "soon"), AssertionFault::Claim("nbf")),
        (with("jti", 7), AssertionFault::Claim("jti")),
        (with("nbf", second + 61), AssertionFault::NotYet("nbf")),
        (lasting(61, 100), AssertionFault::NotYet("iat")),
        (lasting(-3700, -60), AssertionFault::Expired),
        (lasting(0, 3601), AssertionFault::Lifetime),
        (unissued, AssertionFault::Lifetime),
    ] {
        assert_eq!(fixture.check(&claims), Err(fault), "{claims}");
    }
    let elsewhere = fixture.check(&with("aud", "https://iam.example.com/iam/v1/tokens"));
    let told = elsewhere.unwrap_err().to_string();
    assert!(told.contains("iam.example.com") && told.contains("https://localhost:8443"), "{told}");
}

#[test]
fn server_without_names_refuses_assertions() {
    let fixture = Fixture::called(&[]);
    assert_eq!(fixture.verify(&fixture.sign(&claims())), Err(AssertionFault::NoNames));
}

#[test]
fn assertion_is_accepted_once() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.sign(&claims()), fixture.sign(&claims()));
    assert_eq!(fixture.verify(&first), Ok(()));
    assert_eq!(fixture.verify(&first), Err(AssertionFault::Used));
    // The same claims, signed again: signatures have salt.
    assert_eq!(fixture.verify(&second), Ok(()));
    let late = now() + SignedDuration::from_secs(3659);
    assert_eq!(fixture.verify_at(&first, late), Err(AssertionFault::Used));
    assert_eq!(
        fixture.verify_at(&first, late + SignedDuration::from_secs(1)),
        Err(AssertionFault::Expired)
    );
}

#[test]
fn assertion_id_is_accepted_once() {
    let fixture = Fixture::new();
    assert_eq!(fixture.verify(&fixture.sign(&with("jti", "a"))), Ok(()));
    assert_eq!(fixture.verify(&fixture.sign(&with("jti", "a"))), Err(AssertionFault::Used));
    assert_eq!(fixture.verify(&fixture.sign(&with("jti", "b"))), Ok(()));
}

#[test]
fn assertion_beyond_the_clients_share_is_refused() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        assert_eq!(fixture.verify(&fixture.sign(&claims())), Ok(()));
    }
    let more = fixture.sign(&claims());
    assert_eq!(fixture.verify(&more), Err(AssertionFault::TooMany { per_client_max: 3 }));
}

#[test]
fn assertion_that_was_refused_is_not_used_up() {
    let fixture = Fixture::new();
    let early = fixture.sign(&with("nbf", now().as_second() + 100));
    assert_eq!(fixture.verify(&early), Err(AssertionFault::NotYet("nbf")));
    assert_eq!(fixture.verify_at(&early, now() + SignedDuration::from_secs(100)), Ok(()));
}

#[test]
fn forged_assertion_is_refused() {
    let fixture = Fixture::new();
    let (_, unregistered) = key_pair();
    let good = fixture.sign(&claims());
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let shared = EncodingKey::from_secret(fixture.directory.pem.as_bytes());
    let signed =
        |header: &Header, key: &EncodingKey| jsonwebtoken::encode(header, &claims(), key).unwrap();
    let critical = Header { crit: Some(vec!["exp".into()]), ..header(Algorithm::PS256) };
    let no_key_id = Header::new(Algorithm::PS256);
    let other_key = Header { kid: Some("other".into()), ..Header::new(Algorithm::PS256) };
    let none = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"none","kid":"{KEY_ID}"}}"#));
    for (name, assertion, fault) in [
        ("other key", signed(&header(Algorithm::PS256), &unregistered), AssertionFault::Signature),
        ("PS512", signed(&header(Algorithm::PS512), &fixture.private), AssertionFault::Algorithm),
        ("HMAC", signed(&header(Algorithm::HS256), &shared), AssertionFault::Algorithm),
        ("no signature", format!("{head}.{payload}."), AssertionFault::Signature),
        ("other spelling", format!("{head}.{payload}.{signature}="), AssertionFault::Form),
        ("alg none", format!("{none}.{payload}."), AssertionFault::Form),
        ("crit", signed(&critical, &fixture.private), AssertionFault::Critical),
        ("no kid", signed(&no_key_id, &fixture.private), AssertionFault::NoKeyId),
        ("unknown kid", signed(&other_key, &fixture.private), AssertionFault::UnknownKey),
        ("garbage", "garbage".into(), AssertionFault::Form),
        ("much", "x".repeat(100_000), AssertionFault::Form),
    ] {
        assert_eq!(fixture.verify(&assertion), Err(fault), "{name}");
    }
    assert_eq!(fixture.verify(&good), Ok(()), "none of them used it up");
}

#[test]
fn keys_that_can_be_registered() {
    let (public, _) = key_pair();
    assert_eq!(check_public_key(&public), Ok(()));
    for text in ["", "garbage", &public.replace("PUBLIC", "PRIVATE")] {
        assert_eq!(check_public_key(text), Err(PublicKeyError::NoKey), "{text}");
    }
}
