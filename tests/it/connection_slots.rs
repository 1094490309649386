//! When a connection counts as that of an authenticated client, and who gets in when all slots are taken.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use meterd::{
    api::pb::meterd::v1::{
        CreateClientRequest, DeleteClientRequest, ListProductsRequest, StreamProductUsageRequest,
        StreamProductUsageResponse, catalog_service_client::CatalogServiceClient,
        usage_ingest_service_client::UsageIngestServiceClient,
    },
    server::ConnectionLimits,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming, metadata::MetadataValue};

use crate::support::{
    http::call,
    process::http_get,
    server::{Setup, TestServer},
};

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn authenticated(server: &TestServer) -> f64 {
    let metrics = http_get(server.admin, "/metrics");
    let name = "meterd_connections_authenticated ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

async fn comes_to(server: &TestServer, connections: f64) {
    let began = Instant::now();
    while authenticated(server) != connections {
        assert!(began.elapsed() < PATIENCE, "{} are authenticated", authenticated(server));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client of the operator's organization; its API key.
async fn client(server: &TestServer, id: &str, permissions: &[&str]) -> String {
    let request = CreateClientRequest {
        client_id: id.into(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    server.access().create_client(request).await.unwrap().into_inner().api_key
}

fn with_key<T>(api_key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("api-key", MetadataValue::try_from(api_key).unwrap());
    request
}

/// A stream on a connection of its own, which stays open until this is dropped.
struct OpenStream {
    _sender: mpsc::Sender<StreamProductUsageRequest>,
    _answers: Streaming<StreamProductUsageResponse>,
}

async fn open_stream(server: &TestServer, api_key: &str) -> OpenStream {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = UsageIngestServiceClient::new(server.channel());
    let request = with_key(api_key, ReceiverStream::new(receiver));
    let answers = client.stream_product_usage(request).await.unwrap().into_inner();
    OpenStream { _sender: sender, _answers: answers }
}

fn setup(connections: ConnectionLimits) -> Setup {
    Setup { connections, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_call_does_not_authenticate_its_connection() {
    let server = TestServer::start().await;
    let key = client(&server, "bare", &[]).await;
    let before = authenticated(&server);
    let mut catalog = CatalogServiceClient::new(server.channel());
    let request = with_key(&key, ListProductsRequest::default());
    let refused = catalog.list_products(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(authenticated(&server) <= before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connection_counts_as_unauthenticated_until_it_calls() {
    let limits = ConnectionLimits {
        idle_timeout: Duration::from_millis(100),
        ..ConnectionLimits::with_all_descriptors()
    };
    let server = TestServer::with(setup(limits)).await;
    let key = client(&server, "viewer", &["catalog:view"]).await;
    let mut catalog = CatalogServiceClient::new(server.channel());
    for _ in 0..2 {
        comes_to(&server, 0.0).await;
        catalog.list_products(with_key(&key, ListProductsRequest::default())).await.unwrap();
        comes_to(&server, 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_of_deleted_client_counts_as_unauthenticated() {
    let limits = ConnectionLimits {
        idle_timeout: Duration::from_millis(100),
        ..ConnectionLimits::with_all_descriptors()
    };
    let server = TestServer::with(setup(limits)).await;
    let key = client(&server, "writer", &["usage:product:write"]).await;
    let _stream = open_stream(&server, &key).await;
    // That of the operator is idle by then.
    comes_to(&server, 1.0).await;
    let request = DeleteClientRequest { client_id: "writer".into(), ..Default::default() };
    server.access().delete_client(request).await.unwrap();
    comes_to(&server, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_gets_in_when_all_slots_are_busy() {
    const SLOTS: usize = 3;
    let limits = ConnectionLimits {
        connections_max: SLOTS,
        client_connections_max: Some(SLOTS),
        organization_connections_max: Some(SLOTS),
        operator_connections: 2,
        idle_timeout: Duration::from_millis(100),
        opening_timeout: Duration::from_millis(500),
        ..ConnectionLimits::with_all_descriptors()
    };
    let server = TestServer::with(setup(limits)).await;
    let key = client(&server, "writer", &["usage:product:write", "catalog:view"]).await;
    comes_to(&server, 0.0).await;
    let mut busy = Vec::new();
    for _ in 0..SLOTS {
        busy.push(open_stream(&server, &key).await);
    }
    comes_to(&server, SLOTS as f64).await;
    // On a connection each, one after another.
    for _ in 0..10 {
        let answer = call(Method::GET, "/v1/access/clients").send(server.api).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    // Nobody else keeps such a slot.
    let mut newcomer = tokio::net::TcpStream::connect(server.api).await.unwrap();
    let request =
        format!("GET /v1/catalog/products HTTP/1.1\r\nHost: meterd\r\nApi-Key: {key}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut newcomer, request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let closed = tokio::io::AsyncReadExt::read_to_string(&mut newcomer, &mut answer);
    let _ = tokio::time::timeout(PATIENCE, closed).await.expect("it is closed");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(busy);
}
