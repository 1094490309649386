use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;
use crate::domain::id::OrganizationId;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// An Ed25519 key pair: what signs, and the public key as a JWK.
fn key(id: &str) -> (EncodingKey, Value) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let pair = Ed25519KeyPair::generate().unwrap();
    let signs = EncodingKey::from_ed_der(pair.to_pkcs8().unwrap().as_ref());
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    (signs, json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": x}))
}

fn key_set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn issuer(keys: &[&Value]) -> OutsideIssuer {
    let issuer = OutsideIssuer::new(IssuerSettings {
        issuer: Some("https://id.example.com".into()),
        audience: "meterd".into(),
        mapping: ClaimMapping {
            organization: OrganizationSource::Claim("org".into()),
            client: "sub".into(),
            permissions: "scope".into(),
            allows_operators: false,
        },
    });
    issuer.put_keys(key_set(keys));
    issuer
}

fn claims() -> Value {
    let now = now().as_second();
    json!({
        "iss": "https://id.example.com", "aud": ["other", "meterd"], "sub": "agent", "org": "acme",
        "scope": "usage:product:view", "nbf": now, "exp": now + 300,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn sign(key: &EncodingKey, id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: id.map(Into::into), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

#[test]
fn a_good_token_says_who_is_calling() {
    let (signs, public) = key("a");
    let issuer = issuer(&[&public]);
    for id in [Some("a"), None] {
        let principal = issuer.verify(sign(&signs, id, &claims()).as_bytes(), now()).unwrap();
        assert_eq!(principal.caller.organization, OrganizationId::new("acme").unwrap());
        assert!(principal.has_any(&[crate::auth::Permission::UsageProductView]));
        assert!(!principal.has_any(&[crate::auth::Permission::AccessAdmin]));
    }
    let fraction = sign(&signs, None, &with("exp", json!(1_795_176_000.5 + 300.0)));
    assert!(issuer.verify(fraction.as_bytes(), now()).is_ok());
}

#[test]
fn bad_tokens_and_why() {
    let (signs, public) = key("a");
    let (strangers, _) = key("a");
    let issuer = issuer(&[&public]);
    let second = now().as_second();
    let not_for_us = AuthError::Claims(ClaimError::NotForUs);
    let not_now = AuthError::Claims(ClaimError::NotNow);
    for (what, claims, why) in [
        ("another issuer", with("iss", json!("https://evil.example.com")), not_for_us),
        ("no issuer", without("iss"), not_for_us),
        ("another audience", with("aud", json!("other")), not_for_us),
        ("no audience", without("aud"), not_for_us),
        ("no end", without("exp"), not_for_us),
        ("expired", with("exp", json!(second - 60)), not_now),
        ("not yet", with("nbf", json!(second + 61)), not_now),
        ("no organization", without("org"), AuthError::Claims(ClaimError::NoOrganization)),
        ("no client", without("sub"), AuthError::Claims(ClaimError::NoClient)),
        ("a senseless start", with("nbf", json!("yesterday")), AuthError::Invalid),
    ] {
        let token = sign(&signs, Some("a"), &claims);
        assert_eq!(issuer.verify(token.as_bytes(), now()).unwrap_err(), why, "{what}");
    }
    let good = sign(&signs, Some("a"), &claims());
    let [head, payload, _] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let shared = EncodingKey::from_secret(public["x"].as_str().unwrap().as_bytes());
    let hmac = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
    for (what, token, why) in [
        ("a stranger's signature", sign(&strangers, Some("a"), &claims()), AuthError::Invalid),
        ("no signature", format!("{head}.{payload}."), AuthError::Invalid),
        ("garbage", "garbage".into(), AuthError::Invalid),
        ("much", "x".repeat(64 * 1024 + 1), AuthError::Invalid),
        ("another key", sign(&signs, Some("b"), &claims()), AuthError::UnknownKey),
        (
            "HMAC with the public key",
            jsonwebtoken::encode(&hmac, &claims(), &shared).unwrap(),
            AuthError::UnknownKey,
        ),
    ] {
        assert_eq!(issuer.verify(token.as_bytes(), now()).unwrap_err(), why, "{what}");
    }
}

#[test]
fn issuer_is_the_same_with_a_slash_at_its_end() {
    let (signs, public) = key("a");
    for configured in ["https://id.example.com", "https://id.example.com/"] {
        let mut issuer = issuer(&[&public]);
        issuer.settings.issuer = Some(configured.into());
        for named in ["https://id.example.com", "https://id.example.com/"] {
            let token = sign(&signs, Some("a"), &with("iss", json!(named)));
            assert!(issuer.verify(token.as_bytes(), now()).is_ok(), "{configured} {named}");
        }
        for named in ["https://id.example.com//", "https://id.example.com/x", "https://id.example"]
        {
            let token = sign(&signs, Some("a"), &with("iss", json!(named)));
            let refused = issuer.verify(token.as_bytes(), now()).unwrap_err();
            assert_eq!(refused, AuthError::Claims(ClaimError::NotForUs), "{configured} {named}");
        }
    }
}

#[test]
fn token_with_many_groups_is_accepted() {
    let (signs, public) = key("a");
    let groups: Vec<String> = (0..600).map(|number| format!("group-{number:030}")).collect();
    let token = sign(&signs, Some("a"), &with("groups", json!(groups)));
    assert!(token.len() > 30_000, "{}", token.len());
    assert!(issuer(&[&public]).verify(token.as_bytes(), now()).is_ok());
}

#[test]
fn header_says_what_a_token_is_for() {
    let (signs, public) = key("a");
    let issuer = issuer(&[&public]);
    let verify = |header: Header, claims: &Value| {
        let token = jsonwebtoken::encode(&header, claims, &signs).unwrap();
        issuer.verify(token.as_bytes(), now()).map(drop)
    };
    let named = |typ: Option<&str>| Header {
        kid: Some("a".into()),
        typ: typ.map(Into::into),
        ..Header::new(Algorithm::EdDSA)
    };
    for typ in [None, Some("JWT"), Some("jwt"), Some("at+jwt"), Some("application/at+JWT")] {
        assert_eq!(verify(named(typ), &claims()), Ok(()), "{typ:?}");
    }
    let not_for_calls = Err(AuthError::Claims(ClaimError::NotForCalls));
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", ""] {
        assert_eq!(verify(named(Some(typ)), &claims()), not_for_calls, "{typ}");
    }
    for (claim, value) in [("at_hash", "x"), ("c_hash", "x"), ("typ", "ID")] {
        assert_eq!(verify(named(None), &with(claim, json!(value))), not_for_calls, "{claim}");
    }
    assert_eq!(verify(named(None), &with("typ", json!("Bearer"))), Ok(()));
    assert_eq!(
        verify(named(None), &with("nonce", json!("x"))),
        Ok(()),
        "some access tokens have one"
    );
    let critical = Header { crit: Some(vec!["exp".into()]), ..named(None) };
    assert_eq!(verify(critical, &claims()), Err(AuthError::Claims(ClaimError::Critical)));
}

#[test]
fn a_key_that_is_gone_takes_its_tokens_with_it() {
    let (old, old_public) = key("old");
    let (new, new_public) = key("new");
    let issuer = issuer(&[&old_public]);
    let (first, second) = (sign(&old, Some("old"), &claims()), sign(&new, Some("new"), &claims()));
    let outcome = |token: &str| issuer.verify(token.as_bytes(), now()).map(|_| ());
    assert_eq!((outcome(&first), outcome(&second)), (Ok(()), Err(AuthError::UnknownKey)));
    issuer.put_keys(key_set(&[&old_public, &new_public]));
    assert_eq!((outcome(&first), outcome(&second)), (Ok(()), Ok(())));
    issuer.put_keys(key_set(&[&new_public]));
    assert_eq!((outcome(&first), outcome(&second)), (Err(AuthError::UnknownKey), Ok(())));
}

#[test]
fn key_sets_that_are_of_use() {
    let (_, public) = key("a");
    let encryption = json!({"kty": "OKP", "crv": "Ed25519", "use": "enc", "x": public["x"]});
    let short = json!({"kty": "RSA", "n": "A".repeat(40) + &"b".repeat(170), "e": "AQAB"});
    let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
    let unknown = json!({"kty": "lattice", "crv": "x"});
    let set = json!({"keys": [encryption, short, secret, unknown, public], "more": 1});
    let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
    assert_eq!(format!("{keys:?}"), "[Some(\"a\")]");
    let useless = json!({"keys": [encryption, short, secret, unknown]});
    assert_eq!(KeySet::parse(useless.to_string().as_bytes()).unwrap_err(), KeySetError::NoKeys);
    for text in ["", "{}", "[]", "{\"keys\": 7}"] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, KeySetError::Malformed(_)), "{text}");
    }
}
