//! Small things that become large: header lists, compressed bodies, nested and empty values.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{
    crowds::connect_and_say,
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    http2::Http2,
    siege::Siege,
    size,
};
use crate::support::{http::call, server::TOKEN};

const PATIENCE: Duration = Duration::from_secs(40);
const WRITE: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";
const REST_WRITE: &str = "/marketplace/metering/v1/imageProductUsage/write";
const INVALID_ARGUMENT: &str = "3";
const RESOURCE_EXHAUSTED: &str = "8";
const INTERNAL: &str = "13";
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// So many MiB of zeros.
fn gzip(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..mebibytes {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

/// The same as a frame of zstd (RFC 8878) of which each block is one byte again and again, with a window of 8 MiB.
fn zstd(mebibytes: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3];
    let blocks = (mebibytes << 20) / BLOCK;
    for number in 1..=blocks {
        let head = (BLOCK << 3) | 0b10 | usize::from(number == blocks);
        frame.extend(&(head as u32).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// Calls with one message each, all of which must be refused with this code.
async fn are_refused(siege: &Siege, encoding: &str, message: &[u8], times: usize, code: &str) {
    let stream = TcpStream::connect(siege.api()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let framed = Bytes::from(frames::grpc_message(encoding != "identity", message));
    for _ in 0..times {
        let request = http::Request::post(format!("http://{}{WRITE}", siege.api()))
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("grpc-encoding", encoding)
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(framed.clone(), true).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        assert_eq!(answer.headers()["grpc-status"], code, "{answer:?}");
    }
    connection.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_bodies_are_limited_by_what_they_become() {
    let siege = Siege::begin("compression bombs", &[]).await;
    let mebibytes = size(64, 1024);
    let times = size(8, 50);
    for (encoding, compressed) in [("gzip", gzip(mebibytes)), ("zstd", zstd(mebibytes))] {
        eprintln!("abuse: {} bytes of {encoding} are {mebibytes} MiB", compressed.len());
        assert!(compressed.len() < MESSAGE_BYTES_MAX, "small enough to be read");
        let calls =
            (0..4).map(|_| are_refused(&siege, encoding, &compressed, times, RESOURCE_EXHAUSTED));
        join_all(calls).await;
        let calls = (0..times).map(|_| {
            call(Method::POST, REST_WRITE)
                .header("content-type", "application/json")
                .header("content-encoding", encoding)
                .body(compressed.clone())
                .send(siege.api())
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
        }
    }
    siege.end(384).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_values_are_refused() {
    let siege = Siege::begin("deep nesting", &[]).await;
    let depth = size(100_000, 500_000);
    for (open, close) in [("[", "]"), ("{\"usage_records\":", "}"), ("{\"a\":[", "]}")] {
        let text = format!("{}{}", open.repeat(depth), close.repeat(depth));
        for text in [text, open.repeat(depth)] {
            let text = if text.len() > MESSAGE_BYTES_MAX {
                text[..MESSAGE_BYTES_MAX].into()
            } else {
                text
            };
            let answer = call(Method::POST, REST_WRITE)
                .header("content-type", "application/json")
                .body(text)
                .send(siege.api())
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        }
    }
    // A group within a group, a hundred thousand times, where no field is known.
    let groups = [0x7b; 100_000];
    are_refused(&siege, "identity", &groups, 5, INTERNAL).await;
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_empty_values_are_not_kept() {
    let siege = Siege::begin("messages of empty values", &["--request-timeout", "5s"]).await;
    // Two bytes on the wire are a whole record in memory.
    let empty_records: Vec<u8> = [0x1a, 0].repeat(1 << 20);
    let framed = frames::grpc_message(false, &empty_records);
    are_refused(&siege, "identity", &empty_records, 3, INVALID_ARGUMENT).await;
    // The same without an end: nothing is made of it while it waits.
    let authorization = format!("Bearer {TOKEN}");
    let fields = [("content-type", "application/grpc"), ("authorization", &authorization)];
    let mut waiting = Vec::new();
    for _ in 0..size(20, 60) {
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        connection.send(&frames::request(1, END_HEADERS, "POST", WRITE, &fields)).await.unwrap();
        assert!(connection.send_body(1, &framed).await, "it is taken: {:?}", connection.seen);
        waiting.push(connection);
    }
    for connection in &waiting {
        let ended = tokio::time::timeout(PATIENCE, connection.ended(1)).await;
        assert!(ended.is_ok(), "{:?}", connection.seen);
    }
    drop(waiting);
    siege.end(640).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_of_strangers_and_of_many_are_refused() {
    let arguments = ["--request-timeout", "5s", "--large-requests-max", "8"];
    let siege = Siege::begin("large requests", &arguments).await;
    let authorization = format!("Bearer {TOKEN}");
    let known = [("content-type", "application/grpc"), ("authorization", authorization.as_str())];
    // Of a message that is announced as large as it may be, all but the end comes.
    let framed = frames::grpc_message(false, &[0; 4 << 20]);
    let begun = &framed[..2 << 20];
    let check = "/grpc.health.v1.Health/Check";
    let (mut waiting, mut taken) = (Vec::new(), 0);
    for (path, fields) in [(check, &known[..1]), (WRITE, &known[..])] {
        for _ in 0..size(30, 300) {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            connection.send(&frames::request(1, END_HEADERS, "POST", path, fields)).await.unwrap();
            // Some are refused in the middle of it.
            if connection.send_body(1, begun).await {
                taken += 1;
            }
            waiting.push(connection);
        }
    }
    assert_eq!(taken, 8, "as many as may be in memory");
    for connection in &waiting {
        let ended = tokio::time::timeout(PATIENCE, connection.ended(1)).await;
        assert!(ended.is_ok(), "{:?}", connection.seen);
    }
    drop(waiting);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_of_strangers_over_rest_take_no_room_of_callers() {
    let siege =
        Siege::begin("large requests of strangers over REST", &["--large-requests-max", "2"]).await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: meterd\r\nContent-Type: application/json\r\nContent-Length: {MESSAGE_BYTES_MAX}\r\n\r\n"
        )
    };
    let mut waiting = Vec::new();
    for path in ["/iam/v1/tokens", "/oauth/token", REST_WRITE, "/nothing/here"] {
        for _ in 0..size(5, 50) {
            let begun = head(path) + &" ".repeat(512 << 10);
            // The server may have closed it before all is written.
            waiting.push(connect_and_say(siege.api(), begun.as_bytes()).await);
        }
    }
    let record = json!({
        "uuid": Uuid::new_v4().to_string(),
        "skuId": "gb-hour",
        "quantity": "1",
        "timestamp": Timestamp::now().to_string(),
    });
    let write = json!({"productId": "storage", "usageRecords": [record]});
    for _ in 0..20 {
        let answer = call(Method::POST, REST_WRITE)
            .json(format!("{write}{}", " ".repeat(512 << 10)))
            .send(siege.api())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    drop(waiting);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lists_are_limited_by_what_they_become() {
    let siege = Siege::begin("header lists", &[]).await;
    let fields = frames::request_fields("GET", "/docs", &[]);
    // A field goes into the table, and then stands for itself in every byte.
    let entry = frames::literal(0x40, "x-large", &"z".repeat(3900));
    let repeated = vec![0xbe; 12_000];
    let bomb = [fields.clone(), entry, repeated].concat();
    let giant = frames::request_fields("GET", "/docs", &[("x-large", &"y".repeat(16_000))]);
    for payload in [bomb, giant] {
        for _ in 0..size(5, 50) {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            for number in 0..200 {
                let frame =
                    frames::frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &payload);
                if connection.send(&frame).await.is_err() || connection.is_closed() {
                    break;
                }
            }
        }
    }
    // Over HTTP/1.1.
    for line in ["x: y\r\n".repeat(20_000), format!("x: {}\r\n", "y".repeat(200 << 10))] {
        let request = format!("GET / HTTP/1.1\r\nHost: meterd\r\n{line}\r\n");
        let answer = crate::support::http::say(siege.api(), request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    siege.end(256).await;
}
