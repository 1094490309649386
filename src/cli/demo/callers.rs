//! The demo's callers: the vendor's unary methods and the stream, like any other client.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, metadata::MetadataMap};

use super::{
    progress::Progress,
    tally::Tally,
    workload::{Message, Planned, Target, Verdict, Workload},
};
use crate::{
    api::pb::{
        meterd::v1::{
            RejectedProductUsage, RejectionReason, StreamProductUsageRequest,
            stream_product_usage_request, usage_ingest_service_client::UsageIngestServiceClient,
        },
        yandex::cloud::marketplace::metering::v1::{
            AcceptedUsageRecord, RejectedUsageRecord, UsageRecord, WriteImageProductUsageRequest,
            WriteUsageRequest, image_product_usage_service_client::ImageProductUsageServiceClient,
            product_usage_service_client::ProductUsageServiceClient,
        },
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, call_failed},
    },
};

/// Messages of one stream that wait for their answers.
pub(super) const STREAM_IN_FLIGHT_MAX: usize = 8;

/// Names the uuids of duplicates that say something else.
const CONFLICTS_METADATA: &str = "meterd-duplicate-conflicts";

/// Reports message by message, each once the one before is answered.
pub(super) async fn unary(
    connection: Connection,
    mut workload: Workload,
    progress: Progress,
) -> CommandResult<Tally> {
    let mut tally = Tally::default();
    while let Some(message) = workload.next() {
        let started = Instant::now();
        let verdicts = write(connection.clone(), &message).await?;
        tally.calls.push(started.elapsed());
        tally.count(&message, |uuid| verdicts.get(uuid).copied());
        progress.add(message.records.len());
    }
    Ok(tally)
}

/// Reports one message with the vendor's method for its target. Answers verdicts by uuid.
pub(super) async fn write(
    connection: Connection,
    message: &Message,
) -> CommandResult<HashMap<String, Verdict>> {
    let records = message.records.iter().map(vendor_record).collect();
    match message.target {
        Target { product, instance: None } => {
            let request = WriteImageProductUsageRequest {
                validate_only: false,
                product_id: product.to_owned(),
                usage_records: records,
            };
            let mut client = ImageProductUsageServiceClient::new(connection);
            let response = client.write(request).await.map_err(|error| call_failed(&error))?;
            let (metadata, answer) = apart(response);
            Ok(vendor_verdicts(&metadata, answer.accepted, answer.rejected))
        }
        Target { instance: Some(instance), .. } => {
            let request = WriteUsageRequest {
                dry_run: false,
                product_instance_id: instance.to_owned(),
                usage_records: records,
            };
            let mut client = ProductUsageServiceClient::new(connection);
            let response = client.write(request).await.map_err(|error| call_failed(&error))?;
            let (metadata, answer) = apart(response);
            Ok(vendor_verdicts(&metadata, answer.accepted, answer.rejected))
        }
    }
}

fn apart<T>(response: Response<T>) -> (MetadataMap, T) {
    let (metadata, answer, _) = response.into_parts();
    (metadata, answer)
}

fn vendor_record(planned: &Planned) -> UsageRecord {
    let record = planned.record.clone();
    UsageRecord {
        uuid: record.uuid,
        sku_id: record.sku_id,
        quantity: record.quantity,
        timestamp: record.timestamp,
    }
}

fn vendor_verdicts(
    metadata: &MetadataMap,
    accepted: Vec<AcceptedUsageRecord>,
    rejected: Vec<RejectedUsageRecord>,
) -> HashMap<String, Verdict> {
    let conflicts = metadata.get(CONFLICTS_METADATA).and_then(|value| value.to_str().ok());
    let conflicts: Vec<&str> = conflicts.unwrap_or_default().split(',').collect();
    let accepted = accepted.into_iter().map(|record| (record.uuid, Verdict::Accepted));
    let rejected = rejected.into_iter().map(|record| {
        // Both packages number their reasons alike.
        let reason = RejectionReason::try_from(record.reason).unwrap_or_default();
        let verdict = rejection(reason, conflicts.contains(&record.uuid.as_str()));
        (record.uuid, verdict)
    });
    accepted.chain(rejected).collect()
}

fn rejection(reason: RejectionReason, conflict: bool) -> Verdict {
    match reason {
        RejectionReason::Duplicate if conflict => Verdict::Conflicting,
        RejectionReason::Duplicate => Verdict::Identical,
        other => Verdict::Rejected(other),
    }
}

/// Reports over one stream, several messages ahead of the answers.
pub(super) async fn stream(
    connection: Connection,
    mut workload: Workload,
    progress: Progress,
) -> CommandResult<Tally> {
    let mut tally = Tally::default();
    let (outbox, requests) = mpsc::channel(STREAM_IN_FLIGHT_MAX);
    let mut client = UsageIngestServiceClient::new(connection);
    let mut waiting: VecDeque<(u64, Message)> = VecDeque::new();
    let mut sequence = 0;
    let mut next = |waiting: &mut VecDeque<(u64, Message)>| {
        let message = workload.next()?;
        sequence += 1;
        let request = request(sequence, &message);
        waiting.push_back((sequence, message));
        Some(request)
    };
    while waiting.len() < STREAM_IN_FLIGHT_MAX
        && let Some(request) = next(&mut waiting)
    {
        // There is room for this many, and the other end is held below.
        let _ = outbox.send(request).await;
    }
    let requests = ReceiverStream::new(requests);
    let response =
        client.stream_product_usage(requests).await.map_err(|error| call_failed(&error))?;
    let mut answers = response.into_inner();
    while let Some((sequence, message)) = waiting.pop_front() {
        let answer = answers.message().await.map_err(|error| call_failed(&error))?;
        let answer = answer.filter(|answer| answer.sequence == sequence);
        let answer = answer.ok_or_else(|| {
            CommandError::failed(format!("message {sequence} of a stream was not answered in turn"))
        })?;
        let rejected: HashMap<&str, Verdict> = answer.rejected.iter().map(stream_verdict).collect();
        let rejected_count = answer.rejected.len();
        let accepted_count = answer.accepted_count as usize;
        if accepted_count + rejected_count != message.records.len() {
            tally.differ(format!("message {sequence} of a stream got too few verdicts"));
        }
        tally
            .count(&message, |uuid| Some(rejected.get(uuid).copied().unwrap_or(Verdict::Accepted)));
        progress.add(message.records.len());
        if let Some(request) = next(&mut waiting) {
            // If the stream is gone, the next answer says why.
            let _ = outbox.send(request).await;
        }
    }
    drop(outbox);
    // The stream ends, rather than breaks.
    answers.message().await.map_err(|error| call_failed(&error))?;
    Ok(tally)
}

fn stream_verdict(rejected: &RejectedProductUsage) -> (&str, Verdict) {
    (rejected.uuid.as_str(), rejection(rejected.reason(), rejected.conflict))
}

fn request(sequence: u64, message: &Message) -> StreamProductUsageRequest {
    let target = match message.target {
        Target { instance: Some(id), .. } => {
            stream_product_usage_request::Target::ProductInstanceId(id.to_owned())
        }
        Target { product, instance: None } => {
            stream_product_usage_request::Target::ProductId(product.to_owned())
        }
    };
    StreamProductUsageRequest {
        sequence,
        target: Some(target),
        usage_records: message.records.iter().map(|planned| planned.record.clone()).collect(),
        validate_only: false,
    }
}
