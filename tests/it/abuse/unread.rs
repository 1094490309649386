//! Peers that ask and do not take the answers.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    CreateClientRequest, access_service_client::AccessServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{
    connections,
    frames::{self, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE},
    http2::Http2,
    siege::Siege,
    size,
};
use crate::support::http::call;

pub const LARGE_DOCUMENT: &str = "/docs/swagger-ui-bundle.js";
/// Fewer than a connection may have.
const STREAMS: u32 = 250;
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens streams whose answers have no window, and waits until all are answered or refused.
pub async fn ask_and_take_nothing(siege: &Siege, fields: &[(&str, &str)], path: &str) -> Http2 {
    let connection = Http2::open(siege.api(), &[(INITIAL_WINDOW_SIZE, 0)]).await.unwrap();
    let asked: Vec<u8> = (0..STREAMS)
        .flat_map(|number| {
            frames::request(number * 2 + 1, END_HEADERS | END_STREAM, "GET", path, fields)
        })
        .collect();
    connection.send(&asked).await.unwrap();
    let began = Instant::now();
    while connection.seen.answered() < STREAMS as usize {
        assert!(began.elapsed() < PATIENCE, "not all are answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection
}

/// A stranger who wants to sign in is heard.
async fn strangers_are_heard(siege: &Siege) {
    let answer = call(Method::POST, "/oauth/token")
        .anonymous()
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials&client_id=a&client_secret=b")
        .send(siege.api())
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
}

/// So many connections were closed because nobody took what was sent on them.
async fn have_stalled(siege: &Siege, connections: usize) {
    let began = Instant::now();
    while siege.metric("meterd_connections_stalled_total") < connections as f64 {
        assert!(began.elapsed() < PATIENCE, "not all are closed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_take_no_answers_hold_nothing_up_and_are_left() {
    let siege = Siege::begin("unread answers over HTTP/2", &["--answer-timeout", "3s"]).await;
    let mut connections = Vec::new();
    // What is answered must not grow with what was asked.
    let nothing = "/nothing/here".repeat(800);
    // More than there are places, for strangers and for others. What compresses an answer must not wait with it.
    for encoding in ["identity", "gzip", "zstd"] {
        let fields = [("accept-encoding", encoding)];
        for _ in 0..size(3, 15) {
            connections.push(ask_and_take_nothing(&siege, &fields, LARGE_DOCUMENT).await);
            connections.push(ask_and_take_nothing(&siege, &fields, &nothing).await);
        }
    }
    strangers_are_heard(&siege).await;
    for connection in &connections {
        assert!(connection.closes_within(PATIENCE).await, "the connection stays");
        assert_eq!(connection.seen.data.load(Ordering::Relaxed), 0);
    }
    have_stalled(&siege, connections.len()).await;
    drop(connections);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_http_1() {
    let siege = Siege::begin("unread answers over HTTP/1.1", &["--answer-timeout", "3s"]).await;
    let mut streams = Vec::new();
    let request = format!("GET {LARGE_DOCUMENT} HTTP/1.1\r\nHost: meterd\r\n\r\n");
    for _ in 0..connections(600, 4000) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(siege.api()).await.unwrap();
        // More than the buffers of both systems take.
        stream.write_all(request.repeat(8).as_bytes()).await.unwrap();
        streams.push(stream);
    }
    strangers_are_heard(&siege).await;
    have_stalled(&siege, streams.len()).await;
    drop(streams);
    siege.end(256).await;
}

/// Credentials of a client of its own.
async fn another_client(siege: &Siege) -> String {
    let request = CreateClientRequest {
        client_id: "greedy".into(),
        permissions: vec!["catalog:view".into(), "usage:product:write".into()],
        ..Default::default()
    };
    let created = AccessServiceClient::new(siege.authed()).create_client(request).await.unwrap();
    created.into_inner().api_key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_who_takes_no_answers_leaves_places_to_others() {
    let siege = Siege::begin("unread answers to a client", &["--answer-timeout", "3s"]).await;
    let key = another_client(&siege).await;
    let fields = [("api-key", key.as_str())];
    let mut connections = Vec::new();
    for _ in 0..size(5, 20) {
        connections.push(ask_and_take_nothing(&siege, &fields, "/v1/catalog/products").await);
    }
    // It has what one client may have, and others are served, which the siege sees to.
    assert!(siege.metric("meterd_calls_in_flight") >= 768.0);
    for connection in &connections {
        assert!(connection.closes_within(PATIENCE).await, "the connection stays");
    }
    drop(connections);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_answers_slowly_but_takes_them_is_served() {
    let siege = Siege::begin("slow readers", &["--answer-timeout", "2s"]).await;
    let mut stream = TcpStream::connect(siege.api()).await.unwrap();
    let request =
        format!("GET {LARGE_DOCUMENT} HTTP/1.1\r\nHost: meterd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut taken = 0;
    let mut piece = vec![0; 256 << 10];
    loop {
        let bytes = stream.read(&mut piece).await.unwrap();
        if bytes == 0 {
            break;
        }
        taken += bytes;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(taken > 1 << 20, "{taken} bytes of a large document");
    assert_eq!(siege.metric("meterd_connections_stalled_total"), 0.0);
    siege.end(256).await;
}
