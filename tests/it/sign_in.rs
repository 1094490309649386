//! The token endpoints, as vendors' SDKs use them, and tokens in calls.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use meterd::{
    api::pb::meterd::v1::{
        CreateClientRequest, CreateClientResponse, DeleteClientRequest, UpdateClientRequest,
    },
    store::memory::MemoryStore,
};
use serde_json::{Value, json};

use crate::support::{
    http::{Answer, call},
    server::{Setup, TestServer},
};

const FORM: &str = "application/x-www-form-urlencoded";

async fn agent(server: &TestServer, id: &str) -> CreateClientResponse {
    let request = CreateClientRequest {
        client_id: id.into(),
        permissions: vec!["usage:product:view".into()],
        ..Default::default()
    };
    server.access().create_client(request).await.unwrap().into_inner()
}

/// Asks for a token, by header if there are credentials, with this form.
async fn ask(
    server: &TestServer,
    path: &str,
    basic: Option<(&str, &str)>,
    form: &[(&str, &str)],
) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = call(Method::POST, path).anonymous().header("content-type", FORM).body(body);
    if let Some((id, secret)) = basic {
        let encoded = BASE64_STANDARD.encode(format!("{id}:{secret}"));
        request = request.header("authorization", &format!("Basic {encoded}"));
    }
    let answer = request.send(server.api).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer
}

async fn list(server: &TestServer, token: &str) -> StatusCode {
    let request = call(Method::GET, "/v1/usageRecords").anonymous();
    request.header("authorization", &format!("Bearer {token}")).send(server.api).await.status
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("{json} has no {name}")).to_owned()
}

#[tokio::test]
async fn every_vendors_way_to_a_token() {
    let server = TestServer::start().await;
    let created = agent(&server, "agent").await;
    let grant = ("grant_type", "client_credentials");
    // Genesys: by header, at its path.
    let answer = ask(&server, "/oauth/token", Some(("agent", &created.secret)), &[grant]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let json = answer.json();
    assert_eq!((&json["token_type"], &json["expires_in"]), (&"Bearer".into(), &3600.into()));
    assert!(json.get("refresh_token").is_none());
    assert_eq!(list(&server, &text(&json, "access_token")).await, StatusCode::OK);
    // Getty: in the form, with the API key for an id; and a refresh token.
    for path in ["/oauth2/token", "/v4/oauth2/token"] {
        let form = [grant, ("client_id", &created.api_key), ("client_secret", &created.secret)];
        let first = ask(&server, path, None, &form).await.json();
        assert_eq!(list(&server, &text(&first, "access_token")).await, StatusCode::OK);
        let refresh = text(&first, "refresh_token");
        assert_eq!(list(&server, &refresh).await, StatusCode::UNAUTHORIZED, "not for calls");
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &created.api_key),
            ("client_secret", &created.secret),
            ("refresh_token", &refresh),
        ];
        let second = ask(&server, path, None, &form).await.json();
        assert_eq!(list(&server, &text(&second, "access_token")).await, StatusCode::OK);
    }
    // The token beside the API key of the same client, and of another.
    let token = text(&json, "access_token");
    let other = agent(&server, "other").await;
    for (key, status) in
        [(&created.api_key, StatusCode::OK), (&other.api_key, StatusCode::UNAUTHORIZED)]
    {
        let request = call(Method::GET, "/v1/usageRecords")
            .anonymous()
            .header("authorization", &format!("Bearer {token}"))
            .header("api-key", key);
        assert_eq!(request.send(server.api).await.status, status);
    }
    let keys =
        call(Method::GET, "/.well-known/jwks.json").anonymous().send(server.api).await.json();
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]),
        (&"OKP".into(), &"Ed25519".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_refused() {
    let server = TestServer::start().await;
    let created = agent(&server, "agent").await;
    let other = agent(&server, "other").await;
    let grant = ("grant_type", "client_credentials");
    let secret = created.secret.as_str();
    let foreign =
        ask(&server, "/oauth2/token", Some(("other", &other.secret)), &[grant]).await.json();
    let foreign = text(&foreign, "refresh_token");
    for (basic, form, status, error) in [
        (None, vec![grant], 401, "invalid_client"),
        (Some(("agent", "wrong")), vec![grant], 401, "invalid_client"),
        (Some(("nobody", secret)), vec![grant], 401, "invalid_client"),
        (Some(("other", secret)), vec![grant], 401, "invalid_client"),
        (Some(("agent", created.api_key.as_str())), vec![grant], 401, "invalid_client"),
        (Some((other.api_key.as_str(), secret)), vec![grant], 401, "invalid_client"),
        (Some(("agent", secret)), vec![], 400, "invalid_request"),
        (Some(("agent", secret)), vec![grant, grant], 400, "invalid_request"),
        (Some(("agent", secret)), vec![grant, ("client_secret", secret)], 400, "invalid_request"),
        (Some(("agent", secret)), vec![("grant_type", "password")], 400, "unsupported_grant_type"),
        (
            Some(("agent", secret)),
            vec![("grant_type", "refresh_token"), ("refresh_token", "garbage")],
            400,
            "invalid_grant",
        ),
        (
            Some(("agent", secret)),
            vec![("grant_type", "refresh_token"), ("refresh_token", foreign.as_str())],
            400,
            "invalid_grant",
        ),
    ] {
        let answer = ask(&server, "/oauth/token", basic, &form).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (status, &error.into()),
            "{form:?}"
        );
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let json = call(Method::POST, "/oauth/token").anonymous().json("{}").send(server.api).await;
    assert_eq!(json.json()["error"], "invalid_request");
    let get = call(Method::GET, "/oauth/token").anonymous().send(server.api).await;
    assert_eq!(
        (get.status, get.headers["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
    let metrics = call(Method::GET, "/metrics").send(server.admin).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("method=\"token\",code=\"UNAUTHENTICATED\"} 6"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn credentials_that_come_twice_are_refused() {
    let server = TestServer::start().await;
    let created = agent(&server, "agent").await;
    let other = agent(&server, "other").await;
    for (name, first, second) in [
        ("api-key", created.api_key.as_str(), other.api_key.as_str()),
        ("api-key", created.api_key.as_str(), created.api_key.as_str()),
        ("authorization", "Bearer x", "Bearer y"),
    ] {
        let request = call(Method::GET, "/v1/usageRecords")
            .anonymous()
            .header(name, first)
            .header(name, second);
        let answer = request.send(server.api).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("`{name}` comes more than once")), "{message}");
    }
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("agent:{}", created.secret)));
    let twice = call(Method::POST, "/oauth/token")
        .anonymous()
        .header("content-type", FORM)
        .header("authorization", &basic)
        .header("authorization", &basic)
        .body("grant_type=client_credentials")
        .send(server.api)
        .await;
    assert_eq!(
        (twice.status, twice.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_request"))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_token_ends_with_its_time_its_client_and_its_permissions() {
    let server = TestServer::start().await;
    let created = agent(&server, "agent").await;
    let grant = [("grant_type", "client_credentials")];
    let token = async || {
        let answer = ask(&server, "/oauth/token", Some(("agent", &created.secret)), &grant).await;
        text(&answer.json(), "access_token")
    };
    let first = token().await;
    server.clock.advance(SignedDuration::from_secs(3600 + 30));
    assert_eq!(list(&server, &first).await, StatusCode::UNAUTHORIZED);
    let second = token().await;
    assert_eq!(list(&server, &second).await, StatusCode::OK);
    let update = UpdateClientRequest { client_id: "agent".into(), ..Default::default() };
    server.access().update_client(update).await.unwrap();
    assert_eq!(list(&server, &second).await, StatusCode::FORBIDDEN);
    let delete = DeleteClientRequest { client_id: "agent".into(), ..Default::default() };
    server.access().delete_client(delete).await.unwrap();
    assert_eq!(list(&server, &second).await, StatusCode::UNAUTHORIZED);
    // Another server's tokens are none of ours.
    let stranger = TestServer::start().await;
    agent(&stranger, "agent").await;
    assert_eq!(list(&stranger, &second).await, StatusCode::UNAUTHORIZED);
    stranger.stop().await;
    server.stop().await;
}

/// An access token and a refresh token.
async fn tokens(server: &TestServer, secret: &str) -> [String; 2] {
    let grant = ("grant_type", "client_credentials");
    let answer = ask(server, "/oauth2/token", Some(("agent", secret)), &[grant]).await.json();
    ["access_token", "refresh_token"].map(|name| text(&answer, name))
}

/// Whether calls and the token endpoint accept the two.
async fn accepted(server: &TestServer, secret: &str, [access, refresh]: &[String; 2]) -> [bool; 2] {
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let refreshed = ask(server, "/oauth2/token", Some(("agent", secret)), &form).await;
    if refreshed.status != StatusCode::OK {
        assert_eq!(refreshed.json()["error"], "invalid_grant");
    }
    [list(server, access).await == StatusCode::OK, refreshed.status == StatusCode::OK]
}

#[tokio::test]
async fn recreated_client_refuses_tokens_of_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let setup = || Setup {
        store: Arc::<MemoryStore>::clone(&store),
        signing_keys: Some(directory.path().join("signing-keys.json")),
        ..Setup::default()
    };
    let server = TestServer::with(setup()).await;
    let first = agent(&server, "agent").await;
    let old = tokens(&server, &first.secret).await;
    assert_eq!(accepted(&server, &first.secret, &old).await, [true, true]);
    let delete = DeleteClientRequest { client_id: "agent".into(), ..Default::default() };
    server.access().delete_client(delete).await.unwrap();
    let second = agent(&server, "agent").await;
    // In the same second: the clock of the server stands still.
    assert_eq!(accepted(&server, &second.secret, &old).await, [false, false]);
    let new = tokens(&server, &second.secret).await;
    assert_eq!(accepted(&server, &second.secret, &new).await, [true, true]);
    server.stop().await;
    let server = TestServer::with(setup()).await;
    assert_eq!(accepted(&server, &second.secret, &old).await, [false, false]);
    assert_eq!(accepted(&server, &second.secret, &new).await, [true, true]);
    server.stop().await;
}

#[tokio::test]
async fn rotated_secret_ends_tokens_unless_it_overlaps() {
    let server = TestServer::start().await;
    let mut secret = agent(&server, "agent").await.secret;
    for (request, ends) in [
        (json!({}), true),
        (json!({"revokeTokens": false}), false),
        (json!({"overlap": "3600s"}), false),
        (json!({"overlap": "3600s", "revokeTokens": true}), true),
    ] {
        let old = tokens(&server, &secret).await;
        let path = "/v1/access/clients/agent:rotateSecret";
        let answer = call(Method::POST, path).json(&request).send(server.api).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        let before = std::mem::replace(&mut secret, text(&answer.json(), "secret"));
        assert_eq!(accepted(&server, &secret, &old).await, [!ends, !ends], "{request}");
        let new = tokens(&server, &secret).await;
        assert_eq!(accepted(&server, &secret, &new).await, [true, true], "{request}");
        if request.get("overlap").is_some() {
            let new = tokens(&server, &before).await;
            assert_eq!(accepted(&server, &secret, &new).await, [true, true], "{request}");
        }
    }
    server.stop().await;
}
