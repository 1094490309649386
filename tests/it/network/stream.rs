//! One attempt at a usage stream.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt as _;
use meterd::api::pb::meterd::v1::{
    ProductUsageRecord, RejectionReason, StreamProductUsageRequest, StreamProductUsageResponse,
    stream_product_usage_request::Target as WireTarget,
    usage_ingest_service_client::UsageIngestServiceClient,
};
use tonic::transport::Channel;

use super::{
    calls::{Failure, Verdicts, silence, timestamp},
    usage::{Identity, Message, Record, Target, Verdict},
    wire::authed,
};

/// How a stream is sent.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Between two messages.
    pub gap: Duration,
    /// How long the client waits for the next answer.
    pub patience: Duration,
    /// After so many answers the client hangs up in the middle.
    pub hangs_up_after: Option<usize>,
}

/// Sends messages, and passes on what is answered, in their order. On return there is either nothing more to be
/// answered, or nobody who would hear it.
pub async fn send(
    messages: &[Message],
    channel: &Channel,
    manner: Manner,
    mut answered: impl FnMut(Verdicts),
) -> Result<(), Failure> {
    let Manner { gap, patience, hangs_up_after } = manner;
    let requests: Vec<_> =
        messages.iter().enumerate().map(|(place, message)| request(place, message)).collect();
    let requests = futures_util::stream::iter(requests).then(move |request| async move {
        tokio::time::sleep(gap).await;
        request
    });
    let mut client = UsageIngestServiceClient::new(authed(channel));
    let opening = tokio::time::timeout(patience, client.stream_product_usage(requests));
    let mut answers = opening.await.map_err(|_| silence())??.into_inner();
    for (place, message) in messages.iter().enumerate() {
        if hangs_up_after == Some(place) {
            return Ok(());
        }
        let answer = tokio::time::timeout(patience + gap, answers.message());
        let Some(answer) = answer.await.map_err(|_| silence())?? else {
            return Err(Failure::Wrong(
                "the stream ended before its messages were answered".into(),
            ));
        };
        answered(verdicts(place, message, &answer)?);
    }
    Ok(())
}

fn request(place: usize, message: &Message) -> StreamProductUsageRequest {
    let record = |record: &Record| ProductUsageRecord {
        uuid: record.uuid.to_string(),
        sku_id: record.sku.into(),
        quantity: record.quantity,
        timestamp: timestamp(record.time),
    };
    StreamProductUsageRequest {
        sequence: place as u64,
        target: Some(match message.target {
            Target::Product(product) => WireTarget::ProductId(product.into()),
            Target::Instance(instance) => WireTarget::ProductInstanceId(instance.into()),
        }),
        usage_records: message.records.iter().map(record).collect(),
        validate_only: false,
    }
}

fn verdicts(
    place: usize,
    message: &Message,
    answer: &StreamProductUsageResponse,
) -> Result<Verdicts, Failure> {
    if answer.sequence != place as u64 {
        return Err(Failure::Wrong(format!("message {place} answered as {}", answer.sequence)));
    }
    let mut duplicates = BTreeSet::new();
    for rejected in &answer.rejected {
        if rejected.reason() != RejectionReason::Duplicate || rejected.conflict {
            return Err(Failure::Wrong(format!("rejected in a stream: {rejected:?}")));
        }
        duplicates.insert(rejected.uuid.clone());
    }
    if answer.accepted_count as usize + duplicates.len() != message.records.len() {
        return Err(Failure::Wrong(format!("message {place} is answered in part: {answer:?}")));
    }
    let verdict = |record: &Record| {
        let is_duplicate = duplicates.contains(&record.uuid.to_string());
        let verdict = if is_duplicate { Verdict::Duplicate } else { Verdict::Accepted };
        (Identity::Record(record.uuid), verdict)
    };
    Ok(message.records.iter().map(verdict).collect())
}
