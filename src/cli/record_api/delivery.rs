//! Delivers batches in calls of their own, several at a time.

use std::{collections::BTreeMap, future::Future};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tonic::Status;

use super::input::ApiUsage;
use crate::{
    api::pb::meterd::v1::{
        ApiUsageRejectionReason, RecordApiUsageRequest, RecordApiUsageResponse,
        usage_ingest_service_client::UsageIngestServiceClient,
    },
    cli::{
        connection::Connection,
        output::grouped,
        reporting::{Batch, Delivery, Interruption, Means, Rejection, Summary, interruption},
    },
};

/// Batches on their way.
pub(super) struct CallDelivery {
    client: UsageIngestServiceClient<Connection>,
    batches: mpsc::Receiver<Batch<ApiUsage>>,
    in_flight_max: usize,
    exhausted: bool,
    /// Sent and not answered, oldest first.
    unanswered: BTreeMap<u64, Batch<ApiUsage>>,
    next_number: u64,
    bar: ProgressBar,
}

impl CallDelivery {
    pub(super) fn new(means: Means<ApiUsage>) -> Self {
        Self {
            client: UsageIngestServiceClient::new(means.connection),
            batches: means.batches,
            in_flight_max: means.in_flight_max,
            exhausted: false,
            unanswered: BTreeMap::new(),
            next_number: 1,
            bar: means.bar,
        }
    }

    /// A call with a batch; answers its number, too.
    fn call(
        &self,
        number: u64,
        batch: &Batch<ApiUsage>,
    ) -> impl Future<Output = (u64, Result<RecordApiUsageResponse, Status>)> + use<> {
        let mut client = self.client.clone();
        let request = RecordApiUsageRequest { events: batch.records.clone() };
        async move {
            let answer = client.record_api_usage(request).await;
            (number, answer.map(tonic::Response::into_inner))
        }
    }

    fn settle(
        &mut self,
        number: u64,
        answer: &RecordApiUsageResponse,
        summary: &mut Summary,
    ) -> Result<(), Interruption> {
        let Some(batch) = self.unanswered.remove(&number) else { return Ok(()) };
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

impl Delivery for CallDelivery {
    async fn attempt(&mut self, summary: &mut Summary) -> Result<(), Interruption> {
        let mut calls = FuturesUnordered::new();
        for (number, batch) in &self.unanswered {
            calls.push(self.call(*number, batch));
        }
        let mut interrupted = None;
        loop {
            let goes_on = interrupted.is_none() && !self.exhausted;
            let room = goes_on && calls.len() < self.in_flight_max;
            if calls.is_empty() && !goes_on {
                return interrupted.map_or(Ok(()), Err);
            }
            tokio::select! {
                Some((number, answer)) = calls.next() => match answer {
                    Ok(answer) => self.settle(number, &answer, summary)?,
                    // The other calls may still be answered: what is, need not be sent again.
                    Err(status) => interrupted = Some(worse(interrupted, interruption(&status))),
                },
                taken = self.batches.recv(), if room => match taken {
                    None => self.exhausted = true,
                    Some(batch) => {
                        calls.push(self.call(self.next_number, &batch));
                        self.unanswered.insert(self.next_number, batch);
                        self.next_number += 1;
                    }
                },
            }
        }
    }

    fn unanswered(&self) -> usize {
        self.unanswered.len()
    }
}

/// The one of two interruptions that matters: what lasts, or else what came first.
fn worse(first: Option<Interruption>, second: Interruption) -> Interruption {
    match (first, second) {
        (Some(first @ Interruption::Lasting(_)), _)
        | (Some(first), Interruption::Passing { .. }) => first,
        (_, second) => second,
    }
}

/// The last part of a reason's name.
fn reason_name(reason: ApiUsageRejectionReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("API_USAGE_REJECTION_REASON_").unwrap_or(name)
}
