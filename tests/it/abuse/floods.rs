//! Floods of frames and of streams on few connections.

use std::{io, time::Duration};

use super::{
    frames::{
        self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS,
        WINDOW_UPDATE,
    },
    http2::Http2,
    siege::Siege,
    size,
};
use crate::support::server::TOKEN;

const PATIENCE: Duration = Duration::from_secs(40);
const WHOLE: u8 = END_HEADERS | END_STREAM;
/// "The peer is exhibiting a behavior that might be generating excessive load."
const ENHANCE_YOUR_CALM: u32 = 11;

/// Sends what `batch` makes of 0, 1, 2 … until the server closes or there were so many; how many there were.
async fn flood(connection: &Http2, batches: usize, batch: impl Fn(u32) -> Vec<u8>) -> usize {
    for number in 0..batches {
        let sent: io::Result<()> = connection.send(&batch(number as u32)).await;
        if sent.is_err() || connection.is_closed() {
            return number + 1;
        }
    }
    batches
}

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    let siege = Siege::begin("rapid reset", &[]).await;
    let authorization = format!("Bearer {TOKEN}");
    let fields = [("content-type", "application/grpc"), ("authorization", &authorization)];
    let (mut opened, mut connections, mut cut_off) = (0, 0, 0);
    while opened < size(20_000, 1_000_000) {
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        let batches = flood(&connection, 10, |batch| {
            (batch * 1000..(batch + 1) * 1000)
                .flat_map(|number| {
                    let path = "/meterd.v1.CatalogService/ListProducts";
                    let mut bytes =
                        frames::request(stream(number), END_HEADERS, "POST", path, &fields);
                    bytes.extend(frames::reset(stream(number)));
                    bytes
                })
                .collect()
        })
        .await;
        opened += batches * 1000;
        connections += 1;
        // A server that keeps up with all of them need not close. It does not, nearly always.
        if connection.closes_within(Duration::from_secs(1)).await {
            cut_off += 1;
            let goaway = *connection.seen.goaway.lock();
            assert!(goaway.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{goaway:?}");
        }
    }
    assert!(cut_off > 0, "nobody was cut off");
    eprintln!(
        "abuse: rapid reset: {opened} streams over {connections} connections, {cut_off} cut off"
    );
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_are_provoked_end_the_connection() {
    let siege = Siege::begin("MadeYouReset", &[]).await;
    let provocations: [fn(u32) -> Vec<u8>; 3] = [
        // A window that grows by nothing.
        |stream| frames::frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        // A window that grows beyond all bounds.
        |stream| frames::frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()),
        // Data after the end.
        |stream| frames::frame(DATA, 0, stream, b"more"),
    ];
    for provoke in provocations {
        for _ in 0..size(5, 100) {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            flood(&connection, 500, |batch| {
                (batch * 20..(batch + 1) * 20)
                    .flat_map(|number| {
                        let id = stream(number);
                        let mut bytes = frames::request(id, WHOLE, "GET", "/docs", &[]);
                        bytes.extend(provoke(id));
                        bytes
                    })
                    .collect()
            })
            .await;
            assert!(connection.closes_within(PATIENCE).await, "the connection stays");
        }
    }
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_continuations_end_the_connection() {
    let siege = Siege::begin("CONTINUATION flood", &[]).await;
    let fields = frames::request_fields("GET", "/docs", &[]);
    let field = frames::literal(0, "x-more", &"y".repeat(100));
    let large: Vec<u8> = field.iter().copied().cycle().take(field.len() * 150).collect();
    // Many of some bytes, and as many of none.
    for payload in [large, field, vec![]] {
        for _ in 0..size(5, 50) {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            connection.send(&frames::frame(HEADERS, 0, 1, &fields)).await.unwrap();
            let frame = frames::frame(CONTINUATION, 0, 1, &payload);
            flood(&connection, 20_000, |_| frame.clone()).await;
            assert!(connection.closes_within(PATIENCE).await, "the connection stays");
        }
    }
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_cost_little_and_fill_no_log() {
    let siege = Siege::begin("floods of small frames", &[]).await;
    let setting = frames::settings(&[(frames::INITIAL_WINDOW_SIZE, 65_535)]);
    let frames = [
        setting,
        frames::frame(PING, 0, 0, &[1; 8]),
        // Answers to pings that nobody sent are worth a warning to h2.
        frames::frame(PING, ACK, 0, &[2; 8]),
        frames::frame(SETTINGS, ACK, 0, &[]),
        frames::frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        frames::frame(0x2a, 0, 0, b"unknown"),
    ];
    for frame in frames {
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        let many = frame.repeat(1000);
        // The connection may end; it need not.
        flood(&connection, size(20, 1000), |_| many.clone()).await;
    }
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_pieces_of_data_stay_small() {
    let siege = Siege::begin("floods of small data", &[]).await;
    let authorization = format!("Bearer {TOKEN}");
    let fields = [("content-type", "application/grpc"), ("authorization", &authorization)];
    for path in [
        "/meterd.v1.UsageIngestService/StreamProductUsage",
        "/meterd.v1.CatalogService/ListProducts",
        "/nothing.Here/AtAll",
    ] {
        for (piece, flags, padding) in
            [(&b""[..], 0, &b""[..]), (b"\0", 0, b""), (b"\x08\0", 8, &[0; 8])]
        {
            let connection = Http2::open(siege.api(), &[]).await.unwrap();
            let open: Vec<u8> = (0..50)
                .flat_map(|number| {
                    frames::request(stream(number), END_HEADERS, "POST", path, &fields)
                })
                .collect();
            connection.send(&open).await.unwrap();
            let payload = [piece, padding].concat();
            flood(&connection, size(10, 500), |_| {
                (0..1000)
                    .flat_map(|number| frames::frame(DATA, flags, stream(number % 50), &payload))
                    .collect()
            })
            .await;
        }
    }
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_streams_over_few_connections() {
    let siege = Siege::begin("very many streams", &[]).await;
    let each = size(2500, 25_000);
    let opening = (0..4).map(|_| async {
        // Patient enough not to be cut off.
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        for begin in (0..each as u32).step_by(100) {
            let asked: Vec<u8> = (begin..begin + 100)
                .flat_map(|number| {
                    frames::request(stream(number), WHOLE, "GET", "/nothing/here", &[])
                })
                .collect();
            connection.send(&asked).await.unwrap();
            connection.ended(begin as usize + 100).await;
            // As answers come in, the window of the connection must be opened again.
            let window = frames::frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
            connection.send(&window).await.unwrap();
        }
        assert_eq!(connection.seen.ended(), each);
    });
    let opened =
        tokio::time::timeout(Duration::from_mins(5), futures_util::future::join_all(opening));
    opened.await.expect("all are answered");
    // And without patience: whoever opens more than it may is cut off.
    for _ in 0..size(4, 40) {
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        let batches = flood(&connection, 1000, |batch| {
            (batch * 100..(batch + 1) * 100)
                .flat_map(|number| {
                    let path = "/grpc.health.v1.Health/Check";
                    let fields = [("content-type", "application/grpc")];
                    frames::request(stream(number), END_HEADERS, "POST", path, &fields)
                })
                .collect()
        })
        .await;
        assert!(connection.closes_within(PATIENCE).await, "{batches} batches, and it stays");
    }
    siege.end(256).await;
}
