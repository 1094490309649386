//! Peers that say what they have to say byte by byte, or never to the end.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE},
    http2::Http2,
    siege::Siege,
    size,
};
use crate::support::server::TOKEN;

const PATIENCE: Duration = Duration::from_secs(40);
const GRPC: (&str, &str) = ("content-type", "application/grpc");
pub const WRITE: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";

/// Sends the first part at once and the second byte by byte, until the server closes; what it said.
async fn drip(to: SocketAddr, at_once: Vec<u8>, slowly: Vec<u8>) -> String {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = async move {
        let mut sent = writer.write_all(&at_once).await;
        for byte in slowly.iter().cycle() {
            if sent.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            sent = writer.write_all(&[*byte]).await;
        }
        // Closed for us, and still to be read.
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let ended = tokio::select! {
        ended = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)) => ended,
        () = dripping => unreachable!("it does not end"),
    };
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(ended.is_ok(), "the connection stays open after: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_and_headers_byte_by_byte_are_cut_off() {
    let siege = Siege::begin("slow openings and headers", &[]).await;
    let opened = [PREFACE, &frames::settings(&[])].concat();
    let fields = frames::request_fields("GET", "/docs", &[("x-padding", &"x".repeat(4000))]);
    // These are left when they do not answer a ping, after 50 seconds, which `hostile_input` does not wait for either.
    let halves = [
        frames::frame(HEADERS, END_STREAM, 1, &fields),
        frames::frame(frames::SETTINGS, 0, 0, &[0; 6000]),
    ];
    let api = siege.api();
    let halves: Vec<_> = (0..size(20, 500))
        .flat_map(|_| halves.clone())
        .map(|half| tokio::spawn(drip(api, opened.clone(), half)))
        .collect();
    let request = b"GET / HTTP/1.1\r\nHost: meterd\r\n".to_vec();
    let attacks = [
        (vec![], PREFACE.to_vec()),
        (vec![], request.clone()),
        (vec![], vec![0x16, 3, 1]),
        (request, b"x: y\r\n".to_vec()),
    ];
    let all = (0..size(20, 500)).flat_map(|_| attacks.clone());
    join_all(all.map(|(at_once, slowly)| drip(api, at_once, slowly))).await;
    for half in halves {
        half.abort();
        let _ = half.await;
    }
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_byte_by_byte_are_refused() {
    let siege = Siege::begin("slow bodies over HTTP/1.1", &["--request-timeout", "3s"]).await;
    let body = |path: &str, content_type: &str, fields: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: meterd\r\nContent-Type: {content_type}\r\nContent-Length: 5000\r\n{fields}\r\n"
        )
        .into_bytes()
    };
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    let write = "/marketplace/metering/v1/imageProductUsage/write";
    let form = "application/x-www-form-urlencoded";
    let attacks = [
        (body(write, "application/json", &authorization), "408"),
        (body(write, "application/json", ""), "401"),
        (body("/oauth/token", form, ""), "408"),
        (body("/nothing/here", "text/plain", ""), "404"),
    ];
    let all = (0..size(40, 400)).flat_map(|_| attacks.clone());
    let api = siege.api();
    join_all(all.map(|(at_once, status)| async move {
        let answer = drip(api, at_once, b" ".to_vec()).await;
        // Without a place for it, an unread body may cost the answer.
        let is_full = status != "408" && answer.starts_with("HTTP/1.1 429");
        let is_answered = answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(answer.is_empty() || is_answered || is_full, "{status}: {answer}");
    }))
    .await;
    siege.end(256).await;
}

/// A call over gRPC whose request begins and does not end.
pub async fn begin_call(siege: &Siege, path: &str, fields: &[(&str, &str)], streams: u32) -> Http2 {
    let connection = Http2::open(siege.api(), &[]).await.unwrap();
    let fields = [&[GRPC], fields].concat();
    // A message of 5000 bytes is announced, and its first ones come one by one.
    let begun = [&[0, 0, 0, 0x13, 0x88], &[7; 3][..]].concat();
    for number in 0..streams {
        let stream = number * 2 + 1;
        let mut bytes = frames::request(stream, END_HEADERS, "POST", path, &fields);
        for byte in &begun {
            bytes.extend(frames::frame(DATA, 0, stream, &[*byte]));
        }
        if connection.send(&bytes).await.is_err() {
            break;
        }
    }
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_never_sent_to_the_end_are_refused() {
    let siege = Siege::begin("slow bodies over gRPC", &["--request-timeout", "3s"]).await;
    let authorization = format!("Bearer {TOKEN}");
    let known = [("authorization", authorization.as_str())];
    let streams = 100;
    let mut connections = Vec::new();
    for _ in 0..size(2, 10) {
        connections.push(begin_call(&siege, "/grpc.health.v1.Health/Check", &[], streams).await);
        let iam = "/yandex.cloud.iam.v1.IamTokenService/Create";
        connections.push(begin_call(&siege, iam, &[], streams).await);
        connections.push(begin_call(&siege, WRITE, &[], streams).await);
    }
    connections.push(begin_call(&siege, WRITE, &known, streams).await);
    for connection in &connections {
        let ended = tokio::time::timeout(PATIENCE, connection.ended(streams as usize)).await;
        assert!(ended.is_ok(), "calls stay open: {:?}", connection.seen);
    }
    drop(connections);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_opened_and_never_used_leave_room() {
    let siege = Siege::begin("unused streams", &[]).await;
    let mut connections = Vec::new();
    let watch = "/grpc.health.v1.Health/Watch";
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for _ in 0..size(4, 40) {
        for path in [watch, reflection] {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            let message = frames::grpc_message(false, &[]);
            let asked: Vec<u8> = (0..250)
                .flat_map(|number| {
                    let stream = number * 2 + 1;
                    let flags = if path == watch { END_STREAM } else { 0 };
                    let mut bytes = frames::request(stream, END_HEADERS, "POST", path, &[GRPC]);
                    bytes.extend(frames::frame(DATA, flags, stream, &message));
                    bytes
                })
                .collect();
            connection.send(&asked).await.unwrap();
            connections.push(connection);
        }
    }
    // Half of the strangers' places are for those who sign in.
    let answer = crate::support::http::call(http::Method::POST, "/oauth/token")
        .anonymous()
        .send(siege.api())
        .await;
    assert_eq!(answer.status, http::StatusCode::BAD_REQUEST, "{answer:?}");
    assert!(siege.metric("meterd_calls_in_flight") <= 300.0);
    drop(connections);
    siege.end(256).await;
}
