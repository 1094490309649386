//! Callers: each has one call under way at a time, or one stream.

pub(super) mod postgres;
pub(super) mod rest;
pub(super) mod stream;
pub(super) mod unary;

use std::{sync::Arc, time::Duration};

use tonic::{Code, Status};

use super::{
    measure::Run,
    verdict::{Failure, Malformed, Verdict},
    workload::{Lane, Message, MessageShape},
};
use crate::api::metrics::code_name;

/// After a failed call of a closed loop. In an open loop the next start is as good a time as any.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// A way to report a message and to have an answer.
pub(super) trait Transport: Send {
    /// Reports a message. Afterwards there is a verdict for each of its records.
    fn call(
        &mut self,
        message: &Message,
        verdicts: &mut Vec<Verdict>,
    ) -> impl Future<Output = Result<Result<(), Malformed>, Failure>> + Send;
}

/// Where a caller belongs.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) run: Arc<Run>,
    pub(super) connection: usize,
    pub(super) shape: MessageShape,
}

impl Caller {
    /// Calls whenever the schedule says so. Answers the lane, for a later run.
    pub(super) async fn call_in_turn(self, mut transport: impl Transport, mut lane: Lane) -> Lane {
        let mut message = Message::default();
        let mut verdicts = Vec::with_capacity(self.shape.records);
        while let Some(intended) = self.run.schedule.next().await {
            lane.compose(&mut message, self.shape);
            match transport.call(&message, &mut verdicts).await {
                Ok(read) => {
                    if read.is_err() {
                        all_missing(&message, &mut verdicts);
                    }
                    lane.settle(&message);
                    self.run.answered(self.connection, intended, &message, &verdicts);
                }
                Err(failure) => {
                    message.uncertain |= !failure.nothing_stored;
                    lane.keep(std::mem::take(&mut message));
                    self.failed(&failure).await;
                }
            }
        }
        lane
    }

    async fn failed(&self, failure: &Failure) {
        self.run.failed(self.connection, failure);
        if !self.run.schedule.is_open_loop() {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

/// An answer that cannot be read gives no verdict.
fn all_missing(message: &Message, verdicts: &mut Vec<Verdict>) {
    verdicts.clear();
    verdicts.resize(message.records.len(), Verdict::Missing);
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self {
            code: code_name(status.code()).to_owned(),
            message: status.message().to_owned(),
            nothing_stored: matches!(
                status.code(),
                Code::ResourceExhausted
                    | Code::InvalidArgument
                    | Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::Unimplemented
            ),
        }
    }
}
