//! What opens a door is in no log, metric, error text or file, whatever is logged.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    ListProductsRequest, catalog_service_client::CatalogServiceClient,
};
use serde_json::json;
use tonic::{Request, transport::Endpoint};

use crate::support::{
    http::call,
    process::{MeterdProcess, serve_command},
    server::TOKEN,
};

const WRONG: &str = "mtrs_this-is-somebodys-password-in-the-wrong-place";

async fn over_grpc(server: &MeterdProcess, name: &'static str, value: &str) -> String {
    let channel = Endpoint::from_shared(format!("http://{}", server.api)).unwrap().connect_lazy();
    let mut request = Request::new(ListProductsRequest::default());
    request.metadata_mut().insert(name, value.parse().unwrap());
    match CatalogServiceClient::new(channel).list_products(request).await {
        Ok(answer) => format!("{answer:?}"),
        Err(status) => format!("{status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut command = serve_command(&[], &data);
    // Everything there is to log, of every library.
    command.env("METERD_LOG", "trace");
    let server = MeterdProcess::start(command);
    let created = call(Method::POST, "/v1/access/clients")
        .json(json!({"clientId": "agent", "permissions": ["catalog:view"]}))
        .send(server.api)
        .await
        .json();
    let secret = created["secret"].as_str().unwrap().to_owned();
    let api_key = created["apiKey"].as_str().unwrap().to_owned();
    let basic = |secret: &str| BASE64_STANDARD.encode(format!("agent:{secret}"));
    let mut said = Vec::new();
    let mut tokens = Vec::new();
    for secret in [secret.as_str(), WRONG] {
        let form = format!("grant_type=client_credentials&client_id=agent&client_secret={secret}");
        let by_form = call(Method::POST, "/oauth2/token")
            .anonymous()
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send(server.api)
            .await;
        let by_header = call(Method::POST, "/oauth/token")
            .anonymous()
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", &format!("Basic {}", basic(secret)))
            .body("grant_type=client_credentials")
            .send(server.api)
            .await;
        for answer in [by_form, by_header] {
            if answer.status == StatusCode::OK {
                for name in ["access_token", "refresh_token"] {
                    tokens.extend(answer.json()[name].as_str().map(ToOwned::to_owned));
                }
            } else {
                said.push(answer.json().to_string());
            }
        }
    }
    assert_eq!(tokens.len(), 3);
    let mut secrets = vec![
        secret.clone(),
        api_key.clone(),
        WRONG.to_owned(),
        TOKEN.to_owned(),
        basic(&secret),
        basic(WRONG),
    ];
    secrets.extend(tokens);
    // Each of them where it belongs, and where it does not.
    for value in &secrets {
        for (name, value) in [
            ("authorization", format!("Bearer {value}")),
            ("authorization", value.clone()),
            ("api-key", value.clone()),
        ] {
            said.push(over_grpc(&server, name, &value).await);
            let answer = call(Method::GET, "/v1/catalog/products")
                .anonymous()
                .header(name, &value)
                .send(server.api)
                .await;
            said.push(answer.json().to_string());
        }
    }
    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    said.push(String::from_utf8(metrics.body.to_vec()).unwrap());
    let log = server.kill();
    assert!(log.contains("TRACE"), "nothing was logged that could tell");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&data)
        .unwrap()
        .chain(std::fs::read_dir(data.join("store")).into_iter().flatten())
    {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    assert!(files.len() >= 3, "{files:?}");
    for secret in &secrets {
        // A token's first part is the same for all, and no secret.
        let telling = &secret[secret.len() / 2..];
        assert!(!log.contains(telling), "{telling} is in the log: {}", line_with(&log, telling));
        for text in &said {
            assert!(!text.contains(telling), "{telling} is in {text}");
        }
        for (path, bytes) in &files {
            let found = bytes.windows(telling.len()).any(|window| window == telling.as_bytes());
            assert!(!found, "{telling} is in {}", path.display());
        }
    }
}

fn line_with<'a>(log: &'a str, text: &str) -> &'a str {
    log.lines().find(|line| line.contains(text)).unwrap_or_default()
}
