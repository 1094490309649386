//! Ids and permissions of usage queries: what belongs elsewhere is not there.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    http::{Answer, call},
    queries::{error_fields, id_of, post, record},
    server::TestServer,
    usage::Calls,
};

const ALL: [&str; 4] = [
    "oauth:client:view",
    "usage:client:view",
    "usage:organization:view",
    "usage:simpleSearch:view",
];

/// The operations that start a query, where their clients have this id.
fn operations(client: &str) -> [(&'static str, Method, String); 6] {
    let post =
        |operation, target: &str| (operation, Method::POST, target.replace("{client}", client));
    let summary = format!("/api/v2/oauth/clients/{client}/usage/summary");
    [
        post("StartOrganizationQuery", "/api/v2/usage/query"),
        post("StartClientQuery", "/api/v2/oauth/clients/{client}/usage/query"),
        ("StartClientSummary", Method::GET, summary),
        post("StartSimpleSearch", "/api/v2/usage/simplesearch"),
        post("CreateOrganizationAggregatesJob", "/api/v2/usage/aggregates/query/jobs"),
        post("CreateClientAggregatesJob", "/api/v2/usage/client/{client}/aggregates/query/jobs"),
    ]
}

/// Where results are read, by an id.
fn results(client: &str, id: &str) -> [String; 5] {
    [
        format!("/api/v2/usage/query/{id}/results"),
        format!("/api/v2/oauth/clients/{client}/usage/query/results/{id}"),
        format!("/api/v2/usage/simplesearch/{id}/results"),
        format!("/api/v2/usage/aggregates/query/jobs/{id}"),
        format!("/api/v2/usage/client/{client}/aggregates/query/jobs/{id}"),
    ]
}

struct Agent<'a> {
    server: &'a TestServer,
    key: String,
}

impl<'a> Agent<'a> {
    async fn new(
        server: &'a TestServer,
        organization: &str,
        id: &str,
        permissions: &[&str],
    ) -> Self {
        let client =
            json!({"organizationId": organization, "clientId": id, "permissions": permissions});
        let created = post(server.api, "/v1/access/clients", &client).await;
        assert_eq!(created.status, StatusCode::OK, "{}", created.json());
        Self { server, key: created.json()["apiKey"].as_str().unwrap().to_owned() }
    }

    async fn send(&self, method: Method, target: &str, body: Option<Value>) -> Answer {
        let mut call = call(method, target).anonymous().header("api-key", &self.key);
        if let Some(body) = body {
            call = call.json(body);
        }
        call.send(self.server.api).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.send(Method::GET, target, None).await
    }

    async fn start(&self, method: &Method, target: &str) -> Answer {
        let body = (method == Method::POST).then(|| json!({"interval": "2026-11-20/P1D"}));
        self.send(method.clone(), target, body).await
    }

    async fn cancel(&self, id: &str) -> Answer {
        self.send(Method::POST, &format!("/v1/usageJobs/{id}:cancel"), Some(json!({}))).await
    }

    async fn delete(&self, id: &str) -> Answer {
        self.send(Method::DELETE, &format!("/v1/usageJobs/{id}"), None).await
    }
}

/// A server where `default` and `elsewhere` both had calls of a client `shared`, and each of one of its own.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    let elsewhere = json!({"organizationId": "elsewhere"});
    post(server.api, "/v1/access/organizations", &elsewhere).await;
    let calls = |client| ("2026-11-20T11:00:00Z", Calls { client, ..Calls::default() });
    record(&*server.store, "default", &[calls("shared"), calls("ours")]);
    record(&*server.store, "elsewhere", &[calls("shared"), calls("theirs")]);
    server
}

#[tokio::test]
async fn an_id_is_found_by_its_operation_its_client_and_its_organization_alone() {
    let server = server().await;
    let ours = Agent::new(&server, "default", "our-agent", &ALL).await;
    let theirs = Agent::new(&server, "elsewhere", "their-agent", &ALL).await;
    for (operation, method, target) in operations("shared") {
        let started = ours.start(&method, &target).await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{target}: {}", started.json());
        let uri = started.json()["resultsUri"].as_str().unwrap().to_owned();
        let id = id_of(&uri);
        assert_eq!(ours.get(&uri).await.status, StatusCode::OK, "{operation}");
        let told = ours.get(&format!("/v1/usageJobs/{id}")).await.json();
        assert_eq!((&told["operation"], &told["id"]), (&json!(operation), &json!(id)));
        // Every other place of our own, and the same with another client of ours.
        for other in results("shared", id).into_iter().chain(results("ours", id)) {
            if other != uri {
                let answer = ours.get(&other).await;
                error_fields(&answer, StatusCode::NOT_FOUND, "not.found");
            }
        }
        // Theirs has all permissions and clients of the same names.
        for other in results("shared", id) {
            error_fields(&theirs.get(&other).await, StatusCode::NOT_FOUND, "not.found");
        }
        let there = theirs.get(&format!("/v1/usageJobs/{id}")).await;
        assert_eq!(there.status, StatusCode::NOT_FOUND);
        assert_eq!(theirs.cancel(id).await.status, StatusCode::NOT_FOUND);
        assert_eq!(theirs.delete(id).await.status, StatusCode::NOT_FOUND);
        // What is elsewhere is not told apart from what is nowhere.
        let nowhere = theirs.get(&uri.replace(id, "00000000-0000-4000-8000-000000000000")).await;
        let there = theirs.get(&uri).await;
        let message = |answer: &Answer| answer.json()["message"].as_str().unwrap().to_owned();
        let nothing = message(&nowhere).replace("00000000-0000-4000-8000-000000000000", id);
        assert_eq!(message(&there), nothing);
    }
    // A client that is not there, or only elsewhere.
    for client in ["theirs", "their-agent", "nobody", "%20", "a%00b"] {
        for (operation, method, target) in operations(client) {
            if target.contains(client) {
                let answer = ours.start(&method, &target).await;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{operation} {client}");
                error_fields(&answer, StatusCode::NOT_FOUND, "not.found");
            }
        }
    }
    // One that is registered and never called is there, and one that called and is not registered.
    for client in ["our-agent", "ours"] {
        for (operation, method, target) in operations(client) {
            let answer = ours.start(&method, &target).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{operation} {client}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_query_takes_one_of_the_permissions_of_its_operation() {
    let server = server().await;
    let everything = Agent::new(&server, "default", "everything", &ALL).await;
    let nothing = Agent::new(&server, "default", "nothing", &["catalog:view"]).await;
    let older = |name: &'static str| vec!["oauth:client:view", name];
    let needed = [
        older("usage:organization:view"),
        older("usage:client:view"),
        older("usage:client:view"),
        older("usage:simpleSearch:view"),
        vec!["usage:organization:view"],
        vec!["usage:client:view"],
    ];
    let mut started = Vec::new();
    for (operation, method, target) in operations("shared") {
        let answer = everything.start(&method, &target).await;
        let uri = answer.json()["resultsUri"].as_str().unwrap().to_owned();
        started.push((operation, method, target, uri));
    }
    for permission in ALL {
        let agent =
            Agent::new(&server, "default", &permission.replace(':', "-"), &[permission]).await;
        for ((operation, method, target, uri), needed) in started.iter().zip(&needed) {
            let about = format!("{operation} with {permission}");
            let may = needed.contains(&permission);
            let (start, read) = (agent.start(method, target).await, agent.get(uri).await);
            let told = agent.get(&format!("/v1/usageJobs/{}", id_of(uri))).await.status;
            let cancelled = agent.cancel(id_of(uri)).await.status;
            // Of a query of its own, since the others look at this one, too.
            let deleted = match start.json()["resultsUri"].as_str() {
                Some(own) if may => agent.delete(id_of(own)).await.status,
                _ => agent.delete(id_of(uri)).await.status,
            };
            if may {
                let statuses = (start.status, read.status, told, cancelled, deleted);
                let ok = StatusCode::OK;
                assert_eq!(statuses, (StatusCode::ACCEPTED, ok, ok, ok, ok), "{about}");
            } else {
                for refused in [&start, &read] {
                    error_fields(refused, StatusCode::FORBIDDEN, "missing.any.permissions");
                    let message = refused.json()["message"].to_string();
                    assert!(message.contains(needed[needed.len() - 1]), "{about}: {message}");
                }
                let forbidden = StatusCode::FORBIDDEN;
                assert_eq!(
                    (told, cancelled, deleted),
                    (forbidden, forbidden, forbidden),
                    "{about}"
                );
            }
        }
    }
    for (_, method, target, uri) in &started {
        for refused in [nothing.start(method, target).await, nothing.get(uri).await] {
            error_fields(&refused, StatusCode::FORBIDDEN, "missing.any.permissions");
        }
        // Even of what is not there.
        let nowhere = nothing.get("/v1/usageJobs/nowhere").await;
        assert_eq!(nowhere.status, StatusCode::FORBIDDEN);
        assert_eq!(nothing.cancel(id_of(uri)).await.status, StatusCode::FORBIDDEN);
        assert_eq!(nothing.delete(id_of(uri)).await.status, StatusCode::FORBIDDEN);
    }
    server.stop().await;
}
