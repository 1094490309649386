//! Writers that remember what they sent and what was acknowledged.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use futures_util::StreamExt as _;
use meterd::api::pb::yandex::cloud::marketplace::metering::v1::{
    UsageRecord, WriteImageProductUsageRequest,
    image_product_usage_service_client::ImageProductUsageServiceClient,
    rejected_usage_record::Reason,
};
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

use super::server::Authed;

/// Every record ever sent, and those of them that were acknowledged. Records with one uuid are equal,
/// so that they can be sent again.
#[derive(Default)]
pub struct Ledger {
    pub sent: Vec<Uuid>,
    pub acknowledged: HashSet<Uuid>,
}

pub fn request(uuids: &[Uuid]) -> WriteImageProductUsageRequest {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let timestamp = prost_types::Timestamp { seconds: now.as_secs() as i64, nanos: 0 };
    let record = |uuid: &Uuid| UsageRecord {
        uuid: uuid.to_string(),
        sku_id: "gb-hour".into(),
        quantity: 3,
        timestamp: Some(timestamp),
    };
    WriteImageProductUsageRequest {
        validate_only: false,
        product_id: "storage".into(),
        usage_records: uuids.iter().map(record).collect(),
    }
}

/// Sends one call; what was accepted, and what was a duplicate.
pub async fn send(
    client: &mut ImageProductUsageServiceClient<Authed>,
    uuids: &[Uuid],
) -> Result<(Vec<Uuid>, Vec<Uuid>), Status> {
    let response = client.write(request(uuids)).await?.into_inner();
    let accepted = response.accepted.iter().map(|record| record.uuid.parse().unwrap()).collect();
    let duplicates = response
        .rejected
        .iter()
        .map(|record| {
            assert_eq!(record.reason(), Reason::Duplicate, "{}", record.uuid);
            record.uuid.parse().unwrap()
        })
        .collect();
    Ok((accepted, duplicates))
}

/// Writes new records until told to stop or refused; what refused it.
pub async fn write_until_refused(
    mut client: ImageProductUsageServiceClient<Authed>,
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
) -> Option<Status> {
    while !stop.load(Ordering::Relaxed) {
        let uuids: Vec<Uuid> = (0..25).map(|_| Uuid::new_v4()).collect();
        ledger.lock().sent.extend(&uuids);
        match send(&mut client, &uuids).await {
            Ok((accepted, duplicates)) => {
                assert!(duplicates.is_empty(), "new uuids cannot be taken");
                let mut ledger = ledger.lock();
                for uuid in accepted {
                    assert!(ledger.acknowledged.insert(uuid), "accepted twice");
                }
            }
            Err(status) => return Some(status),
        }
    }
    None
}

/// Calls under way while everything is sent again.
const RESENDERS: usize = 16;

/// Sends everything again; what was accepted, and how many duplicates there were.
async fn resend(
    client: &ImageProductUsageServiceClient<Authed>,
    uuids: &[Uuid],
) -> (Vec<Uuid>, usize) {
    let calls = uuids.chunks(25).map(|uuids| {
        let mut client = client.clone();
        async move { send(&mut client, uuids).await.unwrap() }
    });
    let answers: Vec<_> =
        futures_util::stream::iter(calls).buffer_unordered(RESENDERS).collect().await;
    let duplicates = answers.iter().map(|(_, duplicates)| duplicates.len()).sum();
    (answers.into_iter().flat_map(|(accepted, _)| accepted).collect(), duplicates)
}

/// Sends everything again: what was acknowledged must be taken, and afterwards every record counts
/// exactly once.
pub async fn settle(client: ImageProductUsageServiceClient<Authed>, ledger: &mut Ledger) {
    let (accepted, _) = resend(&client, &ledger.sent).await;
    for uuid in accepted {
        assert!(ledger.acknowledged.insert(uuid), "{uuid} was acknowledged and is gone");
    }
    let (accepted, duplicates) = resend(&client, &ledger.sent).await;
    assert_eq!((accepted.len(), duplicates), (0, ledger.sent.len()));
}
