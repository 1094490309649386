//! Calls whose callers go away at any moment.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use meterd::api::pb::yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient;
use uuid::Uuid;

use super::{siege::Siege, size};
use crate::support::{load::send, random::Random};

const UNDER_WAY: usize = 100;
/// h2 takes answers to calls that it has cancelled for offences of the server, of which it bears 1024 on a connection.
const CALLS_PER_CONNECTION: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_writes_count_once_or_not_at_all() {
    let seed = std::env::var("METERD_ABUSE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("abuse: cancelled calls: METERD_ABUSE_SEED={seed}");
    let siege = Siege::begin("cancelled calls", &[]).await;
    let mut random = Random::new(seed);
    let connect = || ImageProductUsageServiceClient::new(siege.authed());
    let calls: Vec<_> = (0..size(3000, 50_000))
        .map(|_| {
            let uuid =
                Uuid::from_u64_pair(random.next() & !0xF000 | 0x4000, random.next() >> 2 | 1 << 63);
            (uuid, Duration::from_micros(random.next() % 100_000))
        })
        .collect();
    let clients: Vec<_> = calls.chunks(CALLS_PER_CONNECTION).map(|_| connect()).collect();
    let mut sent = stream::iter(calls.clone())
        .enumerate()
        .map(|(number, (uuid, patience))| {
            let mut client = clients[number / CALLS_PER_CONNECTION].clone();
            async move {
                let answer = tokio::time::timeout(patience, send(&mut client, &[uuid])).await;
                // Cancelling is no offence: what is not cancelled succeeds.
                answer.map(|answer| answer.unwrap()).is_ok()
            }
        })
        .buffered(UNDER_WAY);
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    while let Some(is_acknowledged) = sent.next().await {
        if is_acknowledged {
            acknowledged.push(calls[number].0);
        }
        number += 1;
    }
    drop(sent);
    drop(clients);
    let client = connect();
    eprintln!("abuse: {} of {} calls were not cancelled", acknowledged.len(), calls.len());
    assert!(!acknowledged.is_empty() && acknowledged.len() < calls.len(), "a mixture of both");
    // What was acknowledged is there, and what was not is taken once.
    for uuids in acknowledged.chunks(25) {
        let (accepted, duplicates) = send(&mut client.clone(), uuids).await.unwrap();
        assert_eq!((accepted.len(), duplicates.len()), (0, uuids.len()));
    }
    let all: Vec<Uuid> = calls.iter().map(|(uuid, _)| *uuid).collect();
    for uuids in all.chunks(25) {
        send(&mut client.clone(), uuids).await.unwrap();
        let (accepted, duplicates) = send(&mut client.clone(), uuids).await.unwrap();
        assert_eq!((accepted.len(), duplicates.len()), (0, uuids.len()));
    }
    drop(client);
    siege.end(256).await;
}
