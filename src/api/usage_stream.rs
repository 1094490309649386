//! The usage stream: many messages under way at once, answered in their order.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::{
    client_rates::ClientRates,
    convert::product_usage::{from_stream, to_stream},
    metrics::Metrics,
    pb::meterd::v1::{StreamProductUsageRequest, StreamProductUsageResponse},
    status,
};
use crate::{
    auth::Principal,
    domain::limits::STREAM_RECORDS_MAX,
    service::{committer::Admission, product_usage::ProductUsage},
};

type Answer = Result<StreamProductUsageResponse, Status>;

/// Serves the method StreamProductUsage of `meterd.v1.UsageIngestService`.
#[derive(Debug, Clone)]
pub(super) struct UsageStream {
    pub(super) usage: Arc<ProductUsage>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rates: Arc<ClientRates>,
    /// Messages of one stream that may be under way.
    pub(super) messages_in_flight_max: usize,
}

impl UsageStream {
    /// Queues one message, and answers what its answer will be. Both run as tasks of their own: a caller
    /// that hangs up does not stop them.
    async fn queue(
        &self,
        principal: &Principal,
        message: StreamProductUsageRequest,
    ) -> Result<JoinHandle<Answer>, Status> {
        let sequence = message.sequence;
        let in_message = move |error| status::in_message(sequence, error);
        let report = from_stream(message).map_err(in_message)?;
        // A stream that is too fast is slowed down and never refused.
        self.rates.wait(&principal.caller, report.records.len()).await;
        let (usage, caller) = (Arc::clone(&self.usage), principal.caller.clone());
        let queueing = tokio::spawn(
            async move { usage.queue(&caller, report, STREAM_RECORDS_MAX, Admission::Wait).await }
                .in_current_span(),
        );
        let queued = queueing.await.map_err(|_| panicked())?.map_err(in_message)?;
        let (usage, metrics) = (Arc::clone(&self.usage), Arc::clone(&self.metrics));
        let finishing = async move {
            let judged = usage.finish(queued).await.map_err(in_message)?;
            metrics.count_records(&judged.verdicts);
            Ok(to_stream(sequence, judged))
        };
        Ok(tokio::spawn(finishing.in_current_span()))
    }

    /// The messages' answers to come, in their order. A message is queued before the next one is looked at, so
    /// the first of two that contradict each other wins; and nothing after one that breaks the rules is taken.
    pub(super) fn answers(
        self,
        principal: Principal,
        messages: Streaming<StreamProductUsageRequest>,
    ) -> impl Stream<Item = Answer> {
        let messages_in_flight_max = self.messages_in_flight_max.max(1);
        let answers = stream::unfold(Some((self, principal, messages)), |state| async {
            let (handler, principal, mut messages) = state?;
            let queued = match messages.next().await? {
                Ok(message) => handler.queue(&principal, message).await,
                Err(status) => Err(status),
            };
            let goes_on = queued.is_ok();
            let answer = async move { queued?.await.unwrap_or_else(|_| Err(panicked())) };
            Some((answer, goes_on.then_some((handler, principal, messages))))
        });
        // Reads ahead this far and no further: that is the back-pressure.
        answers.buffered(messages_in_flight_max)
    }
}

fn panicked() -> Status {
    Status::internal("internal error")
}
