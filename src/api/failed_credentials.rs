//! Credentials that nobody has are counted by address. From an address with many of them, refusals wait before they are
//! answered, and the log says so. Credentials that are right never wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

use super::{limit::Limit, peer_address::AddressGroup};

/// Addresses whose failures are remembered; others push them out.
const REMEMBERED_MAX: usize = 4096;
/// After this long without failures, they are forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// So many are answered at once: tokens end, and many clients may have one address.
const FREE_FAILURES: u32 = 10;
const FIRST_DELAY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// How often credentials failed of late, by address.
#[derive(Debug)]
pub(super) struct FailedCredentials {
    failures: Cache<AddressGroup, Failures>,
    waiting: Limit<AddressGroup>,
    delay_max: Duration,
}

impl FailedCredentials {
    /// Up to `waiting_max` refusals wait at once, a quarter of them from one address, and for `delay_max` at most.
    pub(super) fn new(waiting_max: usize, delay_max: Duration) -> Self {
        let waiting = Limit::new(waiting_max, waiting_max / 4);
        Self { failures: Cache::new(REMEMBERED_MAX), waiting, delay_max }
    }

    /// Notes a failure, and waits as long as its answer must. If too many are waiting it is over at once: waiting costs us
    /// memory, and who guesses 32 random characters gains nothing by being fast.
    pub(super) async fn failed(&self, address: AddressGroup, now: Timestamp) {
        let failures = self.note(address, now);
        // A line for each doubling says how it goes on; which credentials they were is nobody's business.
        if failures.is_power_of_two() {
            tracing::warn!(%address, failures, "credentials that are not valid were refused");
        }
        let delay = delay_after(failures).min(self.delay_max);
        if !delay.is_zero()
            && let Ok(_waiting) = self.waiting.take(&address)
        {
            tokio::time::sleep(delay).await;
        }
    }

    fn note(&self, address: AddressGroup, now: Timestamp) -> u32 {
        let recent = |failures: &Failures| now.duration_since(failures.last) < FORGOTTEN_AFTER;
        let earlier = self.failures.get(&address).filter(recent);
        let count = earlier.map_or(0, |failures| failures.count).saturating_add(1);
        self.failures.insert(address, Failures { count, last: now });
        count
    }
}

fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(over) => FIRST_DELAY.saturating_mul(1 << over.min(16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY_MAX: Duration = Duration::from_secs(1);

    fn address(text: &str) -> AddressGroup {
        AddressGroup::of_address(text.parse().unwrap())
    }

    #[test]
    fn failures_are_counted_by_address_and_forgotten() {
        let failed = FailedCredentials::new(8, DELAY_MAX);
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let (guesser, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let counts: Vec<_> = (0..20).map(|_| failed.note(guesser, now)).collect();
        assert_eq!(counts, (1..=20).collect::<Vec<_>>());
        assert_eq!(failed.note(other, now), 1);
        assert_eq!(failed.note(guesser, now + FORGOTTEN_AFTER), 1);
    }

    #[test]
    fn delays_begin_late_and_grow() {
        let delays = [1, FREE_FAILURES, FREE_FAILURES + 1, FREE_FAILURES + 2].map(delay_after);
        assert_eq!(delays, [Duration::ZERO, Duration::ZERO, FIRST_DELAY, FIRST_DELAY * 2]);
        assert!(delay_after(u32::MAX) > DELAY_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_refusals_are_few_per_address() {
        let failed = FailedCredentials::new(8, DELAY_MAX);
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let (guesser, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..1000 {
            failed.note(guesser, now);
            failed.note(other, now);
        }
        let began = tokio::time::Instant::now();
        let over_at = async |address| {
            failed.failed(address, now).await;
            began.elapsed()
        };
        let over =
            tokio::join!(over_at(guesser), over_at(guesser), over_at(guesser), over_at(other));
        assert_eq!(over, (DELAY_MAX, DELAY_MAX, Duration::ZERO, DELAY_MAX));
    }
}
