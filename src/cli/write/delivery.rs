//! Delivers batches over a stream.

use std::{collections::VecDeque, time::Duration};

use indicatif::ProgressBar;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::input::{ProductUsage, Target};
use crate::{
    api::pb::meterd::v1::{
        RejectionReason, StreamProductUsageRequest, StreamProductUsageResponse,
        stream_product_usage_request, usage_ingest_service_client::UsageIngestServiceClient,
    },
    cli::{
        CommandError,
        connection::Connection,
        output::grouped,
        reporting::{Batch, Delivery, Interruption, Means, Rejection, Summary, interruption},
    },
};

const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Batches on their way.
pub(super) struct StreamDelivery {
    client: UsageIngestServiceClient<Connection>,
    batches: mpsc::Receiver<Batch<ProductUsage>>,
    in_flight_max: usize,
    /// Store nothing.
    validate_only: bool,
    exhausted: bool,
    /// Sent and not answered, oldest first, with their sequences.
    unanswered: VecDeque<(u64, Batch<ProductUsage>)>,
    next_sequence: u64,
    bar: ProgressBar,
}

impl Delivery for StreamDelivery {
    /// Delivers over one stream, what is unanswered first.
    async fn attempt(&mut self, summary: &mut Summary) -> Result<(), Interruption> {
        if self.unanswered.is_empty() && !self.take_batch().await {
            return Ok(());
        }
        let (outbox, requests) = mpsc::channel(self.in_flight_max);
        for (sequence, batch) in &self.unanswered {
            let request = request(*sequence, batch, self.validate_only);
            outbox.send(request).await.map_err(|_| ended())?;
        }
        let mut answers = self
            .client
            .stream_product_usage(ReceiverStream::new(requests))
            .await
            .map_err(|status| interruption(&status))?
            .into_inner();
        loop {
            let room = self.unanswered.len() < self.in_flight_max && !self.exhausted;
            if self.unanswered.is_empty() && self.exhausted {
                drop(outbox);
                // Lets the server see the stream end rather than break; everything is answered.
                let _ = timeout(FAREWELL_TIMEOUT, answers.message()).await;
                return Ok(());
            }
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer.map_err(|status| interruption(&status))?;
                    self.settle(answer.ok_or_else(ended)?, summary)?;
                }
                taken = self.batches.recv(), if room => match taken {
                    None => self.exhausted = true,
                    Some(batch) => {
                        let request = request(self.next_sequence, &batch, self.validate_only);
                        self.queue(batch);
                        // If the stream is gone, its answers say why.
                        let _ = outbox.send(request).await;
                    }
                },
            }
        }
    }

    fn unanswered(&self) -> usize {
        self.unanswered.len()
    }
}

impl StreamDelivery {
    pub(super) fn new(means: Means<ProductUsage>, validate_only: bool) -> Self {
        Self {
            client: UsageIngestServiceClient::new(means.connection),
            batches: means.batches,
            in_flight_max: means.in_flight_max,
            validate_only,
            exhausted: false,
            unanswered: VecDeque::new(),
            next_sequence: 1,
            bar: means.bar,
        }
    }

    async fn take_batch(&mut self) -> bool {
        match self.batches.recv().await {
            Some(batch) => self.queue(batch),
            None => self.exhausted = true,
        }
        !self.exhausted
    }

    fn queue(&mut self, batch: Batch<ProductUsage>) {
        self.unanswered.push_back((self.next_sequence, batch));
        self.next_sequence += 1;
    }

    /// Takes an answer, which must be that of the oldest message.
    fn settle(
        &mut self,
        answer: StreamProductUsageResponse,
        summary: &mut Summary,
    ) -> Result<(), Interruption> {
        let wrong = || {
            let error = CommandError::failed("the server answered a message that was not sent");
            Interruption::Lasting(error)
        };
        let (sequence, batch) = self.unanswered.pop_front().ok_or_else(wrong)?;
        if sequence != answer.sequence {
            return Err(wrong());
        }
        let rejections = answer.rejected.iter().map(|rejected| Rejection {
            index: rejected.index,
            reason: reason_name(rejected.reason()),
            conflict: rejected.conflict,
        });
        let counted = summary.add(&batch, answer.accepted_count, rejections);
        counted.map_err(Interruption::Lasting)?;
        self.bar.set_message(grouped(summary.answered()));
        Ok(())
    }
}

fn request(
    sequence: u64,
    batch: &Batch<ProductUsage>,
    validate_only: bool,
) -> StreamProductUsageRequest {
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
    Interruption::Passing { reason: "the server ended the stream".to_owned(), retry_after: None }
}

/// The vendor's name of a reason.
fn reason_name(reason: RejectionReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REJECTION_REASON_").unwrap_or(name)
}
