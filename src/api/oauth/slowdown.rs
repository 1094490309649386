//! Failed sign-ins wait for their answers, longer each time. Nobody is locked out: a right secret is never made
//! to wait, so that who knows a client's id cannot keep it out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

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
pub(super) struct Slowdown(Cache<CredentialHash, Failures>);

impl Default for Slowdown {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }
}

impl Slowdown {
    /// Notes a failure; how long its answer must wait.
    pub(super) fn failed(&self, client_id: &str, now: Timestamp) -> Duration {
        let key = CredentialHash::of(client_id.as_bytes());
        let recent = |failures: &Failures| now.duration_since(failures.last) < FORGOTTEN_AFTER;
        let earlier = self.0.get(&key).filter(recent).map_or(0, |failures| failures.count);
        self.0.insert(key, Failures { count: earlier.saturating_add(1), last: now });
        FIRST_DELAY.saturating_mul(1 << earlier.min(16)).min(DELAY_MAX)
    }

    /// Forgets the failures of an id.
    pub(super) fn succeeded(&self, client_id: &str) {
        self.0.remove(&CredentialHash::of(client_id.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_are_forgotten() {
        let slowdown = Slowdown::default();
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let delays: Vec<_> = (0..20).map(|_| slowdown.failed("agent", now)).collect();
        assert_eq!(delays[..3], [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]);
        assert_eq!(delays[19], DELAY_MAX);
        assert_eq!(slowdown.failed("other", now), FIRST_DELAY);
        assert_eq!(slowdown.failed("agent", now + FORGOTTEN_AFTER), FIRST_DELAY);
        slowdown.succeeded("agent");
        assert_eq!(slowdown.failed("agent", now), FIRST_DELAY);
    }
}
