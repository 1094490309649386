//! Failed sign-ins wait for their answers, longer each time. Nobody is locked out: a right secret is never made
//! to wait, so that who knows a client's id cannot keep it out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::domain::credential::CredentialHash;

/// Ids whose failures are remembered; others push them out.
const REMEMBERED_MAX: usize = 4096;
/// After this long without failures, they are forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(15);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// How often each id failed of late.
#[derive(Debug)]
pub(super) struct Slowdown {
    failures: Cache<CredentialHash, Failures>,
    waiting: Semaphore,
}

impl Slowdown {
    /// Up to `waiting_max` failures wait at once.
    pub(super) fn new(waiting_max: usize) -> Self {
        let waiting = Semaphore::new(waiting_max.min(Semaphore::MAX_PERMITS));
        Self { failures: Cache::new(REMEMBERED_MAX), waiting }
    }

    /// Notes a failure, and waits as long as its answer must. If too many are waiting it is over at once: waiting costs us
    /// a place, and who guesses a secret of 256 random bits gains nothing by being fast.
    pub(super) async fn failed(&self, client_id: &str, now: Timestamp) {
        let delay = self.note(client_id, now);
        if let Ok(_waiting) = self.waiting.try_acquire() {
            tokio::time::sleep(delay).await;
        }
    }

    fn note(&self, client_id: &str, now: Timestamp) -> Duration {
        let key = CredentialHash::of(client_id.as_bytes());
        let recent = |failures: &Failures| now.duration_since(failures.last) < FORGOTTEN_AFTER;
        let earlier = self.failures.get(&key).filter(recent).map_or(0, |failures| failures.count);
        self.failures.insert(key, Failures { count: earlier.saturating_add(1), last: now });
        FIRST_DELAY.saturating_mul(1 << earlier.min(16)).min(DELAY_MAX)
    }

    /// Forgets the failures of an id.
    pub(super) fn succeeded(&self, client_id: &str) {
        self.failures.remove(&CredentialHash::of(client_id.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_are_forgotten() {
        let slowdown = Slowdown::new(1);
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let delays: Vec<_> = (0..20).map(|_| slowdown.note("agent", now)).collect();
        assert_eq!(delays[..3], [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]);
        assert_eq!(delays[19], DELAY_MAX);
        assert_eq!(slowdown.note("other", now), FIRST_DELAY);
        assert_eq!(slowdown.note("agent", now + FORGOTTEN_AFTER), FIRST_DELAY);
        slowdown.succeeded("agent");
        assert_eq!(slowdown.note("agent", now), FIRST_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_failures_wait() {
        let slowdown = Slowdown::new(2);
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let began = tokio::time::Instant::now();
        let over_at = async |id: &str| {
            slowdown.failed(id, now).await;
            began.elapsed()
        };
        let (a, b, c) = tokio::join!(over_at("a"), over_at("b"), over_at("c"));
        assert!(a >= FIRST_DELAY && b >= FIRST_DELAY, "{a:?} {b:?}");
        assert!(c < FIRST_DELAY, "{c:?}");
    }
}
