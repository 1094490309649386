//! Clients that sign in with their own keys: whom their assertions must be for, and how often each is good.

use http::{Method, StatusCode};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meterd::auth::{assertion::AssertionLimits, server_names::PublicUrl};
use serde_json::{Value, json};

use crate::support::{
    http::{Answer, call},
    process::{MeterdProcess, serve_command},
    server::{Setup, TestServer, noon},
    tokens::rsa_key_pair,
};

const FORM: &str = "application/x-www-form-urlencoded";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A client with a key of its own.
struct Agent {
    id: &'static str,
    key_id: String,
    signs: EncodingKey,
}

impl Agent {
    async fn register(api: std::net::SocketAddr, id: &'static str) -> Self {
        let client = json!({"clientId": id, "permissions": ["catalog:view"]});
        let created = call(Method::POST, "/v1/access/clients").json(client).send(api).await;
        assert_eq!(created.status, StatusCode::OK);
        let (public, private) = rsa_key_pair();
        let added = call(Method::POST, &format!("/v1/access/clients/{id}/publicKeys"))
            .json(json!({ "publicKey": public }))
            .send(api)
            .await;
        let key_id = added.json()["keyId"].as_str().unwrap().to_owned();
        Self { id, key_id, signs: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap() }
    }

    fn claims(&self, audience: &str) -> Value {
        let now = noon().as_second();
        json!({"iss": self.id, "aud": audience, "iat": now, "exp": now + 3600})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::PS256) };
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }

    fn assertion(&self, audience: &str) -> String {
        self.sign(&self.claims(audience))
    }
}

/// Signs in as a server under the name `host`.
async fn sign_in_at(
    api: std::net::SocketAddr,
    path: &str,
    host: Option<&str>,
    assertion: &str,
) -> Answer {
    let call = call(Method::POST, path).anonymous();
    let call = match host {
        Some(host) => call.host(host),
        None => call,
    };
    if path == "/iam/v1/tokens" {
        return call.json(json!({ "jwt": assertion })).send(api).await;
    }
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", JWT_BEARER), ("assertion", assertion)])
        .finish();
    call.header("content-type", FORM).body(form).send(api).await
}

async fn sign_in(server: &TestServer, path: &str, assertion: &str) -> Answer {
    sign_in_at(server.api, path, None, assertion).await
}

fn called(names: &[&str]) -> Setup {
    let public_urls = names.iter().map(|name| PublicUrl::parse(name).unwrap()).collect();
    Setup { public_urls, ..Setup::default() }
}

async fn metric(server: &TestServer, line: &str) -> bool {
    let metrics = call(Method::GET, "/metrics").send(server.admin).await;
    String::from_utf8_lossy(&metrics.body).lines().any(|each| each == line)
}

#[tokio::test]
async fn host_of_the_request_names_no_audience() {
    let server = TestServer::start().await;
    let agent = Agent::register(server.api, "agent").await;
    for (path, host, audience) in [
        ("/oauth/token", "evil.example:9999", "http://evil.example:9999/oauth/token"),
        ("/oauth/token", "evil.example", "https://evil.example/oauth/token"),
        (
            "/iam/v1/tokens",
            "iam.api.cloud.yandex.net",
            "https://iam.api.cloud.yandex.net/iam/v1/tokens",
        ),
        (
            "/iam/v1/tokens",
            "api.cloud.yandex.net",
            "https://iam.api.cloud.yandex.net/iam/v1/tokens",
        ),
    ] {
        let answer = sign_in_at(server.api, path, Some(host), &agent.assertion(audience)).await;
        let refused =
            if path == "/oauth/token" { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status, refused, "{audience}");
    }
    assert!(metric(&server, "meterd_assertions_refused_total{reason=\"audience\"} 4").await);
    // And a name that some proxy put there is not needed either.
    let good = agent.assertion(&format!("http://{}/oauth/token", server.api));
    let answer = sign_in_at(server.api, "/oauth/token", Some("behind.a.proxy"), &good).await;
    assert_eq!(answer.status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn issuer_and_every_token_url_are_good_at_every_path() {
    let server = TestServer::with(called(&["https://usage.example.com"])).await;
    let agent = Agent::register(server.api, "agent").await;
    for audience in [
        "https://usage.example.com",
        "https://usage.example.com/",
        "https://usage.example.com/oauth/token",
        "https://usage.example.com/oauth2/token",
        "https://usage.example.com/v4/oauth2/token",
        "https://usage.example.com/iam/v1/tokens",
        "https://iam.usage.example.com/iam/v1/tokens",
        "https://iam.usage.example.com:443/iam/v1/tokens",
    ] {
        for path in ["/oauth/token", "/oauth2/token", "/v4/oauth2/token", "/iam/v1/tokens"] {
            let answer = sign_in(&server, path, &agent.assertion(audience)).await;
            assert_eq!(answer.status, StatusCode::OK, "{audience} at {path}: {}", answer.json());
        }
    }
    // Loopback names are none of its names once it has others.
    let local = agent.assertion(&format!("http://{}/oauth/token", server.api));
    assert_eq!(sign_in(&server, "/oauth/token", &local).await.status, StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn public_url_is_where_clients_are_sent() {
    let server =
        TestServer::with(called(&["https://usage.example.com", "https://other.example:8443"]))
            .await;
    for host in ["evil.example", "usage.example.com"] {
        let answer = call(Method::GET, "/endpoints").anonymous().host(host).send(server.api).await;
        let json = answer.json();
        let addresses: Vec<&str> = json["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|endpoint| endpoint["address"].as_str().unwrap())
            .collect();
        assert_eq!(addresses, ["usage.example.com:443", "usage.example.com:443"], "{host}");
        let document =
            call(Method::GET, "/openapi.json").anonymous().host(host).send(server.api).await.json();
        let urls: Vec<&str> = document["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["url"].as_str().unwrap())
            .collect();
        assert_eq!(
            urls,
            ["https://usage.example.com", "https://other.example:8443", "/"],
            "{host}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn assertion_is_good_for_one_sign_in_at_any_path() {
    let server = TestServer::start().await;
    let agent = Agent::register(server.api, "agent").await;
    let audience = format!("http://{}/oauth/token", server.api);
    let assertion = agent.assertion(&audience);
    assert_eq!(sign_in(&server, "/oauth/token", &assertion).await.status, StatusCode::OK);
    let again = sign_in(&server, "/oauth/token", &assertion).await;
    assert_eq!(
        (again.status, again.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_grant"))
    );
    for path in ["/oauth2/token", "/iam/v1/tokens"] {
        assert_ne!(sign_in(&server, path, &assertion).await.status, StatusCode::OK, "{path}");
    }
    let mut named = agent.claims(&audience);
    named["jti"] = "one".into();
    let [first, second] = [agent.sign(&named), agent.sign(&named)];
    assert_eq!(sign_in(&server, "/oauth/token", &first).await.status, StatusCode::OK);
    assert_eq!(sign_in(&server, "/oauth/token", &second).await.status, StatusCode::BAD_REQUEST);
    assert!(metric(&server, "meterd_assertions_refused_total{reason=\"used\"} 4").await);
    server.stop().await;
}

#[tokio::test]
async fn assertions_beyond_a_clients_share_are_refused() {
    let assertions = AssertionLimits { per_client_max: 2 };
    let server = TestServer::with(Setup { assertions, ..Setup::default() }).await;
    let (greedy, other) =
        (Agent::register(server.api, "greedy").await, Agent::register(server.api, "other").await);
    let audience = format!("http://{}", server.api);
    let first = greedy.assertion(&audience);
    assert_eq!(sign_in(&server, "/oauth/token", &first).await.status, StatusCode::OK);
    let second = greedy.assertion(&audience);
    assert_eq!(sign_in(&server, "/oauth/token", &second).await.status, StatusCode::OK);
    let third = sign_in(&server, "/oauth/token", &greedy.assertion(&audience)).await;
    assert_eq!(third.status, StatusCode::TOO_MANY_REQUESTS);
    let text = third.json()["error_description"].as_str().unwrap().to_owned();
    assert!(text.contains("client-assertions-max"), "{text}");
    let over_iam = sign_in(&server, "/iam/v1/tokens", &greedy.assertion(&audience)).await;
    assert_eq!(
        (over_iam.status, over_iam.reason().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_ASSERTIONS")
    );
    // Nothing was forgotten for it, and other clients sign in.
    assert_eq!(sign_in(&server, "/oauth/token", &first).await.status, StatusCode::BAD_REQUEST);
    let others = other.assertion(&audience);
    assert_eq!(sign_in(&server, "/oauth/token", &others).await.status, StatusCode::OK);
    server.clock.advance(SignedDuration::from_secs(3661));
    let mut later = greedy.claims(&audience);
    let now = noon().as_second() + 3661;
    later["iat"] = now.into();
    later["exp"] = (now + 60).into();
    assert_eq!(sign_in(&server, "/oauth/token", &greedy.sign(&later)).await.status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn times_of_an_assertion_are_checked() {
    let server = TestServer::start().await;
    let agent = Agent::register(server.api, "agent").await;
    let audience = format!("http://{}/oauth/token", server.api);
    let now = noon().as_second();
    let with = |name: &str, value: Value| {
        let mut claims = agent.claims(&audience);
        claims[name] = value;
        agent.sign(&claims)
    };
    let mut without = agent.claims(&audience);
    without.as_object_mut().unwrap().remove("iat");
    for (what, assertion, status) in [
        ("nbf ahead", with("nbf", (now + 500).into()), StatusCode::BAD_REQUEST),
        ("nbf now", with("nbf", now.into()), StatusCode::OK),
        ("no iat", agent.sign(&without), StatusCode::OK),
        ("fractions", with("exp", json!(now as f64 + 3599.5)), StatusCode::OK),
        ("over an hour", with("exp", (now + 3700).into()), StatusCode::BAD_REQUEST),
    ] {
        let answer = sign_in(&server, "/oauth/token", &assertion).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.json());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_says_which_check_failed_and_the_answer_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let server = MeterdProcess::start(serve_command(&[], &directory.path().join("data")));
    let agent = Agent::register(server.api, "agent").await;
    let now = jiff::Timestamp::now().as_second();
    let claims = |audience: &str, until: i64| json!({"iss": "agent", "aud": audience, "iat": now, "exp": now + until});
    let own = format!("http://{}/oauth/token", server.api);
    let good = agent.sign(&claims(&own, 300));
    let refused = [
        (agent.sign(&claims("https://elsewhere.example/oauth/token", 300)), "elsewhere.example"),
        (agent.sign(&claims(&own, 7200)), "valid for more than an hour"),
        (good.clone(), "it was used before"),
    ];
    assert_eq!(sign_in_at(server.api, "/oauth/token", None, &good).await.status, StatusCode::OK);
    let mut answers = Vec::new();
    for (assertion, _) in &refused {
        answers.push(sign_in_at(server.api, "/oauth/token", None, assertion).await.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let log = server.kill();
    for (assertion, words) in &refused {
        assert!(log.contains(words), "{words}: {log}");
        let signature = assertion.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "{log}");
    }
    assert!(log.contains("assertions must be for this server"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_a_name_says_so_and_refuses_assertions() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = crate::support::command::meterd(&["serve", "--listen", "0.0.0.0:0"]);
    command
        .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .env("METERD_ADMIN_TOKEN", crate::support::server::TOKEN);
    let server = MeterdProcess::start(command);
    let api = (std::net::Ipv4Addr::LOCALHOST, server.api.port()).into();
    let agent = Agent::register(api, "agent").await;
    let now = jiff::Timestamp::now().as_second();
    let audience = format!("http://{api}/oauth/token");
    let claims = json!({"iss": "agent", "aud": audience, "iat": now, "exp": now + 300});
    let answer = sign_in_at(api, "/oauth/token", None, &agent.sign(&claims)).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
    let endpoints = call(Method::GET, "/endpoints").anonymous().send(api).await;
    assert_eq!(endpoints.reason(), "NO_PUBLIC_URL", "{}", endpoints.json());
    let log = server.kill();
    assert!(log.contains("this server does not know what it is called"), "{log}");
    assert!(log.contains("an assertion was refused: this server does not know"), "{log}");
}
