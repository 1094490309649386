//! What an organization may keep, and that a large catalog costs what it should.

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        ApplyCatalogRequest, CreateClientRequest, CreateOrganizationRequest, Product, Sku,
        catalog_service_client::CatalogServiceClient,
    },
    domain::catalog::CatalogLimits,
    service::access::AccessLimits,
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    http::call,
    process::{MeterdProcess, serve_command},
    server::{Setup, TestServer},
};

/// Which limits a refusal names.
fn limits_in(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "LIMIT_EXCEEDED");
    assert!(details.retry_info().is_none(), "waiting does not help");
    let violations = &details.quota_failure().unwrap().violations;
    violations.iter().map(|violation| violation.subject.clone()).collect()
}

async fn metrics(server: &TestServer) -> String {
    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    String::from_utf8(metrics.body.to_vec()).unwrap()
}

#[tokio::test]
async fn clients_and_organizations_over_the_limit_are_refused() {
    let access = AccessLimits { organizations_max: 2, clients_max: 2 };
    let server = TestServer::with(Setup { access, ..Setup::default() }).await;
    let mut client = server.access();
    for id in ["acme", "other"] {
        let request = CreateOrganizationRequest { organization_id: id.into(), name: String::new() };
        client.create_organization(request).await.unwrap();
    }
    let third = CreateOrganizationRequest { organization_id: "third".into(), name: String::new() };
    let refused = client.create_organization(third).await.unwrap_err();
    assert_eq!(limits_in(&refused), ["organizations-max"]);
    let create = |organization: &str, id: &str| CreateClientRequest {
        organization_id: organization.into(),
        client_id: id.into(),
        ..Default::default()
    };
    for id in ["a", "b"] {
        client.create_client(create("acme", id)).await.unwrap();
    }
    let refused = client.create_client(create("acme", "c")).await.unwrap_err();
    assert_eq!(limits_in(&refused), ["organization-clients-max"]);
    assert_eq!(
        refused.message(),
        "there would be 3 clients of the organization, at most 2 are allowed (organization-clients-max); \
         delete some, or have the operator of the server raise the limit"
    );
    let body = json!({"organizationId": "acme", "clientId": "c"});
    let refused = call(Method::POST, "/v1/access/clients").json(body).send(server.api).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.reason(), "LIMIT_EXCEEDED");
    client.create_client(create("other", "c")).await.unwrap();
    let metrics = metrics(&server).await;
    for line in [
        "meterd_organizations 2",
        "meterd_clients 3",
        "meterd_limit_refusals_total{limit=\"organization-clients-max\"} 2",
        "meterd_limit_refusals_total{limit=\"organizations-max\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    server.stop().await;
}

fn product(id: &str, skus: usize) -> Product {
    let sku = |number| Sku { id: format!("sku-{number}"), ..Default::default() };
    Product { id: id.into(), skus: (0..skus).map(sku).collect(), ..Default::default() }
}

#[tokio::test]
async fn catalog_over_its_limits_is_refused_whole() {
    // The sample catalog has three products, and fewer SKUs and instances than these.
    let catalogs = CatalogLimits { products_max: 4, skus_max: 20, instances_max: 20 };
    let server = TestServer::with(Setup { catalogs, ..Setup::default() }).await;
    let mut client = server.catalog();
    for validate_only in [true, false] {
        let request = ApplyCatalogRequest {
            products: vec![product("one", 1), product("two", 30)],
            validate_only,
            ..Default::default()
        };
        let refused = client.apply_catalog(request).await.unwrap_err();
        assert_eq!(limits_in(&refused), ["organization-products-max", "organization-skus-max"]);
    }
    let request = ApplyCatalogRequest { products: vec![product("one", 1)], ..Default::default() };
    client.apply_catalog(request).await.unwrap();
    let metrics = metrics(&server).await;
    for line in [
        "meterd_catalog_products 4",
        "meterd_limit_refusals_total{limit=\"organization-skus-max\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    server.stop().await;
}

/// Memory of a process in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Large batches once left some 3.6 KB for each entry in memory until the process ended.
#[tokio::test]
async fn large_catalog_changes_leave_nothing_in_memory() {
    const PRODUCTS: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let server = MeterdProcess::start(serve_command(&[], &directory.path().join("data")));
    let mut client = CatalogServiceClient::new(server.authed());
    let before = resident(server.id());
    for change in 0..PRODUCTS / 10 {
        let products = (0..10).map(|number| product(&format!("p-{change}-{number}"), 990));
        let request = ApplyCatalogRequest { products: products.collect(), ..Default::default() };
        client.apply_catalog(request).await.unwrap();
    }
    let grown = resident(server.id()).saturating_sub(before);
    assert!(grown < 200 << 10, "{} SKUs took {grown} KiB", PRODUCTS * 990);
    server.kill();
}
