//! The audit trail: it tells of every change and of nothing else, and no organization can fill it or empty another's.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        AuditEvent, CreateClientRequest, CreateOrganizationRequest, ListAuditEventsRequest,
        RotateSigningKeyRequest, UpdateClientRequest, access_service_client::AccessServiceClient,
    },
    service::audit::AuditLimits,
    store::memory::MemoryStore,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    http::call,
    server::{Setup, TestServer},
};

const ROTATION: &str = "access.signingKey.rotate";

fn limited(changes_per_minute: u32) -> AuditLimits {
    AuditLimits { changes_per_minute, ..AuditLimits::default() }
}

async fn events(server: &TestServer, organization: &str) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest {
        organization_id: organization.into(),
        page_size: 1000,
        page_token: String::new(),
    };
    server.access().list_audit_events(request).await.unwrap().into_inner().events
}

async fn organization(server: &TestServer, id: &str) {
    let request = CreateOrganizationRequest { organization_id: id.into(), name: String::new() };
    server.access().create_organization(request).await.unwrap();
}

/// An administrator of an organization; its API key.
async fn administrator(server: &TestServer, organization: &str) -> String {
    let request = CreateClientRequest {
        organization_id: organization.into(),
        client_id: "boss".into(),
        permissions: vec!["access:admin".into()],
        ..Default::default()
    };
    server.access().create_client(request).await.unwrap().into_inner().api_key
}

/// Gives the administrator another name, as itself.
async fn rename(server: &TestServer, key: &str, name: &str) -> Result<(), Status> {
    let mut request = Request::new(UpdateClientRequest {
        client_id: "boss".into(),
        name: name.into(),
        permissions: vec!["access:admin".into()],
        ..Default::default()
    });
    request.metadata_mut().insert("api-key", key.parse().unwrap());
    AccessServiceClient::new(server.channel()).update_client(request).await.map(drop)
}

#[tokio::test]
async fn changes_that_cannot_be_put_on_record_are_refused() {
    let server = TestServer::with(Setup { audit: limited(1), ..Setup::default() }).await;
    organization(&server, "evil").await;
    let key = administrator(&server, "evil").await;
    for number in 0..10 {
        rename(&server, &key, &format!("name {number}")).await.unwrap();
    }
    let before = events(&server, "evil").await;
    let refused = rename(&server, &key, "one too many").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "TOO_MANY_CHANGES");
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(30 < delay.as_secs() && delay.as_secs() <= 60, "{delay:?}");
    assert!(refused.message().contains("1 changes a minute"), "{}", refused.message());
    // Nothing was changed, and nothing says so.
    assert_eq!(events(&server, "evil").await, before);
    let client = call(Method::GET, "/v1/access/clients/boss?organizationId=evil");
    assert_eq!(client.send(server.api).await.json()["client"]["name"], "name 9");
    // The operators are not among those who made too many.
    let request = UpdateClientRequest {
        organization_id: "evil".into(),
        client_id: "boss".into(),
        name: "of the operator".into(),
        ..Default::default()
    };
    server.access().update_client(request).await.unwrap();

    let metrics = call(Method::GET, "/metrics").anonymous().send(server.admin).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("meterd_audit_changes_refused_total 1\n"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn change_that_changes_nothing_leaves_no_event() {
    let server = TestServer::with(Setup { audit: limited(1), ..Setup::default() }).await;
    organization(&server, "acme").await;
    let key = administrator(&server, "acme").await;
    rename(&server, &key, "name").await.unwrap();
    let before = events(&server, "acme").await;
    // More often than changes may be made.
    for _ in 0..20 {
        rename(&server, &key, "name").await.unwrap();
    }
    assert_eq!(events(&server, "acme").await, before);
    server.stop().await;
}

#[tokio::test]
async fn change_by_an_operator_is_on_record_with_both() {
    let server = TestServer::start().await;
    organization(&server, "acme").await;
    administrator(&server, "acme").await;
    let of = |events: Vec<AuditEvent>| -> Vec<(String, String)> {
        events.into_iter().map(|event| (event.action, event.detail)).collect()
    };
    let theirs = of(events(&server, "acme").await);
    let ours = of(events(&server, "default").await);
    let line = |action: &str, detail: &str| (action.to_owned(), detail.to_owned());
    assert_eq!(
        theirs,
        [line("access.client.create", "access:admin"), line("access.organization.create", "")]
    );
    assert_eq!(
        ours[..2],
        [
            line("access.client.create", "in the organization \"acme\": access:admin"),
            line("access.organization.create", "in the organization \"acme\""),
        ]
    );
    server.stop().await;
}

async fn rotate(server: &TestServer) -> Result<String, Status> {
    let rotated = server.access().rotate_signing_key(RotateSigningKeyRequest::default()).await?;
    Ok(rotated.into_inner().key_id)
}

#[tokio::test]
async fn refused_rotation_leaves_no_event() {
    let server = TestServer::start().await;
    let mut rotated = Vec::new();
    let refused = loop {
        match rotate(&server).await {
            Ok(key) => rotated.push(key),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    rotate(&server).await.unwrap_err();
    let mut told: Vec<String> = events(&server, "default")
        .await
        .into_iter()
        .filter(|event| event.action == ROTATION)
        .map(|event| event.detail)
        .collect();
    told.reverse();
    let expected: Vec<String> = rotated.iter().map(|key| format!("key {key}")).collect();
    assert_eq!(told, expected);
    server.stop().await;
}

async fn key_in_use(server: &TestServer) -> String {
    let keys = call(Method::GET, "/.well-known/jwks.json").anonymous().send(server.api).await;
    assert_eq!(keys.status, StatusCode::OK);
    keys.json()["keys"][0]["kid"].as_str().unwrap().to_owned()
}

/// Puts the files as they are when the process ends after the event was written and before the keys took effect.
fn interrupt(file: &Path, before: &str, rotated: &str) {
    for (path, text) in [(file.with_extension("pending"), rotated), (file.to_owned(), before)] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn interrupted_rotation_takes_effect_if_it_is_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("signing-keys.json");
    let store = Arc::new(MemoryStore::new());
    let start = || {
        let setup =
            Setup { store: store.clone(), signing_keys: Some(file.clone()), ..Setup::default() };
        TestServer::with(setup)
    };
    let server = start().await;
    let first = key_in_use(&server).await;
    let before = std::fs::read_to_string(&file).unwrap();
    let second = rotate(&server).await.unwrap();
    server.stop().await;
    let rotated = std::fs::read_to_string(&file).unwrap();

    interrupt(&file, &before, &rotated);
    let server = start().await;
    assert_eq!(key_in_use(&server).await, second);
    server.stop().await;
    assert!(!file.with_extension("pending").exists());

    // Another key, of which nothing is on record.
    for unknown in
        [rotated.replace(&second, &first), rotated.replace("\"event\": \"0", "\"event\": \"1")]
    {
        assert_ne!(unknown, rotated);
        interrupt(&file, &before, &unknown);
        let server = start().await;
        assert_eq!(key_in_use(&server).await, first);
        assert!(!file.with_extension("pending").exists());
        let told = events(&server, "default").await;
        assert_eq!(told.iter().filter(|event| event.action == ROTATION).count(), 1);
        server.stop().await;
    }
}
