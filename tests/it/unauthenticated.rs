//! What callers without valid credentials may send, and what their failures cost them.

use std::time::Duration;

use http::{Method, StatusCode};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    http::{call, say},
    process::{MeterdProcess, http_get, serve_command},
    server::TestServer,
};

const PATIENCE: Duration = Duration::from_secs(30);
const PRODUCTS: &str = "/v1/catalog/products";

#[tokio::test]
async fn headers_over_8_kib_need_credentials() {
    let server = TestServer::start().await;
    let large = "p".repeat(9000);
    for (method, path) in [(Method::GET, "/docs"), (Method::POST, "/oauth/token")] {
        let request = call(method.clone(), path).anonymous().header("x-pad", &large);
        let answer = request.send(server.api).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{answer:?}");
        assert_eq!(answer.reason(), "HEADERS_TOO_LARGE");
        let small = call(method, path).anonymous().header("x-pad", &"p".repeat(7000));
        assert_ne!(small.send(server.api).await.status, answer.status);
    }
    let mut health = HealthClient::new(server.channel());
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("x-pad", large.parse().unwrap());
    let refused = health.check(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("8192"), "{refused}");
    // With credentials, the headers may have what they may have in all.
    let answer =
        call(Method::GET, PRODUCTS).header("x-pad", &"p".repeat(40_000)).send(server.api).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn health_check_without_its_body_is_answered() {
    let server = TestServer::start().await;
    let (mut client, connection) = {
        let stream = tokio::net::TcpStream::connect(server.api).await.unwrap();
        h2::client::handshake(stream).await.unwrap()
    };
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", server.api))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (answer, _unfinished) = client.send_request(request, false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
    assert!(answer.headers()["grpc-message"].to_str().unwrap().contains("0.25%20s"), "{answer:?}");
    connection.abort();
}

#[tokio::test]
async fn sign_in_without_its_body_is_refused() {
    let server = TestServer::start().await;
    let head = "POST /oauth/token HTTP/1.1\r\nHost: meterd\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n";
    let answer = say(server.api, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("the body took longer than 2 s"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_credentials_are_counted_and_logged() {
    const ROUNDS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let server = MeterdProcess::start(serve_command(&[], &directory.path().join("data")));
    for number in 0..ROUNDS {
        let wrong = [
            ("authorization", format!("Bearer a-guess-of-the-token-{number}")),
            ("api-key", format!("a-guess-{number}")),
        ];
        for (name, value) in wrong {
            let guess = call(Method::GET, PRODUCTS).anonymous().header(name, &value);
            let answer = guess.send(server.api).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        }
        let right = call(Method::GET, PRODUCTS).send(server.api).await;
        assert_eq!(right.status, StatusCode::OK, "{right:?}");
        // Nothing was guessed.
        let none = call(Method::GET, PRODUCTS).anonymous().send(server.api).await;
        assert_eq!(none.status, StatusCode::UNAUTHORIZED, "{none:?}");
    }
    let metrics = http_get(server.admin, "/metrics");
    let counted = format!("meterd_failed_credentials_total {}\n", ROUNDS * 2);
    assert!(metrics.contains(&counted), "{metrics}");
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("credentials that are not valid"));
    let lines: Vec<_> = lines.collect();
    // One for each doubling.
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines.iter().all(|line| line.contains("127.0.0.1")), "{log}");
    assert!(!log.contains("guess"), "{log}");
}
