//! Rates by key, such as a client or an organization: a token bucket each.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::domain::token_bucket::{BucketLimits, TokenBucket};

/// Buckets that may be there before those that are full again are forgotten.
const PRUNE_AT_MIN: usize = 1024;

/// Limits what each key may do in a time.
#[derive(Debug)]
pub struct RateLimiter<K> {
    limits: BucketLimits,
    began: Instant,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_key: HashMap<K, TokenBucket>,
    prune_at: usize,
}

impl<K: Eq + Hash + Clone> RateLimiter<K> {
    /// The same limits for every key.
    #[must_use]
    pub fn new(limits: BucketLimits) -> Self {
        let buckets = Buckets { by_key: HashMap::new(), prune_at: PRUNE_AT_MIN };
        Self { limits, began: Instant::now(), buckets: Mutex::new(buckets) }
    }

    /// Takes tokens of a key if there are enough.
    ///
    /// # Errors
    /// The time after which there are.
    pub fn take(&self, key: &K, tokens: usize) -> Result<(), Duration> {
        self.with(key, |limits, bucket, now| bucket.take(limits, tokens, now))
    }

    /// Takes tokens of a key that may be used once [`Reservation::ready`] returns, in the order of the reservations.
    pub fn reserve<'a>(&'a self, key: &'a K, tokens: usize) -> Reservation<'a, K> {
        let wait = self.with(key, |limits, bucket, now| bucket.reserve(limits, tokens, now));
        Reservation { limiter: self, key, tokens, wait }
    }

    fn with<T>(
        &self,
        key: &K,
        act: impl FnOnce(&BucketLimits, &mut TokenBucket, Duration) -> T,
    ) -> T {
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.by_key.get_mut(key) {
            return act(&self.limits, bucket, now);
        }
        if buckets.by_key.len() >= buckets.prune_at {
            // What is full says no more than what is not there.
            buckets.by_key.retain(|_, bucket| !bucket.is_full(&self.limits, now));
            buckets.prune_at = PRUNE_AT_MIN.max(buckets.by_key.len() * 2);
        }
        let full = || TokenBucket::full(&self.limits, now);
        act(&self.limits, buckets.by_key.entry(key.clone()).or_insert_with(full), now)
    }
}

/// Tokens that are taken and not used yet. Dropped before they are, they are put back.
#[derive(Debug)]
pub struct Reservation<'a, K: Eq + Hash + Clone> {
    limiter: &'a RateLimiter<K>,
    key: &'a K,
    tokens: usize,
    wait: Duration,
}

impl<K: Eq + Hash + Clone> Reservation<'_, K> {
    /// Whether there are not enough tokens yet.
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        !self.wait.is_zero()
    }

    /// Waits until there are enough.
    pub async fn ready(mut self) {
        if self.is_delayed() {
            sleep(self.wait).await;
        }
        self.tokens = 0;
    }
}

impl<K: Eq + Hash + Clone> Drop for Reservation<'_, K> {
    fn drop(&mut self) {
        if self.tokens > 0 {
            let tokens = self.tokens;
            self.limiter.with(self.key, |limits, bucket, now| bucket.put_back(limits, tokens, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> RateLimiter<usize> {
        RateLimiter::new(BucketLimits::new(10, Duration::from_secs(1), 20))
    }

    #[tokio::test(start_paused = true)]
    async fn keys_have_buckets_of_their_own() {
        let limiter = limiter();
        assert_eq!(limiter.take(&1, 20), Ok(()));
        assert_eq!(limiter.take(&1, 5), Err(Duration::from_millis(500)));
        assert_eq!(limiter.take(&2, 20), Ok(()));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(limiter.take(&1, 5), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_takes_as_long_as_the_debt_lasts() {
        let limiter = limiter();
        let reserved = limiter.reserve(&1, 120);
        assert!(!reserved.is_delayed());
        reserved.ready().await;
        let began = Instant::now();
        let reserved = limiter.reserve(&1, 1);
        assert!(reserved.is_delayed());
        reserved.ready().await;
        assert_eq!(began.elapsed(), Duration::from_millis(10_100));
    }

    #[tokio::test(start_paused = true)]
    async fn given_up_wait_costs_nothing() {
        let limiter = limiter();
        limiter.take(&1, 20).unwrap();
        let given_up = limiter.reserve(&1, 1000).ready();
        let given_up = tokio::time::timeout(Duration::from_secs(1), given_up).await;
        assert!(given_up.is_err());
        assert_eq!(limiter.take(&1, 10), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_are_forgotten() {
        let limiter = limiter();
        for key in 0..PRUNE_AT_MIN {
            limiter.take(&key, 1).unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        limiter.take(&7, 20).unwrap();
        limiter.take(&PRUNE_AT_MIN, 1).unwrap();
        assert_eq!(limiter.buckets.lock().by_key.len(), 2);
        assert!(limiter.take(&7, 1).is_err(), "what is owed is not forgotten");
    }
}
