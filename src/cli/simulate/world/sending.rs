//! Making calls: what a gRPC handler does with them, without the wire.

use std::time::Duration;

use super::{Engine, World};
use crate::{
    cli::simulate::{
        clients::{Call, Fate, Report},
        model::BatchOutcome,
    },
    domain::limits::WRITE_RECORDS_MAX,
    service::{
        FirstBatch, ServiceError,
        api_usage::EventVerdict,
        committer::Admission,
        product_usage::{QueuedReport, RecordVerdict, UsageReport},
        usage_batches::RawAssetUsage,
    },
};

/// What a call came to.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) enum Answer {
    Records(Vec<RecordVerdict>),
    Events(Vec<EventVerdict>),
    Batch(BatchOutcome),
    /// The client did not wait for it.
    Unheard,
    /// It failed as a whole.
    Failed(ServiceError),
}

/// Nothing is under way for longer.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

impl World {
    /// Makes calls at the same time, those of each kind in their order; answers what each came to.
    ///
    /// Records, events and batches cannot stand in each other's way, so the order among kinds decides nothing.
    pub(in crate::cli::simulate) fn send_all(&self, calls: &[Call]) -> anyhow::Result<Vec<Answer>> {
        let engine = self.engine()?;
        let answers = self.wait(engine.answers(calls));
        // Calls that were hung up go on: not with another clock, and not while the engine is ended.
        let drained = self.wait(async {
            tokio::time::timeout(DRAIN_PATIENCE, async {
                while engine.committer.queued_records() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await
        });
        anyhow::ensure!(drained.is_ok(), "calls are under way for longer than {DRAIN_PATIENCE:?}");
        Ok(answers)
    }

    /// Makes one call and waits for it.
    pub(in crate::cli::simulate) fn send(&self, call: &Call) -> anyhow::Result<Answer> {
        Ok(self.wait(self.engine()?.answer(call)))
    }
}

impl Engine {
    async fn answers(&self, calls: &[Call]) -> Vec<Answer> {
        let product = async {
            let mut queued = Vec::new();
            for (place, call) in calls.iter().enumerate() {
                if let Report::Product(report) = &call.report {
                    queued.push((place, self.queue(call, report).await));
                }
            }
            let mut answers = Vec::with_capacity(queued.len());
            for (place, queued) in queued {
                answers.push((place, self.finish(queued).await));
            }
            answers
        };
        let others = async {
            let mut answers = Vec::new();
            for (place, call) in calls.iter().enumerate() {
                if !matches!(call.report, Report::Product(_)) {
                    answers.push((place, self.answer(call).await));
                }
            }
            answers
        };
        let (mut answers, others) = tokio::join!(product, others);
        answers.extend(others);
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn answer(&self, call: &Call) -> Answer {
        match &call.report {
            Report::Product(report) => {
                let queued = self.queue(call, report).await;
                self.finish(queued).await
            }
            Report::ApiUsage(events) => {
                match self.api_usage.record(&call.caller, events.clone()).await {
                    Ok(verdicts) => Answer::Events(verdicts),
                    Err(error) => Answer::Failed(error),
                }
            }
            Report::Batch { id, usages } => self.batch(call, id, usages.clone()).await,
        }
    }

    /// Queues a report of product usage; `None` if the client hangs up then.
    async fn queue(
        &self,
        call: &Call,
        report: &UsageReport,
    ) -> Result<Option<QueuedReport>, ServiceError> {
        let (report, records_max) = (report.clone(), WRITE_RECORDS_MAX);
        let queued = self.usage.queue(&call.caller, report, records_max, Admission::Wait).await?;
        Ok((call.fate != Fate::HungUp).then_some(queued))
    }

    async fn finish(&self, queued: Result<Option<QueuedReport>, ServiceError>) -> Answer {
        let finished = match queued {
            Ok(Some(queued)) => self.usage.finish(queued).await,
            Ok(None) => return Answer::Unheard,
            Err(error) => Err(error),
        };
        match finished {
            Ok(judged) => Answer::Records(judged.verdicts),
            Err(error) => Answer::Failed(error),
        }
    }

    async fn batch(&self, call: &Call, id: &str, usages: Vec<RawAssetUsage>) -> Answer {
        match self.batches.report(&call.caller, id, usages).await {
            Ok(usages) => Answer::Batch(BatchOutcome::Recorded { usages }),
            Err(ServiceError::BatchRecorded { first: Some(first), .. }) => {
                let FirstBatch { identical, usages } = first;
                Answer::Batch(BatchOutcome::Taken { identical, usages })
            }
            Err(ServiceError::InvalidBatch { violations, unknown_assets }) => {
                let violations = violations.len();
                Answer::Batch(BatchOutcome::Invalid { violations, unknown_assets })
            }
            Err(error) => Answer::Failed(error),
        }
    }
}
