//! One attempt at a call, and what its answer says of everything in it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use meterd::api::pb::{
    meterd::v1::{
        ApiUsageEvent, ApiUsageRejectionReason, AssetUsage, RecordApiUsageRequest,
        ReportUsageBatchRequest, usage_batch_service_client::UsageBatchServiceClient,
        usage_ingest_service_client::UsageIngestServiceClient,
    },
    yandex::cloud::marketplace::metering::v1::{
        AcceptedUsageRecord, RejectedUsageRecord, UsageRecord, WriteImageProductUsageRequest,
        WriteUsageRequest, image_product_usage_service_client::ImageProductUsageServiceClient,
        product_usage_service_client::ProductUsageServiceClient, rejected_usage_record::Reason,
    },
};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{
    connections::Connections,
    rest,
    usage::{Event, Identity, Line, Message, Record, Report, Target, Verdict},
    wire::authed,
};

/// Between the deadline that the server is told and the moment at which the client stops waiting: the answer may be on
/// its way.
const GRACE: Duration = Duration::from_millis(500);
/// How meterd calls its own failures.
const OUR_FAILURE: &str = "internal error";

/// Why there is no verdict.
#[derive(Debug)]
pub enum Failure {
    /// What networks and servers under way may do. Sending again tells.
    Passing(Status),
    /// What must not be, whatever fails.
    Wrong(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Unknown => Self::Passing(status),
            // So does tonic call some errors of HTTP/2.
            Code::Internal if status.message() != OUR_FAILURE => Self::Passing(status),
            _ => Self::Wrong(format!("answered with {status:?}")),
        }
    }
}

/// What an answer says of each identity of a call.
pub type Verdicts = Vec<(Identity, Verdict)>;

/// Sends a report that is one call, over `channel`, or over a connection of its own.
pub async fn send(
    report: &Report,
    channel: &Channel,
    connections: &Connections,
    patience: Duration,
) -> Result<Verdicts, Failure> {
    let sending = async {
        match report {
            Report::Write(message) => match message.target {
                Target::Product(product) => write(product, message, channel, patience).await,
                Target::Instance(instance) => {
                    write_of_instance(instance, message, channel, patience).await
                }
            },
            Report::Rest(message) => rest::write(message, connections).await,
            Report::Events(events) => record_events(events, channel, patience).await,
            Report::Batch { id, lines } => report_batch(id, lines, channel, patience).await,
            Report::Stream(_) => unreachable!("a stream is not one call"),
        }
    };
    let answered = tokio::time::timeout(patience + GRACE, Box::pin(sending)).await;
    answered.unwrap_or_else(|_| Err(silence()))
}

/// Nothing was heard in time.
pub fn silence() -> Failure {
    Failure::Passing(Status::deadline_exceeded("nothing was heard"))
}

fn with_deadline<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

pub fn timestamp(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn records(message: &Message) -> Vec<UsageRecord> {
    let record = |record: &Record| UsageRecord {
        uuid: record.uuid.to_string(),
        sku_id: record.sku.into(),
        quantity: record.quantity,
        timestamp: timestamp(record.time),
    };
    message.records.iter().map(record).collect()
}

async fn write(
    product: &str,
    message: &Message,
    channel: &Channel,
    patience: Duration,
) -> Result<Verdicts, Failure> {
    let request = WriteImageProductUsageRequest {
        validate_only: false,
        product_id: product.into(),
        usage_records: records(message),
    };
    let mut client = ImageProductUsageServiceClient::new(authed(channel));
    let response = client.write(with_deadline(request, patience)).await?;
    no_conflicts(&response)?;
    let response = response.into_inner();
    written(message, response.accepted, response.rejected)
}

async fn write_of_instance(
    instance: &str,
    message: &Message,
    channel: &Channel,
    patience: Duration,
) -> Result<Verdicts, Failure> {
    let request = WriteUsageRequest {
        dry_run: false,
        product_instance_id: instance.into(),
        usage_records: records(message),
    };
    let mut client = ProductUsageServiceClient::new(authed(channel));
    let response = client.write(with_deadline(request, patience)).await?;
    no_conflicts(&response)?;
    let response = response.into_inner();
    written(message, response.accepted, response.rejected)
}

fn no_conflicts<T>(response: &Response<T>) -> Result<(), Failure> {
    match response.metadata().get("meterd-duplicate-conflicts") {
        Some(conflicts) => Err(Failure::Wrong(format!("repetitions conflict: {conflicts:?}"))),
        None => Ok(()),
    }
}

fn written(
    message: &Message,
    accepted: Vec<AcceptedUsageRecord>,
    rejected: Vec<RejectedUsageRecord>,
) -> Result<Verdicts, Failure> {
    let accepted = accepted.into_iter().map(|record| (record.uuid, Verdict::Accepted));
    let mut verdicts: Vec<_> = accepted.collect();
    for record in rejected {
        if record.reason() != Reason::Duplicate {
            return Err(Failure::Wrong(format!("{} is {:?}", record.uuid, record.reason())));
        }
        verdicts.push((record.uuid, Verdict::Duplicate));
    }
    judged(message.records.iter().map(|record| record.uuid), verdicts, Identity::Record)
}

/// Each uuid of a call must have one verdict, and nothing else may.
pub fn judged(
    uuids: impl Iterator<Item = Uuid>,
    verdicts: Vec<(String, Verdict)>,
    identity: impl Fn(Uuid) -> Identity,
) -> Result<Verdicts, Failure> {
    let told = verdicts.len();
    let by_uuid: BTreeMap<String, Verdict> = verdicts.into_iter().collect();
    let mut found = Vec::new();
    for uuid in uuids {
        let Some(verdict) = by_uuid.get(&uuid.to_string()) else {
            return Err(Failure::Wrong(format!("{uuid} has no verdict")));
        };
        found.push((identity(uuid), *verdict));
    }
    if told == found.len() {
        Ok(found)
    } else {
        Err(Failure::Wrong(format!("{told} verdicts for {} uuids", found.len())))
    }
}

async fn record_events(
    events: &[Event],
    channel: &Channel,
    patience: Duration,
) -> Result<Verdicts, Failure> {
    let event = |event: &Event| ApiUsageEvent {
        uuid: event.uuid.to_string(),
        template_uri: event.template.into(),
        http_method: "GET".into(),
        status: event.status.into(),
        timestamp: timestamp(event.time),
        count: Some(event.count),
        ..ApiUsageEvent::default()
    };
    let request = RecordApiUsageRequest { events: events.iter().map(event).collect() };
    let mut client = UsageIngestServiceClient::new(authed(channel));
    let response = client.record_api_usage(with_deadline(request, patience)).await?.into_inner();
    let mut verdicts: BTreeMap<String, Verdict> =
        events.iter().map(|event| (event.uuid.to_string(), Verdict::Accepted)).collect();
    let rejected = response.rejected.len();
    for event in response.rejected {
        let reason = event.reason();
        if reason != ApiUsageRejectionReason::Duplicate || event.conflict {
            return Err(Failure::Wrong(format!("event {} is {reason:?}", event.uuid)));
        }
        verdicts.insert(event.uuid, Verdict::Duplicate);
    }
    if response.accepted_count as usize + rejected != events.len() {
        return Err(Failure::Wrong("events are neither accepted nor rejected".into()));
    }
    let uuids = events.iter().map(|event| event.uuid);
    judged(uuids, verdicts.into_iter().collect(), Identity::Event)
}

async fn report_batch(
    id: &str,
    lines: &[Line],
    channel: &Channel,
    patience: Duration,
) -> Result<Verdicts, Failure> {
    let usage = |line: &Line| AssetUsage {
        asset_id: line.asset.clone(),
        quantity: line.quantity,
        usage_date: line.date.into(),
    };
    let asset_usages = lines.iter().map(usage).collect();
    let request = ReportUsageBatchRequest { id: id.into(), asset_usages };
    let mut client = UsageBatchServiceClient::new(authed(channel));
    let identity = Identity::Batch(id.into());
    match client.report_usage_batch(with_deadline(request, patience)).await {
        Ok(response) => {
            let processed = response.into_inner().total_asset_usages_processed;
            if usize::try_from(processed).ok() == Some(lines.len()) {
                Ok(vec![(identity, Verdict::Accepted)])
            } else {
                Err(Failure::Wrong(format!("{processed} of {} lines of {id}", lines.len())))
            }
        }
        Err(status) if status.code() == Code::AlreadyExists => {
            let details = status.get_error_details();
            let identical = details.error_info().and_then(|info| info.metadata.get("identical"));
            if identical.is_some_and(|identical| identical == "true") {
                Ok(vec![(identity, Verdict::Duplicate)])
            } else {
                Err(Failure::Wrong(format!("{id} says something else: {status:?}")))
            }
        }
        Err(status) => Err(status.into()),
    }
}
