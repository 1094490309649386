//! Two organizations with the same names for everything: neither sees anything of the other.

use std::{path::Path, sync::Arc};

use http::{Method, StatusCode};
use meterd::store::sled::{SledStore, StoreOptions};
use serde_json::{Value, json};

use crate::support::{
    http::{Answer, call},
    server::{Setup, TestServer},
};

const WRITE: &str = "/marketplace/metering/v1/imageProductUsage/write";
const SHARED: &str = "6f1f4b0e-8c1d-4d6e-9a55-2b8f5a1c7d10";
const ONLY_ALPHA: &str = "6f1f4b0e-8c1d-4d6e-9a55-2b8f5a1c7d11";

struct Organization<'a> {
    server: &'a TestServer,
    secret: String,
    api_key: String,
}

impl<'a> Organization<'a> {
    /// An organization with an administrator `agent`, made by the operator.
    async fn new(server: &'a TestServer, id: &str) -> Self {
        let post = async |path: &str, body: Value| {
            let answer = call(Method::POST, path).json(body).send(server.api).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
            answer.json()
        };
        post("/v1/access/organizations", json!({"organizationId": id})).await;
        let client = json!({
            "organizationId": id,
            "clientId": "agent",
            "name": format!("Agent of {id}"),
            "permissions": [
                "usage:product:write", "usage:product:view", "usage:asset:report", "usage:asset:view",
                "catalog:admin", "access:admin",
            ],
        });
        let created = post("/v1/access/clients", client).await;
        let text = |name: &str| created[name].as_str().unwrap().to_owned();
        Self { server, secret: text("secret"), api_key: text("apiKey") }
    }

    async fn send(&self, method: Method, target: &str, body: Option<Value>) -> Answer {
        let mut call = call(method, target).anonymous().header("api-key", &self.api_key);
        if let Some(body) = body {
            call = call.json(body);
        }
        call.send(self.server.api).await
    }

    async fn get(&self, target: &str) -> Value {
        let answer = self.send(Method::GET, target, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}: {}", answer.json());
        answer.json()
    }

    async fn post(&self, target: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, target, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}: {}", answer.json());
        answer.json()
    }

    async fn sells(&self, sku: &str) {
        let product =
            json!({"id": "product", "name": format!("sells {sku}"), "skus": [{"id": sku}]});
        self.post("/v1/catalog:apply", json!({"products": [product]})).await;
    }

    /// Reports one use of an asset.
    async fn reports(&self, batch: &str, asset: &str, quantity: i64) -> Answer {
        let usage = json!({"asset_id": asset, "quantity": quantity, "usage_date": "2026-11-20"});
        let target = format!("/v3/usage-batches/{batch}");
        self.send(Method::PUT, &target, Some(json!({"asset_usages": [usage]}))).await
    }

    async fn writes(&self, sku: &str, uuid: &str, quantity: i64) -> Value {
        let record = json!({"uuid": uuid, "skuId": sku, "quantity": quantity, "timestamp": "2026-11-20T12:00:00Z"});
        self.post(WRITE, json!({"productId": "product", "usageRecords": [record]})).await
    }
}

#[tokio::test]
async fn equal_names_are_different_things() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let server = TestServer::with(Setup { store: Arc::new(store), ..Setup::default() }).await;
    let [alpha, beta] =
        [Organization::new(&server, "alpha").await, Organization::new(&server, "beta").await];
    alpha.sells("alpha-sku").await;
    beta.sells("beta-sku").await;

    // The same uuid is accepted once by each; the SKU of the other is unknown.
    for (organization, sku, foreign, quantity) in
        [(&alpha, "alpha-sku", "beta-sku", 7), (&beta, "beta-sku", "alpha-sku", 11)]
    {
        let written = organization.writes(sku, SHARED, quantity).await;
        assert_eq!(written["accepted"][0]["uuid"], SHARED, "{written}");
        let refused = organization.writes(foreign, ONLY_ALPHA, 1).await;
        assert_eq!(refused["rejected"][0]["reason"], "INVALID_SKU_ID");
    }
    alpha.writes("alpha-sku", ONLY_ALPHA, 13).await;

    // Whatever one can read names nothing of the other, and the other's things are not there.
    let query = json!({
        "interval": "2026-11-20/P1D",
        "groupBy": ["USAGE_DIMENSION_SKU", "USAGE_DIMENSION_CLIENT"],
    });
    for (organization, own, foreign, total) in
        [(&alpha, "alpha", "beta", "20"), (&beta, "beta", "alpha", "11")]
    {
        let totals = organization.post("/v1/productUsage:query", query.clone()).await;
        assert_eq!(totals["totalQuantity"], total);
        let record = organization.get(&format!("/v1/usageRecords/{SHARED}")).await;
        assert_eq!(record["record"]["skuId"], format!("{own}-sku"));
        for target in [
            "/v1/usageRecords",
            "/v1/catalog/products",
            "/v1/catalog/products/product",
            "/v1/access/organizations",
            "/v1/access/clients",
            "/v1/access/clients/agent",
            "/v1/access/auditEvents",
        ] {
            let answer = organization.get(target).await.to_string();
            assert!(answer.contains(own) || answer.contains("agent"), "{target}: {answer}");
            assert!(!answer.contains(foreign), "{target}: {answer}");
        }
        // What exists elsewhere is not told apart from what does not exist at all.
        let other = |of: &str| {
            [
                (Method::GET, format!("/v1/access/clients/agent?organizationId={of}")),
                (Method::GET, format!("/v1/access/clients?organizationId={of}")),
                (Method::DELETE, format!("/v1/access/clients/agent?organizationId={of}")),
                (Method::GET, format!("/v1/access/auditEvents?organizationId={of}")),
            ]
        };
        for ((method, there), (_, nowhere)) in other(foreign).into_iter().zip(other("nowhere")) {
            let there = organization.send(method.clone(), &there, None).await;
            let nowhere = organization.send(method, &nowhere, None).await;
            assert_eq!(
                (there.status, nowhere.status),
                (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
            );
            assert_eq!(
                there.json().to_string().replace(foreign, "nowhere"),
                nowhere.json().to_string()
            );
        }
        let create =
            json!({"organizationId": foreign, "clientId": "spy", "permissions": ["access:admin"]});
        let refused = organization.send(Method::POST, "/v1/access/clients", Some(create)).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
    }
    let missing = beta.send(Method::GET, &format!("/v1/usageRecords/{ONLY_ALPHA}"), None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);

    // Assets, batches and their ids.
    for (organization, own, quantity) in [(&alpha, "alpha", 7), (&beta, "beta", 11)] {
        let assets = json!([{"id": "picture", "name": format!("of {own}")}, {"id": format!("{own}-picture")}]);
        organization.post("/v1/catalog/assets:apply", json!({"assets": assets})).await;
        let recorded = organization.reports("batch", "picture", quantity).await;
        assert_eq!(recorded.status, StatusCode::CREATED, "{}", recorded.json());
    }
    assert_eq!(alpha.reports("alpha-batch", "alpha-picture", 1).await.status, StatusCode::CREATED);
    for (organization, foreign, total) in [(&alpha, "beta", "8"), (&beta, "alpha", "11")] {
        let query =
            json!({"interval": "2026-11-20/P1D", "groupBy": ["ASSET_USAGE_DIMENSION_ASSET"]});
        let totals = organization.post("/v1/assetUsage:query", query).await;
        assert_eq!(totals["totalQuantity"], total);
        assert!(!totals.to_string().contains(foreign), "{totals}");
        for target in
            ["/v1/catalog/assets", "/v1/catalog/assets/picture", "/v3/usage-batches/batch"]
        {
            let answer = organization.get(target).await.to_string();
            assert!(!answer.contains(foreign), "{target}: {answer}");
        }
        let exported = organization.send(Method::GET, "/v1/usageRecords:export", None).await;
        let exported = String::from_utf8(exported.body.to_vec()).unwrap();
        assert!(exported.contains(SHARED) && !exported.contains(foreign), "{exported}");
        let unknown = organization.reports("other", &format!("{foreign}-picture"), 1).await;
        assert_eq!(unknown.json()["invalid_assets"], json!([format!("{foreign}-picture")]));
    }
    let missing = beta.send(Method::GET, "/v3/usage-batches/alpha-batch", None).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(beta.reports("alpha-batch", "picture", 1).await.status, StatusCode::CREATED);

    // A page token of one is none of the other's.
    let page = alpha.get("/v1/usageRecords?pageSize=1").await;
    let token = page["nextPageToken"].as_str().unwrap();
    assert_ne!(token, "");
    let target = format!("/v1/usageRecords?pageSize=1&pageToken={token}");
    assert_eq!(beta.send(Method::GET, &target, None).await.status, StatusCode::BAD_REQUEST);
    alpha.get(&target).await;

    // Deleting one's catalog leaves the other's.
    let deleted = alpha.send(Method::DELETE, "/v1/catalog/products/product", None).await;
    assert_eq!(deleted.status, StatusCode::OK);
    beta.writes("beta-sku", ONLY_ALPHA, 1).await;

    let texts: Vec<String> = [&alpha, &beta]
        .into_iter()
        .flat_map(|organization| [organization.secret.clone(), organization.api_key.clone()])
        .collect();
    server.stop().await;
    assert_nowhere(directory.path(), &texts);
}

/// How busy another organization is while one works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Idle,
    Writing,
}

/// What an organization reads that works beside another one.
async fn read_beside(others: Others) -> Vec<(String, Value)> {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let server = TestServer::with(Setup { store: Arc::new(store), ..Setup::default() }).await;
    let [alpha, beta] =
        [Organization::new(&server, "alpha").await, Organization::new(&server, "beta").await];
    alpha.sells("sku").await;
    beta.sells("sku").await;
    for organization in [&alpha, &beta] {
        let assets = json!({"assets": [{"id": "picture"}]});
        organization.post("/v1/catalog/assets:apply", assets).await;
    }
    let uuid = |number: u32| format!("6f1f4b0e-8c1d-4d6e-9a55-{number:012}");
    let mut read = Vec::new();
    for number in 0..12 {
        if others == Others::Writing {
            for more in 0..=number * 3 {
                beta.writes("sku", &uuid(number * 100 + more), 1).await;
            }
            beta.reports(&format!("batch-{number}"), "picture", 1).await;
        }
        alpha.writes("sku", &uuid(number), 1).await;
        alpha.reports(&format!("batch-{number}"), "picture", 1).await;
        alpha.read_all(&uuid(number), &mut read).await;
    }
    server.stop().await;
    read
}

impl Organization<'_> {
    /// Reads everything that may depend on the log.
    async fn read_all(&self, uuid: &str, read: &mut Vec<(String, Value)>) {
        let interval = json!({"interval": "2026-11-20/P1D"});
        for target in ["/v1/productUsage:query", "/v1/assetUsage:query"] {
            let answer = self.post(target, interval.clone()).await;
            read.push((target.to_owned(), masked(answer)));
        }
        let later = "storedInterval=2026-11-20T12:00:00Z/P1D";
        for target in [
            format!("/v1/usageRecords/{uuid}"),
            "/v1/usageRecords?skuIds=none".to_owned(),
            format!("/v1/usageRecords?{later}"),
            "/v3/usage-batches/batch-0".to_owned(),
            "/v1/catalog/products?pageSize=1".to_owned(),
        ] {
            let answer = self.get(&target).await;
            read.push((target, masked(answer)));
        }
        let mut token = String::new();
        loop {
            let target = format!("/v1/usageRecords?pageSize=2&pageToken={token}");
            let page = self.get(&target).await;
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            read.push(("/v1/usageRecords?pageSize=2".to_owned(), masked(page)));
            if token.is_empty() {
                break;
            }
        }
        for target in [
            "/v1/usageRecords:export".to_owned(),
            format!("/v1/usageRecords:export?afterUuid={uuid}"),
            format!("/v1/usageRecords:export?skuIds=none&{later}"),
        ] {
            let exported = self.send(Method::GET, &target, None).await;
            let headers: Value = exported
                .headers
                .iter()
                .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
                .map(|(name, value)| {
                    let value = value.to_str().unwrap();
                    let is_opaque = name == "meterd-as-of";
                    json!([
                        name.as_str(),
                        if is_opaque { masked_text(value) } else { value.into() }
                    ])
                })
                .collect();
            let body = String::from_utf8(exported.body.to_vec()).unwrap();
            read.push((target, json!([headers, body])));
        }
    }
}

/// Texts that only the server can read are replaced by how long they are.
fn masked(mut answer: Value) -> Value {
    for name in ["asOf", "nextPageToken"] {
        if let Some(Value::String(text)) = answer.get_mut(name) {
            answer[name] = masked_text(&text.clone());
        }
    }
    answer
}

fn masked_text(text: &str) -> Value {
    // No numbers in a form that anybody could read.
    assert!(text.is_empty() || text.len() >= 43, "{text}");
    text.len().into()
}

#[tokio::test]
async fn answers_do_not_depend_on_what_others_write() {
    let alone = read_beside(Others::Idle).await;
    let beside = read_beside(Others::Writing).await;
    assert!(alone.len() > 150, "{}", alone.len());
    assert_eq!(alone.len(), beside.len());
    for ((target, alone), (_, beside)) in alone.iter().zip(&beside) {
        assert_eq!(alone, beside, "{target}");
    }
}

#[tokio::test]
async fn opaque_texts_of_one_are_refused_to_the_other() {
    let server = TestServer::start().await;
    let [alpha, beta] =
        [Organization::new(&server, "alpha").await, Organization::new(&server, "beta").await];
    let query = json!({"interval": "2026-11-20/P1D"});
    let as_of = async |organization: &Organization<'_>| {
        let answer = organization.post("/v1/productUsage:query", query.clone()).await;
        answer["asOf"].as_str().unwrap().to_owned()
    };
    let (first, second) = (as_of(&alpha).await, as_of(&alpha).await);
    assert_ne!(first, second, "whether the log went on shows");
    let mut altered = first.clone();
    altered.replace_range(0..1, if first.starts_with('A') { "B" } else { "A" });
    for (organization, moment, status) in [
        (&alpha, &first, StatusCode::OK),
        (&beta, &first, StatusCode::BAD_REQUEST),
        (&alpha, &altered, StatusCode::BAD_REQUEST),
    ] {
        let target = format!("/v1/usageRecords:export?through={moment}");
        let answer = organization.send(Method::GET, &target, None).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{said}");
        assert!(status == StatusCode::OK || said.contains("\"through\""), "{said}");
    }
    // Nor does one go on after a record of the other.
    alpha.sells("sku").await;
    alpha.writes("sku", ONLY_ALPHA, 1).await;
    let target = format!("/v1/usageRecords:export?afterUuid={ONLY_ALPHA}");
    let foreign = beta.send(Method::GET, &target, None).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&foreign.body).contains("after_uuid"));
    server.stop().await;
}

/// No file has any of the texts, or the random part of one.
fn assert_nowhere(directory: &Path, texts: &[String]) {
    let mut files = 0;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            files += 1;
            for text in texts {
                let random = text.split_once('_').unwrap().1.as_bytes();
                let found = bytes.windows(random.len()).any(|window| window == random);
                assert!(!found, "{} tells a secret", path.display());
            }
        }
    }
    assert!(files > 1, "{files}");
}
