//! What strangers send. Whatever it is, others go on being served.

use std::time::Duration;

use meterd::{api::pb::meterd::v1::ListProductsRequest, server::ConnectionLimits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::server::{Setup, TestServer};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn is_served(server: &TestServer) {
    let answer = server.catalog().list_products(ListProductsRequest::default()).await.unwrap();
    assert_eq!(answer.get_ref().products.len(), 3);
}

/// Sends bytes and reads until the server closes; what it said.
async fn say(server: &TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.api).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

fn impatient() -> Setup {
    let connections = ConnectionLimits {
        opening_timeout: Duration::from_millis(300),
        keep_alive_interval: Duration::from_millis(300),
        keep_alive_timeout: Duration::from_millis(300),
        ..ConnectionLimits::with_all_descriptors()
    };
    Setup { connections, ..Setup::default() }
}

#[tokio::test]
async fn garbage_is_answered_or_cut_off() {
    let server = TestServer::with(impatient()).await;
    let noise: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    say(&server, &noise).await;
    say(&server, &[0; 4096]).await;
    say(&server, b"GET").await;
    say(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert!(say(&server, b"BREW / HTCPCP/1.0\r\n\r\n").await.starts_with(b"HTTP/1.1 400"));
    is_served(&server).await;
}

#[tokio::test]
async fn half_an_opening_and_half_a_frame_are_given_up() {
    let server = TestServer::with(impatient()).await;
    say(&server, b"").await;
    say(&server, &PREFACE[..20]).await;
    // A whole preface, settings, and then the first half of a frame's header.
    let mut opening = PREFACE.to_vec();
    opening.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    opening.extend_from_slice(&[0, 0, 100, 1]);
    say(&server, &opening).await;
    // A frame that announces more than may ever come.
    let mut huge = PREFACE.to_vec();
    huge.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
    say(&server, &huge).await;
    is_served(&server).await;
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let server = TestServer::start().await;
    let mut request = b"GET / HTTP/1.1\r\nHost: meterd\r\nX-Large: ".to_vec();
    request.resize(request.len() + (100 << 10), b'x');
    request.extend_from_slice(b"\r\n\r\n");
    let answer = say(&server, &request).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 431") || answer.is_empty(),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    let mut request = tonic::Request::new(ListProductsRequest::default());
    request.metadata_mut().insert("x-large", "x".repeat(100 << 10).parse().unwrap());
    assert!(server.catalog().list_products(request).await.is_err());
    is_served(&server).await;
}

/// Whoever may leave answers lying must not say how large they are.
#[tokio::test]
async fn answers_repeat_little_of_what_they_are_about() {
    let server = TestServer::start().await;
    let long = "x".repeat(30 << 10);
    let requests = [
        format!("GET /{long} HTTP/1.1\r\n"),
        format!("POST /no.such.Service/{long} HTTP/1.1\r\nContent-Type: application/grpc\r\n"),
        format!("POST /iam/v1/tokens HTTP/1.1\r\nContent-Type: text/{long}\r\n"),
        format!("POST /iam/v1/tokens HTTP/1.1\r\nContent-Encoding: {long}\r\n"),
        format!("POST /iam/v1/tokens?{long}=1 HTTP/1.1\r\n"),
        format!("POST /grpc.health.v1.Health/Check HTTP/1.1\r\nContent-Type: text/{long}\r\n"),
        format!("GET /endpoints/{long} HTTP/1.1\r\n"),
        format!("GET /nothing HTTP/1.1\r\nX-Request-Id: {long}\r\n"),
        format!("GET /v1/catalog/products HTTP/1.1\r\nAuthorization: Bearer {long}\r\n"),
    ];
    for request in requests {
        let framed = format!("{request}Host: meterd\r\nConnection: close\r\n\r\n");
        let answer = say(&server, framed.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", &request[..80]);
        let bytes = answer.len();
        assert!(bytes < 8 << 10, "{bytes} bytes are the answer to {}", &request[..80]);
    }
    is_served(&server).await;
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let server = TestServer::start().await;
    // Both ends are in this process, so each connection takes two descriptors. `abuse::crowds` has more of them.
    let descriptors = rlimit::Resource::NOFILE.get_soft().unwrap();
    let count = usize::try_from(descriptors / 2).unwrap().saturating_sub(500).clamp(50, 1000);
    eprintln!("{count} idle connections");
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(TcpStream::connect(server.api).await.unwrap());
    }
    for _ in 0..20 {
        is_served(&server).await;
    }
}
