//! Callers that are refused, many times over one connection. Their requests are on the way by then.

use std::time::Duration;

use super::{
    frames::{self, DATA, END_HEADERS, END_STREAM},
    http2::Http2,
    siege::Siege,
};

/// Fewer than a connection may have.
const STREAMS: u32 = 200;
const BATCHES: u32 = 20;
/// Half a round trip, say.
const DISTANCE: Duration = Duration::from_millis(20);
/// Without credentials, and one that nobody has.
const PATHS: [&str; 2] = [
    "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write",
    "/no.such.Service/Method",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_do_not_end_the_connection() {
    let siege = Siege::begin("refused calls", &[]).await;
    for path in PATHS {
        refused(&siege, path).await;
    }
    siege.end(256).await;
}

async fn refused(siege: &Siege, path: &str) {
    let connection = Http2::open(siege.api(), &[]).await.unwrap();
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let message = frames::grpc_message(false, &[0; 4000]);
    for batch in 0..BATCHES {
        let streams: Vec<u32> =
            (batch * STREAMS..(batch + 1) * STREAMS).map(|number| number * 2 + 1).collect();
        let all = |part: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
            streams.iter().flat_map(|stream| part(*stream)).collect()
        };
        let heads = all(&|stream| frames::request(stream, END_HEADERS, "POST", path, &fields));
        connection.send(&heads).await.unwrap();
        tokio::time::sleep(DISTANCE).await;
        // Sent before a refusal could have come, as far as this end of the wire can tell.
        let bodies = all(&|stream| frames::frame(DATA, END_STREAM, stream, &message));
        // A connection that is closed shows below.
        let _ = connection.send(&bodies).await;
        connection.ended(((batch + 1) * STREAMS) as usize).await;
        assert!(!connection.is_closed(), "{path}: closed in batch {batch}: {:?}", connection.seen);
    }
    assert_eq!(connection.seen.answered(), (BATCHES * STREAMS) as usize);
}
