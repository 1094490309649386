//! How much each client may report in a time, by records: a token bucket each.
//!
//! A message of more records than the burst passes when the bucket is full, and what is over is owed: nothing else of the client
//! passes before it is paid. So a message of any size can be reported, and none leaps the rate.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tonic::Status;

use super::{metrics::Metrics, status};
use crate::{
    domain::{caller::Caller, token_bucket::BucketLimits},
    service::rate_limiter::RateLimiter,
};

/// The longest pause that a refused client is asked for; the debt of a large message may last longer.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// A client's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRate {
    /// Records a second, in the long run.
    pub records_per_second: NonZeroU32,
    /// Records at once, after a pause.
    pub burst: NonZeroU32,
}

/// What every client has left of its share.
#[derive(Debug)]
pub(super) struct ClientRates {
    limited: Option<(ClientRate, RateLimiter<Caller>)>,
    metrics: Arc<Metrics>,
}

impl ClientRates {
    /// `None` for no limit.
    pub(super) fn new(rate: Option<ClientRate>, metrics: Arc<Metrics>) -> Self {
        let limiter = |rate: ClientRate| {
            let (tokens, burst) = (rate.records_per_second.get(), rate.burst.get());
            RateLimiter::new(BucketLimits::new(tokens, Duration::from_secs(1), burst))
        };
        Self { limited: rate.map(|rate| (rate, limiter(rate))), metrics }
    }

    /// Takes records out of a client's share.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which to try again.
    pub(super) fn charge(&self, caller: &Caller, records: usize) -> Result<(), Status> {
        let Some((rate, limiter)) = &self.limited else { return Ok(()) };
        limiter.take(caller, records).map_err(|wait| {
            self.metrics.calls_rate_limited.inc();
            let retry_after = wait.clamp(Duration::from_millis(1), RETRY_AFTER_MAX);
            status::client_too_fast(rate, retry_after)
        })
    }

    /// Waits until a client has records left in its share, and takes them. Dropped before, it takes none.
    pub(super) async fn wait(&self, caller: &Caller, records: usize) {
        let Some((_, limiter)) = &self.limited else { return };
        let reservation = limiter.reserve(caller, records);
        if reservation.is_delayed() {
            self.metrics.messages_rate_limited.inc();
        }
        reservation.ready().await;
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::domain::id::{ClientId, OrganizationId};

    fn caller(client: &str) -> Caller {
        Caller {
            organization: OrganizationId::new("acme").unwrap(),
            client: ClientId::new(client).unwrap(),
        }
    }

    fn rates(records_per_second: u32, burst: u32) -> ClientRates {
        let rate = ClientRate {
            records_per_second: NonZeroU32::new(records_per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        ClientRates::new(Some(rate), Arc::default())
    }

    fn retry_delay(refused: &Status) -> Duration {
        refused.get_error_details().retry_info().unwrap().retry_delay.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn used_up_share_refuses_its_client_alone() {
        let rates = rates(1, 50);
        for _ in 0..2 {
            rates.charge(&caller("a"), 25).unwrap();
        }
        let refused = rates.charge(&caller("a"), 25).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(retry_delay(&refused), Duration::from_secs(25));
        assert_eq!(rates.metrics.calls_rate_limited.get(), 1);
        rates.charge(&caller("b"), 50).unwrap();
        rates.charge(&caller("a"), 0).unwrap();
        ClientRates::new(None, Arc::default()).charge(&caller("a"), usize::MAX).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn message_over_the_burst_is_paid_before_the_next() {
        let rates = rates(10, 50);
        rates.charge(&caller("a"), 1000).unwrap();
        // 950 records are owed, for longer than anybody is asked to wait.
        assert_eq!(retry_delay(&rates.charge(&caller("a"), 1).unwrap_err()), RETRY_AFTER_MAX);
        tokio::time::sleep(Duration::from_secs(95)).await;
        assert!(rates.charge(&caller("a"), 1).is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
        rates.charge(&caller("a"), 1).unwrap();
        // Another large one needs all of the burst.
        assert_eq!(
            retry_delay(&rates.charge(&caller("a"), 1000).unwrap_err()),
            Duration::from_secs(5)
        );
    }
}
