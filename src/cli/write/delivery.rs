//! Delivers batches over one stream after another until every one is answered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{batches::Batch, input::Target, summary::Summary};
use crate::{
    api::pb::meterd::v1::{
        StreamProductUsageRequest, StreamProductUsageResponse, stream_product_usage_request,
        usage_ingest_service_client::UsageIngestServiceClient,
    },
    cli::{
        CommandError, CommandResult,
        connection::{Connection, call_failed, describe, is_passing},
        output::grouped,
        terminal::tell,
    },
};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How to deliver.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeliveryOptions {
    /// Messages that may wait for their answers.
    pub(super) in_flight_max: usize,
    /// How long to go on without any answer.
    pub(super) retry_for: Duration,
    /// Store nothing.
    pub(super) validate_only: bool,
}

/// Why a stream ended early.
enum Interruption {
    /// Trying again may help, and is safe.
    Passing(String),
    /// It will not.
    Lasting(CommandError),
}

/// Batches on their way.
pub(super) struct Delivery<'a> {
    client: UsageIngestServiceClient<Connection>,
    options: DeliveryOptions,
    batches: mpsc::Receiver<Batch>,
    exhausted: bool,
    /// Sent and not answered, oldest first, with their sequences.
    unanswered: VecDeque<(u64, Batch)>,
    next_sequence: u64,
    summary: &'a mut Summary,
    bar: ProgressBar,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        connection: Connection,
        options: DeliveryOptions,
        batches: mpsc::Receiver<Batch>,
        summary: &'a mut Summary,
        bar: ProgressBar,
    ) -> Self {
        Self {
            client: UsageIngestServiceClient::new(connection),
            options,
            batches,
            exhausted: false,
            unanswered: VecDeque::new(),
            next_sequence: 1,
            summary,
            bar,
        }
    }

    /// Delivers everything, through as many streams as it takes.
    pub(super) async fn run(mut self) -> CommandResult {
        let mut backoff = BACKOFF_FIRST;
        let mut stuck_since: Option<(Instant, u64)> = None;
        loop {
            let reason = match self.stream().await {
                Ok(()) => return Ok(()),
                Err(Interruption::Lasting(error)) => return Err(error),
                Err(Interruption::Passing(reason)) => reason,
            };
            let answered = self.summary.answered();
            let since = match stuck_since {
                Some((since, before)) if before == answered => since,
                _ => {
                    backoff = BACKOFF_FIRST;
                    Instant::now()
                }
            };
            stuck_since = Some((since, answered));
            if since.elapsed() >= self.options.retry_for {
                return Err(CommandError::failed(format!(
                    "gave up after {} without an answer: {reason}\nrun the same command again: what was \
                     accepted cannot count twice",
                    humantime::format_duration(self.options.retry_for)
                )));
            }
            self.bar.suspend(|| {
                tell(format_args!(
                    "{reason}; {} messages without an answer are sent again in {}",
                    self.unanswered.len(),
                    humantime::format_duration(backoff)
                ));
            });
            self.summary.reconnects += 1;
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Delivers over one stream, what is unanswered first.
    async fn stream(&mut self) -> Result<(), Interruption> {
        if self.unanswered.is_empty() && !self.take_batch().await {
            return Ok(());
        }
        let (outbox, requests) = mpsc::channel(self.options.in_flight_max);
        for (sequence, batch) in &self.unanswered {
            let request = request(*sequence, batch, self.options.validate_only);
            outbox.send(request).await.map_err(|_| ended())?;
        }
        let mut answers = self
            .client
            .stream_product_usage(ReceiverStream::new(requests))
            .await
            .map_err(interruption)?
            .into_inner();
        loop {
            let room = self.unanswered.len() < self.options.in_flight_max && !self.exhausted;
            if self.unanswered.is_empty() && self.exhausted {
                drop(outbox);
                // Lets the server see the stream end rather than break; everything is answered.
                let _ = timeout(FAREWELL_TIMEOUT, answers.message()).await;
                return Ok(());
            }
            tokio::select! {
                answer = answers.message() => {
                    self.settle(answer.map_err(interruption)?.ok_or_else(ended)?)?;
                }
                taken = self.batches.recv(), if room => match taken {
                    None => self.exhausted = true,
                    Some(batch) => {
                        let request = request(self.next_sequence, &batch, self.options.validate_only);
                        self.queue(batch);
                        // If the stream is gone, its answers say why.
                        let _ = outbox.send(request).await;
                    }
                },
            }
        }
    }

    async fn take_batch(&mut self) -> bool {
        match self.batches.recv().await {
            Some(batch) => self.queue(batch),
            None => self.exhausted = true,
        }
        !self.exhausted
    }

    fn queue(&mut self, batch: Batch) {
        self.unanswered.push_back((self.next_sequence, batch));
        self.next_sequence += 1;
    }

    /// Takes an answer, which must be that of the oldest message.
    fn settle(&mut self, answer: StreamProductUsageResponse) -> Result<(), Interruption> {
        let wrong = || {
            let error = CommandError::failed("the server answered a message that was not sent");
            Interruption::Lasting(error)
        };
        let (sequence, batch) = self.unanswered.pop_front().ok_or_else(wrong)?;
        if sequence != answer.sequence {
            return Err(wrong());
        }
        self.summary.add(&batch, &answer).map_err(Interruption::Lasting)?;
        self.bar.set_message(grouped(self.summary.answered()));
        Ok(())
    }
}

fn request(sequence: u64, batch: &Batch, validate_only: bool) -> StreamProductUsageRequest {
    let target = match &batch.target {
        Target::Product(id) => stream_product_usage_request::Target::ProductId(id.to_string()),
        Target::Instance(id) => {
            stream_product_usage_request::Target::ProductInstanceId(id.to_string())
        }
    };
    let usage_records = batch.records.clone();
    StreamProductUsageRequest { sequence, target: Some(target), usage_records, validate_only }
}

fn ended() -> Interruption {
    Interruption::Passing("the server ended the stream".to_owned())
}

fn interruption(status: Status) -> Interruption {
    if is_passing(&status) {
        Interruption::Passing(describe(&status))
    } else {
        Interruption::Lasting(call_failed(&status))
    }
}
