//! Connection slots: clients that hold as many connections as they can.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    CreateClientRequest, access_service_client::AccessServiceClient,
};

use super::{
    connections,
    frames::{self, END_HEADERS, END_STREAM},
    http2::Http2,
    siege::Siege,
};
use crate::support::http::call;

const LIST: &str = "/meterd.v1.CatalogService/ListProducts";
const SLOTS: usize = 80;

/// A client with these permissions; its API key.
async fn api_key(siege: &Siege, id: &str, permissions: &[&str]) -> String {
    let request = CreateClientRequest {
        client_id: id.into(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let created = AccessServiceClient::new(siege.authed()).create_client(request).await.unwrap();
    created.into_inner().api_key
}

/// A connection with one call that was answered, unless it was closed.
async fn connect_and_call(siege: &Siege, api_key: &str) -> Option<Http2> {
    let connection = Http2::open(siege.api(), &[]).await.ok()?;
    let fields = [("content-type", "application/grpc"), ("api-key", api_key)];
    let mut bytes = frames::request(1, END_HEADERS, "POST", LIST, &fields);
    bytes.extend(frames::frame(frames::DATA, END_STREAM, 1, &frames::grpc_message(false, &[])));
    connection.send(&bytes).await.ok()?;
    connection.ended(1).await;
    Some(connection)
}

/// Holds `count` connections of a client, while an operator and others go on being served on new ones.
async fn hold(siege: &Siege, api_key: &str, count: usize) -> Vec<Option<Http2>> {
    let mut held = Vec::new();
    for number in 0..count {
        held.push(connect_and_call(siege, api_key).await);
        if number % 50 == 0 {
            let answer = call(Method::GET, "/v1/access/clients").send(siege.api()).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_without_permissions_keeps_nobody_out() {
    let slots = SLOTS.to_string();
    let siege = Siege::begin("a client without permissions", &["--connections-max", &slots]).await;
    let key = api_key(&siege, "bare", &[]).await;
    let held = hold(&siege, &key, connections(300, 1000)).await;
    // Only the callers of the siege and the operator count.
    let authenticated = siege.metric("meterd_connections_authenticated");
    assert!(authenticated < 20.0, "{authenticated}");
    assert_eq!(siege.metric("meterd_connections_refused_total"), 0.0);
    drop(held);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_with_permissions_has_its_share() {
    let slots = SLOTS.to_string();
    let siege =
        Siege::begin("a client with many connections", &["--connections-max", &slots]).await;
    let key = api_key(&siege, "viewer", &["catalog:view"]).await;
    let held = hold(&siege, &key, connections(300, 1000)).await;
    let evicted = siege.metric("meterd_connections_evicted_total{reason=\"client_share\"}");
    assert!(evicted >= (held.len() - SLOTS / 4) as f64, "{evicted}");
    assert_eq!(siege.metric("meterd_connections_refused_total"), 0.0);
    let began = Instant::now();
    let open = || held.iter().flatten().filter(|connection| !connection.is_closed()).count();
    while open() > SLOTS / 4 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} stay open", open());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(held);
    siege.end(256).await;
}
