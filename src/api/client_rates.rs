//! How much each client may report in a time: the generic cell rate algorithm, charged by records.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
};
use tonic::Status;

use super::status;
use crate::domain::caller::Caller;

/// A client's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRate {
    /// Records a second, in the long run.
    pub records_per_second: NonZeroU32,
    /// Records at once, after a pause.
    pub burst: NonZeroU32,
}

/// What every client has left of its share. Keys are clients that have signed in, so there are only so many.
pub(super) struct ClientRates(Option<(ClientRate, DefaultKeyedRateLimiter<Caller>)>);

impl std::fmt::Debug for ClientRates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClientRates").field(&self.0.as_ref().map(|(rate, _)| rate)).finish()
    }
}

impl ClientRates {
    /// `None` for no limit.
    pub(super) fn new(rate: Option<ClientRate>) -> Self {
        Self(rate.map(|rate| {
            let quota = Quota::per_second(rate.records_per_second).allow_burst(rate.burst);
            (rate, RateLimiter::keyed(quota))
        }))
    }

    /// Takes records out of a client's share.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which there is enough.
    pub(super) fn charge(&self, caller: &Caller, records: usize) -> Result<(), Status> {
        let Some((rate, limiter)) = &self.0 else { return Ok(()) };
        let Some(records) = cost(records, rate) else { return Ok(()) };
        match limiter.check_key_n(caller, records) {
            // More than a burst cannot be asked for; see `cost`.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(MonotonicClock.now());
                Err(status::client_too_fast(
                    rate.records_per_second.get(),
                    wait.max(Duration::from_millis(1)),
                ))
            }
        }
    }

    /// Waits until a client has records left in its share, and takes them.
    pub(super) async fn wait(&self, caller: &Caller, records: usize) {
        let Some((rate, limiter)) = &self.0 else { return };
        let Some(records) = cost(records, rate) else { return };
        // More than a burst cannot be asked for; see `cost`.
        let _ = limiter.until_key_n_ready(caller, records).await;
    }
}

/// What a message costs: its records, but no more than a burst, or it could never pass.
fn cost(records: usize, rate: &ClientRate) -> Option<NonZeroU32> {
    let records = u32::try_from(records).unwrap_or(u32::MAX).min(rate.burst.get());
    NonZeroU32::new(records)
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
        ClientRates::new(Some(ClientRate {
            records_per_second: NonZeroU32::new(records_per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }))
    }

    #[test]
    fn a_share_is_used_up_and_nobody_else_is() {
        let rates = rates(1, 50);
        for _ in 0..2 {
            rates.charge(&caller("a"), 25).unwrap();
        }
        let refused = rates.charge(&caller("a"), 25).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!(Duration::from_secs(20) < wait && wait <= Duration::from_secs(25), "{wait:?}");
        rates.charge(&caller("b"), 50).unwrap();
        rates.charge(&caller("a"), 0).unwrap();
        // A message over the burst costs a burst.
        rates.charge(&caller("c"), 1000).unwrap();
        assert!(rates.charge(&caller("c"), 1).is_err());
        ClientRates::new(None).charge(&caller("a"), usize::MAX).unwrap();
    }
}
