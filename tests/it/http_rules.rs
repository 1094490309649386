//! Rules of HTTP that hold on every path: one server named, answers that nobody keeps, zstd windows that fit.

use bytes::Bytes;
use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::ListProductsRequest;
use tokio::net::TcpStream;

use crate::support::{
    http::{call, say},
    server::{TOKEN, TestServer},
};

const PRODUCTS: &str = "/v1/catalog/products";

fn get(target: &str, hosts: &[&str]) -> Vec<u8> {
    let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn request_that_names_two_servers_is_refused() {
    let server = TestServer::start().await;
    let absolute = format!("http://meterd:1234{PRODUCTS}");
    for (target, hosts, status) in [
        (PRODUCTS, &["meterd"][..], "200"),
        (PRODUCTS, &["meterd", "meterd"], "400"),
        (PRODUCTS, &["meterd", "evil.example"], "400"),
        (&absolute, &["meterd:1234"], "200"),
        (&absolute, &["meterd"], "400"),
        ("/docs", &["meterd", "evil.example"], "400"),
        ("/nothing/here", &["meterd", "evil.example"], "400"),
    ] {
        let answer = say(server.api, &get(target, hosts)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target} {hosts:?}: {answer}");
        assert_eq!(answer.contains("AMBIGUOUS_HOST"), status == "400", "{answer}");
    }
}

#[tokio::test]
async fn answers_are_not_stored_unless_they_are_documents() {
    let server = TestServer::start().await;
    let form = "application/x-www-form-urlencoded";
    for (method, path, content_type, cache) in [
        (Method::GET, PRODUCTS, "", "no-store"),
        (Method::GET, "/v1/catalog/products/none", "", "no-store"),
        (Method::GET, "/nothing/here", "", "no-store"),
        (Method::POST, "/oauth/token", form, "no-store"),
        (
            Method::POST,
            "/meterd.v1.CatalogService/ListProducts",
            "application/grpc-web",
            "no-store",
        ),
        (Method::GET, "/docs", "", "no-cache"),
        (Method::GET, "/docs/docs.js", "", "public, max-age=3600"),
    ] {
        let mut request = call(method, path);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let answer = request.send(server.api).await;
        assert_eq!(answer.headers["cache-control"], cache, "{path}: {answer:?}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}: {answer:?}");
    }
}

/// A frame of zstd whose window is 2 to the power of 10 and this.
fn zstd(exponent: u8, content: &[u8]) -> Vec<u8> {
    let block = (u32::try_from(content.len()).unwrap() << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3], &block[..3], content].concat()
}

/// A window of 8 MiB, and one of 16.
const WINDOWS: [(u8, bool); 2] = [(13, true), (14, false)];

#[tokio::test]
async fn zstd_body_with_large_window_is_refused() {
    let server = TestServer::start().await;
    for (exponent, is_right) in WINDOWS {
        let answer = call(Method::POST, "/v1/catalog:apply")
            .header("content-type", "application/json")
            .header("content-encoding", "zstd")
            .body(zstd(exponent, b"{}"))
            .send(server.api)
            .await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(said.contains("ZSTD_WINDOW_TOO_LARGE"), !is_right, "{said}");
        assert_eq!(answer.status == StatusCode::BAD_REQUEST, !is_right, "{said}");
        assert_eq!(said.contains("16777216"), !is_right, "{said}");
    }
}

#[tokio::test]
async fn zstd_message_with_large_window_is_refused() {
    use prost::Message as _;

    let server = TestServer::start().await;
    let stream = TcpStream::connect(server.api).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let paths = [
        "/meterd.v1.CatalogService/ListProducts",
        "/meterd.v1.UsageIngestService/StreamProductUsage",
    ];
    for path in paths {
        for (exponent, is_right) in WINDOWS {
            let message = zstd(exponent, &ListProductsRequest::default().encode_to_vec());
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let framed = Bytes::from([&[1][..], &length, &message].concat());
            let request = http::Request::post(format!("http://{}{path}", server.api))
                .header("content-type", "application/grpc")
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("grpc-encoding", "zstd")
                .body(())
                .unwrap();
            let mut client = client.clone().ready().await.unwrap();
            let (answer, mut body) = client.send_request(request, false).unwrap();
            body.send_data(framed, true).unwrap();
            let (parts, mut body) = answer.await.unwrap().into_parts();
            while let Some(data) = body.data().await {
                let _ = data.unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap_or(parts.headers);
            let said = trailers.get("grpc-message").map(|text| text.to_str().unwrap().to_owned());
            let is_refused = said.is_some_and(|text| text.contains("16777216"));
            assert_eq!(is_refused, !is_right, "{path}: {trailers:?}");
        }
    }
    connection.abort();
}
