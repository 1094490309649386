//! Tokens of somebody else's identity provider, which comes, goes, and changes its keys.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        CreateOrganizationRequest, ListProductsRequest,
        catalog_service_client::CatalogServiceClient,
    },
    auth::outside_issuer::{ClaimMapping, IssuerSettings, OrganizationSource},
    server::{KeySource, OutsideIssuerConfig},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::{Code, Request};

use crate::support::{
    http::call,
    process::{MeterdProcess, assert_verified, serve_command},
    server::{Setup, TestServer, fresh_uuid, noon},
    tokens::Key,
};

/// An identity provider.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    /// How often somebody asked for its keys.
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Issuer {
    async fn start(address: SocketAddr, keys: &[&Key]) -> Self {
        Self::called(address, keys, "").await
    }

    /// One whose name ends with `end`.
    async fn called(address: SocketAddr, keys: &[&Key], end: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()));
        let asked = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn({
            let (url, keys, asked) = (url.clone(), Arc::clone(&keys), Arc::clone(&asked));
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut more = [0; 1024];
                        let count = stream.read(&mut more).await.unwrap();
                        if count == 0 {
                            break;
                        }
                        request.extend_from_slice(&more[..count]);
                    }
                    let path = String::from_utf8_lossy(&request);
                    let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
                    let body = match path.as_str() {
                        "/.well-known/openid-configuration" => {
                            json!({"issuer": format!("{url}{end}"), "jwks_uri": format!("{url}/keys"), "more": []})
                        }
                        "/keys" => {
                            asked.fetch_add(1, Ordering::SeqCst);
                            // Long enough for many to wait.
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            json!({"keys": *keys.lock()})
                        }
                        other => panic!("asked for {other}"),
                    };
                    let body = body.to_string();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        Self { url, keys, asked, serving }
    }

    async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

fn config(keys: KeySource, issuer: Option<&str>) -> OutsideIssuerConfig {
    let mapping = ClaimMapping {
        organization: OrganizationSource::Claim("org".into()),
        client: "sub".into(),
        permissions: "scope".into(),
        allows_operators: false,
    };
    let settings =
        IssuerSettings { issuer: issuer.map(Into::into), audience: "meterd".into(), mapping };
    OutsideIssuerConfig { keys, settings }
}

fn claims(issuer: &str) -> Value {
    let now = noon().as_second();
    json!({
        "iss": issuer, "aud": "meterd", "sub": "their-agent", "org": "default",
        "scope": "openid catalog:view", "exp": now + 3600,
    })
}

async fn over_grpc(server: &TestServer, token: &str) -> Result<usize, (Code, String)> {
    let mut request = Request::new(ListProductsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let answer = CatalogServiceClient::new(server.channel()).list_products(request).await;
    answer
        .map(|answer| answer.get_ref().products.len())
        .map_err(|status| (status.code(), status.message().to_owned()))
}

async fn over_rest(server: &TestServer, path: &str, token: &str) -> StatusCode {
    let request = call(Method::GET, path).anonymous();
    request.header("authorization", &format!("Bearer {token}")).send(server.api).await.status
}

#[tokio::test]
async fn an_issuer_that_comes_changes_its_keys_and_goes() {
    let (first, second) = (Key::new("first"), Key::new("second"));
    // An address at which nobody answers yet.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let url = format!("http://{address}");
    let source = KeySource::Discovery { issuer: url.clone() };
    let setup = Setup { outside_issuer: Some(config(source, Some(&url))), ..Setup::default() };
    let server = TestServer::with(setup).await;
    let token = first.sign(&claims(&url));
    let (code, message) = over_grpc(&server, &token).await.unwrap_err();
    assert_eq!(code, Code::Unauthenticated);
    assert!(message.contains("key that is not known"), "{message}");

    let issuer = Issuer::start(address, &[&first]).await;
    assert_eq!(issuer.url, url);
    // Not sooner than a second after the last attempt.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(over_grpc(&server, &token).await, Ok(3));
    assert_eq!(over_rest(&server, "/v1/catalog/products", &token).await, StatusCode::OK);
    // What the token does not allow.
    assert_eq!(over_rest(&server, "/v1/usageRecords", &token).await, StatusCode::FORBIDDEN);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);

    // A new key: many calls, one question. And a key that does not exist: no question.
    issuer.keys.lock().push(second.jwk());
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let newer = second.sign(&claims(&url));
    let calls = (0..40).map(|_| over_grpc(&server, &newer));
    for outcome in futures_util::future::join_all(calls).await {
        assert_eq!(outcome, Ok(3));
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    let unknown = Key::new("unknown").sign(&claims(&url));
    assert_eq!(over_grpc(&server, &unknown).await.unwrap_err().0, Code::Unauthenticated);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);

    // The issuer is gone; its keys are not.
    issuer.stop().await;
    let mut other = claims(&url);
    other["sub"] = "another-agent".into();
    assert_eq!(over_grpc(&server, &first.sign(&other)).await, Ok(3));
    server.stop().await;
}

#[tokio::test]
async fn issuer_is_found_with_and_without_a_slash() {
    let key = Key::new("key");
    for (end, configured) in [("", ""), ("", "/"), ("/", ""), ("/", "/")] {
        let issuer = Issuer::called(([127, 0, 0, 1], 0).into(), &[&key], end).await;
        let source = KeySource::Discovery { issuer: issuer.url.clone() };
        let named = format!("{}{configured}", issuer.url);
        let setup =
            Setup { outside_issuer: Some(config(source, Some(&named))), ..Setup::default() };
        let server = TestServer::with(setup).await;
        let token = key.sign(&claims(&format!("{}{end}", issuer.url)));
        assert_eq!(over_grpc(&server, &token).await, Ok(3), "{end:?} {configured:?}");
        server.stop().await;
        issuer.stop().await;
    }
}

fn with_key_file(directory: &std::path::Path, key: &Key, allows_operators: bool) -> Setup {
    let file = directory.join("keys.json");
    std::fs::write(&file, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    let mut config = config(KeySource::File(file), None);
    config.settings.mapping.allows_operators = allows_operators;
    Setup { outside_issuer: Some(config), ..Setup::default() }
}

#[tokio::test]
async fn claims_make_operators_only_where_that_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::new("key");
    let mut administrator = claims("whoever has the key");
    administrator["scope"] = "access:admin catalog:view".into();
    let token = key.sign(&administrator);
    for allowed in [false, true] {
        let server = TestServer::with(with_key_file(directory.path(), &key, allowed)).await;
        let (listed, rotated) = (
            over_rest(&server, "/v1/access/organizations", &token).await,
            call(Method::POST, "/v1/access/signingKeys:rotate")
                .anonymous()
                .header("authorization", &format!("Bearer {token}"))
                .json("{}")
                .send(server.api)
                .await
                .status,
        );
        let expected = if allowed { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!((listed, rotated), (expected, expected));
        if !allowed {
            let (_, message) = over_grpc(&server, &token).await.unwrap_err();
            assert!(message.contains("--oidc-allow-operators"), "{message}");
        }
        // Without access:admin the organization is one like any other.
        let viewer = key.sign(&claims("whoever has the key"));
        assert_eq!(over_rest(&server, "/v1/catalog/products", &viewer).await, StatusCode::OK);
        server.stop().await;
    }
}

#[tokio::test]
async fn outside_subject_is_not_the_registered_client_of_that_id() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::new("key");
    let server = TestServer::with(with_key_file(directory.path(), &key, false)).await;
    let register = async |id: &str| {
        let client = json!({"clientId": id, "permissions": ["catalog:view"]});
        call(Method::POST, "/v1/access/clients").json(client).send(server.api).await
    };
    let registered = register("their-agent").await;
    let api_key = registered.json()["apiKey"].as_str().unwrap().to_owned();
    let token = key.sign(&claims("whoever has the key"));
    let both = call(Method::GET, "/v1/catalog/products")
        .anonymous()
        .header("authorization", &format!("Bearer {token}"))
        .header("api-key", &api_key)
        .send(server.api)
        .await;
    assert_eq!(both.status, StatusCode::UNAUTHORIZED);
    let refused = register("oidc:their-agent").await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["client_id".into()])
    );
    assert_eq!(over_rest(&server, "/v1/catalog/products", &token).await, StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn longest_subject_is_counted_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (data, keys) = (directory.path().join("data"), directory.path().join("keys.json"));
    let key = Key::new("key");
    std::fs::write(&keys, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    let start = || {
        let mut command = serve_command(&[], &data);
        command.arg("--jwks-file").arg(&keys).args(["--oidc-audience", "meterd"]);
        MeterdProcess::start(command)
    };
    let now = jiff::Timestamp::now();
    let subject = "s".repeat(255);
    let token = key.sign(&json!({
        "aud": "meterd", "sub": subject, "org": "default", "exp": now.as_second() + 3600,
        "scope": "usage:product:write usage:api:write usage:asset:report catalog:admin",
    }));
    let client_id = format!("oidc:{subject}");
    let server = start();
    let post = async |method: Method, path: &str, body: Value| {
        let call =
            call(method, path).anonymous().header("authorization", &format!("Bearer {token}"));
        let answer = call.json(body).send(server.api).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.json());
        answer.json()
    };
    let record = json!({"uuid": fresh_uuid(), "skuId": "gb-hour", "quantity": 7, "timestamp": now.to_string()});
    let write = json!({"productId": "storage", "usageRecords": [record]});
    let path = "/marketplace/metering/v1/imageProductUsage/write";
    let written = post(Method::POST, path, write).await;
    assert_eq!(written["accepted"].as_array().unwrap().len(), 1, "{written}");
    let event = json!({
        "uuid": fresh_uuid(), "templateUri": "/t", "httpMethod": "GET", "status": 200, "timestamp": now.to_string(),
    });
    let recorded = post(Method::POST, "/v1/apiUsage:record", json!({"events": [event]})).await;
    assert_eq!(recorded["acceptedCount"], 1, "{recorded}");
    post(Method::POST, "/v1/catalog/assets:apply", json!({"assets": [{"id": "a"}]})).await;
    let today = now.to_string();
    let usage = json!({"asset_id": "a", "quantity": 3, "usage_date": today[..10]});
    post(Method::PUT, "/v3/usage-batches/b", json!({"asset_usages": [usage]})).await;
    server.kill();

    let server = start();
    let records = call(Method::GET, &format!("/v1/usageRecords?clientIds={client_id}"))
        .send(server.api)
        .await
        .json();
    assert_eq!(records["records"][0]["clientId"], client_id.as_str(), "{records}");
    let query = json!({
        "interval": "2026-01-01/P3000D", "groupBy": ["ASSET_USAGE_DIMENSION_CLIENT"],
    });
    let assets =
        call(Method::POST, "/v1/assetUsage:query").json(query).send(server.api).await.json();
    assert_eq!(assets["rows"][0]["clientId"], client_id.as_str(), "{assets}");
    let audit = call(Method::GET, "/v1/access/auditEvents").send(server.api).await.json();
    assert!(audit.to_string().contains(&client_id), "{audit}");
    let process = server.id();
    assert!(server.terminate(process));
    assert_verified(&data);
}

#[tokio::test]
async fn keys_in_a_file_and_tokens_that_do_not_say_what_they_must() {
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("keys.json");
    let (first, second) = (Key::new("first"), Key::new("second"));
    std::fs::write(&file, json!({"keys": [first.jwk()]}).to_string()).unwrap();
    let setup = Setup {
        outside_issuer: Some(config(KeySource::File(file.clone()), None)),
        ..Setup::default()
    };
    let server = TestServer::with(setup).await;
    let good = claims("whoever has the key");
    assert_eq!(over_grpc(&server, &first.sign(&good)).await, Ok(3));
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        first.sign(&claims)
    };
    for (token, words) in [
        (with("aud", "another".into()), "another audience"),
        (with("exp", (noon().as_second() - 3600).into()), "expired"),
        (with("org", Value::Null), "names no organization"),
        (with("org", "nowhere".into()), "does not exist here"),
        (with("sub", 7.into()), "names no client"),
        (first.unsigned("none", &good, b""), "not valid"),
        (first.unsigned("EdDSA", &good, &[7; 64]), "not valid"),
    ] {
        let (code, message) = over_grpc(&server, &token).await.unwrap_err();
        assert_eq!(code, Code::Unauthenticated);
        assert!(message.contains(words), "{message}: not {words}");
    }
    // Another organization sees its own, which is nothing.
    let request = CreateOrganizationRequest { organization_id: "acme".into(), name: "Acme".into() };
    server.access().create_organization(request).await.unwrap();
    assert_eq!(over_grpc(&server, &with("org", "acme".into())).await, Ok(0));
    // The file changes: a call with the new key has it read at once.
    std::fs::write(&file, json!({"keys": [second.jwk()]}).to_string()).unwrap();
    assert_eq!(over_grpc(&server, &second.sign(&good)).await, Ok(3));
    assert_eq!(over_grpc(&server, &first.sign(&good)).await.unwrap_err().0, Code::Unauthenticated);
    // A file that is no key set leaves the keys as they are.
    std::fs::write(&file, "{").unwrap();
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert_eq!(over_grpc(&server, &second.sign(&good)).await, Ok(3));
    server.stop().await;
}
