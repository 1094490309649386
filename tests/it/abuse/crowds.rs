//! Very many connections: idle ones, half-open ones, those that come and go, more than there may be.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    connections,
    frames::{self, PREFACE},
    http2::Http2,
    siege::Siege,
    size,
};

pub async fn connect_and_say(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The server may have closed it already.
    let _ = stream.write_all(bytes).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_half_open_connections_keep_nobody_out() {
    let count = connections(2000, 10_000);
    let siege = Siege::begin("idle and half-open connections", &[]).await;
    let opened = [PREFACE, &frames::settings(&[])].concat();
    let sayings = [&b""[..], b"GET / HT", b"\x16\x03\x01", &PREFACE[..20], &opened];
    let mut crowd = Vec::with_capacity(count);
    for number in 0..count {
        crowd.push(connect_and_say(siege.api(), sayings[number % sayings.len()]).await);
    }
    let open = siege.metric("meterd_connections");
    eprintln!("abuse: {open} of {count} connections are open");
    assert!(open >= count as f64 / 5.0, "{open}");
    // Whoever has not said what it wants is left, and only those remain that speak HTTP/2.
    let began = Instant::now();
    while siege.metric("meterd_connections") > count as f64 / 5.0 + 20.0 {
        assert!(began.elapsed() < Duration::from_secs(30), "half-open connections stay");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(crowd);
    siege.end(512).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_strangers_go_first() {
    let siege =
        Siege::begin("more connections than there may be", &["--connections-max", "200"]).await;
    let mut crowd = Vec::new();
    for _ in 0..connections(1500, 8000) {
        // All of them speak HTTP/2, and so may stay.
        crowd.push(Http2::open(siege.api(), &[]).await);
    }
    // Those of the admin listener count as well. On a busy machine some still wait to be accepted, or to be left.
    let has_room = || {
        siege.metric("meterd_connections") <= 220.0
            && siege.metric("meterd_connections_evicted_total{reason=\"unauthenticated\"}")
                >= crowd.len() as f64 - 220.0
    };
    let began = Instant::now();
    while !has_room() {
        assert!(began.elapsed() < Duration::from_secs(30), "strangers stay");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(siege.metric("meterd_connections_refused_total"), 0.0);
    drop(crowd);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_connections_finds_room_to_wait() {
    const BURST: usize = 1000;
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if somaxconn.trim().parse::<usize>().unwrap() < BURST {
        eprintln!("SKIPPED: only {} connections may wait on this system", somaxconn.trim());
        return;
    }
    let siege = Siege::begin("a burst of connections", &[]).await;
    // As if it had no processor for a moment.
    siege.signal("STOP");
    let burst = (0..BURST).map(|_| TcpStream::connect(siege.api()));
    let burst = futures_util::future::join_all(burst);
    let connected = tokio::time::timeout(Duration::from_secs(5), burst).await;
    siege.signal("CONT");
    let connected = connected.expect("connections are lost before they are accepted");
    assert!(connected.iter().all(Result::is_ok), "{connected:?}");
    drop(connected);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go() {
    let siege = Siege::begin("a storm of connections", &[]).await;
    let storm = (0..8).map(|number| {
        let api = siege.api();
        async move {
            for round in 0..size(250, 12_500) {
                let Ok(mut stream) = TcpStream::connect(api).await else { continue };
                match (number + round) % 4 {
                    0 => {}
                    1 => drop(stream.write_all(PREFACE).await),
                    // Closed with a reset.
                    2 => stream.set_zero_linger().unwrap(),
                    _ => {
                        let _ = stream.write_all(b"GET /docs HTTP/1.1\r\nHost: m\r\n\r\n").await;
                        let _ = stream.read(&mut [0; 16]).await;
                    }
                }
            }
        }
    });
    futures_util::future::join_all(storm).await;
    siege.end(256).await;
}
