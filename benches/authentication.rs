//! What it costs to recognise a caller, once its token has been seen.
//!
//! `cargo bench --bench authentication`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, sync::Arc, time::Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meterd::{
    auth::{
        AdminToken, Authentication, Credentials,
        access_token::{AccessTokens, TokenKind},
        outside_issuer::{ClaimMapping, IssuerSettings, KeySet, OrganizationSource, OutsideIssuer},
        signing_keys::SigningKeys,
    },
    domain::{audit::Actor, id::OrganizationId},
    service::{
        access::{Access, NewClient},
        audit::AuditTrail,
        clock::SystemClock,
    },
    store::{UsageStore, memory::MemoryStore},
};
use serde_json::json;

const ROUNDS: usize = 5;
const CALLS: u32 = 100_000;
const ADMIN_TOKEN: &str = "the operator's static token for benches";

fn outside(now: Timestamp) -> (OutsideIssuer, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "key", "x": x}]});
    let mapping = ClaimMapping {
        organization: OrganizationSource::Claim("org".into()),
        client: "sub".into(),
        permissions: "scope".into(),
        allows_operators: false,
    };
    let settings = IssuerSettings { issuer: None, audience: "meterd".into(), mapping };
    let issuer = OutsideIssuer::new(settings);
    issuer.put_keys(KeySet::parse(keys.to_string().as_bytes()).unwrap());
    let header = Header { kid: Some("key".into()), ..Header::new(Algorithm::EdDSA) };
    let claims = json!({
        "aud": "meterd", "sub": "agent", "org": "default", "scope": "usage:product:write",
        "exp": now.as_second() + 3600,
    });
    let signs = EncodingKey::from_ed_der(pair.to_pkcs8().unwrap().as_ref());
    (issuer, jsonwebtoken::encode(&header, &claims, &signs).unwrap())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (store, clock): (Arc<dyn UsageStore>, _) =
        (Arc::new(MemoryStore::new()), Arc::new(SystemClock));
    let audit = Arc::new(AuditTrail::new(Arc::clone(&store), clock.clone()));
    let access = Arc::new(Access::load(store, clock, audit).unwrap());
    let organization = OrganizationId::new("default").unwrap();
    let actor = Actor::meterd(&organization).unwrap();
    let new = NewClient { id: "agent".into(), ..NewClient::default() };
    let created = access.create_client(&actor, &organization, new).await.unwrap();
    let tokens = Arc::new(AccessTokens::new(SigningKeys::ephemeral().unwrap()));
    let now = Timestamp::now();
    let own = tokens.issue(&created.client.token_subject(), TokenKind::Access, now).unwrap();
    let (issuer, theirs) = outside(now);
    let authentication = Authentication::new(Some(AdminToken::new(ADMIN_TOKEN).unwrap()), false)
        .unwrap()
        .with_clients(access)
        .with_tokens(tokens)
        .with_outside_issuer(Arc::new(issuer));
    let bearer = |token: &str| format!("Bearer {token}");
    let (operator, own, theirs) = (bearer(ADMIN_TOKEN), bearer(&own), bearer(&theirs));
    let by_header = |header| Credentials { authorization: Some(header), api_key: None };
    let ways = [
        ("static admin token", by_header(operator.as_bytes())),
        ("our token", by_header(own.as_bytes())),
        ("token of an outside issuer", by_header(theirs.as_bytes())),
        (
            "API key",
            Credentials { authorization: None, api_key: Some(created.api_key.reveal().as_bytes()) },
        ),
    ];
    println!("microseconds per call, {ROUNDS} rounds of {CALLS} calls each");
    for (name, credentials) in ways {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                for _ in 0..CALLS {
                    black_box(authentication.authenticate(black_box(credentials), now).unwrap());
                }
                began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "{name:28} {:6.2} ({:.2}–{:.2})",
            rounds.get(ROUNDS / 2).unwrap(),
            rounds.first().unwrap(),
            rounds.last().unwrap()
        );
    }
}
