//! What strangers say of themselves: headers, tokens, assertions, keys and claims.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use super::{
    AdminToken, Authentication, Credentials,
    access_token::{AccessTokens, TokenKind},
    assertion::{self, AssertionLimits, Assertions},
    outside_issuer::{ClaimMapping, IssuerSettings, KeySet, OrganizationSource, OutsideIssuer},
    server_names::{PublicUrl, ServerNames},
    signing_keys::SigningKeys,
};
use crate::domain::{
    access::{Client, ClientDirectory},
    credential::CredentialHash,
    fuzzing::{Choices, made_up, text},
    id::{ClientId, OUTSIDE_CLIENT_PREFIX, OrganizationId},
};

const ADMIN_TOKEN: &str = "a secret token of the administrator";
const KEY_ID: &str = "k";
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "meterd";

/// Nobody is registered, and every key id is known: whatever gets past the form of an assertion meets a key.
struct Nobody;

impl ClientDirectory for Nobody {
    fn with_api_key(&self, _: &CredentialHash) -> Option<Arc<Client>> {
        None
    }
    fn with_secret(&self, _: &CredentialHash) -> Option<Arc<Client>> {
        None
    }
    fn with_public_key(&self, _: &str) -> Option<(Arc<Client>, Arc<str>)> {
        let client = Client {
            organization: OrganizationId::new("o").ok()?,
            id: ClientId::new("c").ok()?,
            generation: Default::default(),
            token_epoch: 0,
            name: String::new(),
            permissions: Default::default(),
            secrets: Vec::new(),
            api_keys: Vec::new(),
            public_keys: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
        };
        Some((Arc::new(client), PUBLIC_KEY.into()))
    }
    fn client(&self, _: &OrganizationId, _: &ClientId) -> Option<Arc<Client>> {
        None
    }
    fn has_organization(&self, _: &OrganizationId) -> bool {
        true
    }
    fn used(&self, _: &Client) {}
}

/// Whose private key is gone.
const PUBLIC_KEY: &str = include_str!("fuzzing/public_key.pem");

struct Parties {
    authentication: Authentication,
    tokens: Arc<AccessTokens>,
    assertions: Assertions,
    issuer: Arc<OutsideIssuer>,
    issuer_signs: EncodingKey,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let keys = SigningKeys::ephemeral().expect("there is randomness");
    let tokens = Arc::new(AccessTokens::new(keys));
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes");
    let pkcs8 = pair.to_pkcs8v1().expect("a key");
    let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": KEY_ID, "x": public});
    let document = serde_json::json!({ "keys": [jwk] }).to_string();
    let mapping = ClaimMapping {
        organization: OrganizationSource::Claim("org".into()),
        client: "sub".into(),
        permissions: "scope".into(),
        allows_operators: false,
    };
    let (issuer, audience) = (Some(ISSUER.to_owned()), AUDIENCE.to_owned());
    let issuer = Arc::new(OutsideIssuer::new(IssuerSettings { issuer, audience, mapping }));
    issuer.put_keys(KeySet::parse(document.as_bytes()).expect("a key"));
    let admin_token = AdminToken::new(ADMIN_TOKEN).expect("a token");
    let authentication = Authentication::new(Some(admin_token), false)
        .expect("identifiers")
        .with_clients(Arc::new(Nobody))
        .with_tokens(Arc::clone(&tokens))
        .with_outside_issuer(Arc::clone(&issuer));
    let issuer_signs = EncodingKey::from_ed_der(pkcs8.as_ref());
    let url = PublicUrl::parse("https://usage.example.com").expect("a URL");
    let names = ServerNames::new(vec![url], ([0, 0, 0, 0], 0).into(), None);
    let assertions = Assertions::new(Arc::new(names), AssertionLimits::default());
    Parties { authentication, tokens, assertions, issuer, issuer_signs }
});

fn now() -> Timestamp {
    Timestamp::from_second(1_763_640_000).unwrap_or_default()
}

/// Nobody gets in by words alone; and claims that are signed are taken for what they say.
///
/// # Panics
/// If not.
pub fn credentials(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(6) {
        0 => header(choices.rest()),
        1 => header(&[b"Bearer ", choices.rest()].concat()),
        2 => unsigned(&mut choices),
        3 => signed(&mut choices),
        4 => keys(choices.rest()),
        _ => {
            if let Some(pem) = text(choices.rest()) {
                let _ = assertion::check_public_key(pem);
            }
        }
    }
}

fn header(header: &[u8]) {
    let credentials = Credentials { authorization: Some(header), api_key: None };
    let expected = header.split_at_checked("Bearer ".len()).is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && token == ADMIN_TOKEN.as_bytes()
    });
    assert_eq!(PARTIES.authentication.authenticate(credentials, now()).is_ok(), expected);
    let credentials = Credentials { authorization: None, api_key: Some(header) };
    assert!(PARTIES.authentication.authenticate(credentials, now()).is_err());
}

/// A token of any three parts, each as it is or in base64.
fn unsigned(choices: &mut Choices<'_>) {
    let (algorithm, encoded) = (choices.pick(8), choices.once_in(2));
    let claims_at = choices.place(choices.rest().len());
    let (head, claims) = choices.rest().split_at(claims_at.min(choices.rest().len()));
    let algorithms = ["none", "HS256", "RS256", "PS256", "ES256", "EdDSA"];
    let head = match algorithms.get(algorithm) {
        Some(algorithm) => format!(r#"{{"alg":"{algorithm}","kid":"{KEY_ID}"}}"#).into_bytes(),
        None => head.to_vec(),
    };
    let token = if encoded {
        let parts = [head.as_slice(), claims, &[7; 64]];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".").into_bytes()
    } else {
        choices.rest().to_vec()
    };
    let (tokens, now) = (&PARTIES.tokens, now());
    assert!(tokens.verify(&token, TokenKind::Access, now).is_none());
    assert!(tokens.verify(&token, TokenKind::Refresh, now).is_none());
    assert!(PARTIES.issuer.verify(&token, now).is_err());
    if let Some(token) = text(&token) {
        assert!(PARTIES.assertions.verify(token, &Nobody, now).is_err());
    }
}

/// Claims that the issuer signed.
fn signed(choices: &mut Choices<'_>) {
    let claims = if choices.once_in(2) {
        let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(choices.rest()) else {
            return;
        };
        claims
    } else {
        made_up_claims(choices)
    };
    let header = Header { kid: Some(KEY_ID.into()), ..Header::new(Algorithm::EdDSA) };
    let Ok(token) = jsonwebtoken::encode(&header, &claims, &PARTIES.issuer_signs) else { return };
    let Ok(principal) = PARTIES.issuer.verify(token.as_bytes(), now()) else { return };
    let is = |name: &str, wanted: &str| match claims.get(name) {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(list)) => list.iter().any(|each| each.as_str() == Some(wanted)),
        _ => false,
    };
    assert!(is("iss", ISSUER) && is("aud", AUDIENCE), "{claims:?}");
    assert!(is("org", principal.caller.organization.as_str()), "{claims:?}");
    let subject = principal.caller.client.as_str().strip_prefix(OUTSIDE_CLIENT_PREFIX);
    assert!(subject.is_some_and(|subject| is("sub", subject)), "{claims:?}");
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = now().as_second() as f64;
    assert!(seconds("exp").is_some_and(|end| end + 61.0 > now), "{claims:?}");
    assert!(seconds("nbf").is_none_or(|begin| begin - 61.0 < now), "{claims:?}");
}

fn made_up_claims(choices: &mut Choices<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    for name in ["iss", "aud", "org", "sub", "scope", "exp", "nbf"] {
        let right = match name {
            "iss" => Value::from(ISSUER),
            "aud" => Value::from(AUDIENCE),
            "exp" => Value::from(1_763_640_000_u64 + 60),
            "nbf" => Value::from(1_763_640_000_u64),
            _ => Value::from("usage:product:view"),
        };
        let value = match choices.pick(16) {
            0 => continue,
            1 => Value::from(choices.number()),
            2 => Value::from(choices.number().cast_signed()),
            3 => Value::from(f64::from_bits(choices.number())),
            4 => Value::from(made_up::name(choices)),
            5 => Value::from(vec![right, Value::from(made_up::name(choices))]),
            6 => Value::Null,
            _ => right,
        };
        claims.insert(name.to_owned(), value);
    }
    claims
}

/// Any bytes as the keys of an issuer.
fn keys(document: &[u8]) {
    match KeySet::parse(document) {
        Ok(keys) => assert!(!format!("{keys:?}").is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
