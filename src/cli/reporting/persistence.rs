//! Going on until everything is answered.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::Summary;
use crate::cli::{
    CommandError, CommandResult,
    connection::{call_failed, describe, is_passing},
    terminal::tell,
};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Why an attempt ended early.
pub(in crate::cli) enum Interruption {
    /// Trying again may help, and is safe.
    Passing {
        /// What happened.
        reason: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// It will not.
    Lasting(CommandError),
}

/// Batches on their way.
pub(in crate::cli) trait Delivery {
    /// Sends what is unanswered and then the rest, until everything is answered or something goes wrong.
    async fn attempt(&mut self, summary: &mut Summary) -> Result<(), Interruption>;
    /// Messages that were sent and not answered.
    fn unanswered(&self) -> usize;
}

/// How long to go on.
pub(super) struct Persistence {
    /// Without any answer.
    pub(super) retry_for: Duration,
    pub(super) bar: ProgressBar,
}

impl Persistence {
    /// Delivers everything, in as many attempts as it takes.
    pub(super) async fn deliver(
        &self,
        delivery: &mut impl Delivery,
        summary: &mut Summary,
    ) -> CommandResult {
        let mut backoff = BACKOFF_FIRST;
        let mut stuck_since: Option<(Instant, u64)> = None;
        loop {
            let (reason, retry_after) = match delivery.attempt(summary).await {
                Ok(()) => return Ok(()),
                Err(Interruption::Lasting(error)) => return Err(error),
                Err(Interruption::Passing { reason, retry_after }) => (reason, retry_after),
            };
            let answered = summary.answered();
            let since = match stuck_since {
                Some((since, before)) if before == answered => since,
                _ => {
                    backoff = BACKOFF_FIRST;
                    Instant::now()
                }
            };
            stuck_since = Some((since, answered));
            if since.elapsed() >= self.retry_for {
                return Err(CommandError::failed(format!(
                    "gave up after {} without an answer: {reason}\nrun the same command again: what was \
                     accepted cannot count twice",
                    humantime::format_duration(self.retry_for)
                )));
            }
            let pause = backoff.max(retry_after.unwrap_or_default().min(self.retry_for));
            self.bar.suspend(|| {
                tell(format_args!(
                    "{reason}; {} messages without an answer are sent again in {}",
                    delivery.unanswered(),
                    humantime::format_duration(rounded(pause))
                ));
            });
            summary.reconnects += 1;
            tokio::time::sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// To milliseconds: a server may ask for odd pauses.
fn rounded(pause: Duration) -> Duration {
    Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}

/// What a failed call means for the delivery.
pub(in crate::cli) fn interruption(status: &Status) -> Interruption {
    if !is_passing(status) {
        return Interruption::Lasting(call_failed(status));
    }
    let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Interruption::Passing { reason: describe(status), retry_after }
}
