//! Whatever is worth a line of log is worth only so many.

use super::{
    frames::{self, ACK, PING},
    http2::Http2,
    siege::Siege,
    size,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_out_of_the_log_is_said() {
    let siege = Siege::begin("a flood of warnings", &[]).await;
    // h2 warns of each answer to a ping that it never sent.
    let unasked = frames::frame(PING, ACK, 0, &[2; 8]).repeat(100);
    let flood = async |times| {
        let connection = Http2::open(siege.api(), &[]).await.unwrap();
        for _ in 0..times {
            if connection.send(&unasked).await.is_err() {
                break;
            }
        }
    };
    flood(size(100, 10_000)).await;
    let warnings = |log: &str| log.matches("recv PING ack that we never sent").count();
    while warnings(&siege.log()) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    flood(1).await;
    while !siege.log().contains("lines like the next one were left out") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(warnings(&siege.log()) <= 60, "{}", siege.log());
    siege.end(256).await;
}
