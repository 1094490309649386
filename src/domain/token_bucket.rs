//! Token bucket: how much may happen in a time, where what happens at once may be more than the bucket holds.
//!
//! A cost within the burst needs as many tokens. A larger one needs a full bucket and takes it into debt, which is paid before
//! anything else passes. So nothing is impossible, and in the long run no more passes than the rate allows and one burst.

use std::time::Duration;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLimits {
    tokens: u32,
    interval: Duration,
    burst: u32,
}

impl BucketLimits {
    /// So many tokens in each interval, and at most `burst` at once; each at least 1, and a nanosecond.
    #[must_use]
    pub fn new(tokens: u32, interval: Duration, burst: u32) -> Self {
        let interval = interval.max(Duration::from_nanos(1));
        Self { tokens: tokens.max(1), interval, burst: burst.max(1) }
    }

    /// A token in the bucket's own unit, in which a nanosecond adds a whole number.
    fn token(&self) -> i128 {
        i128::try_from(self.interval.as_nanos()).unwrap_or(i128::MAX >> 64)
    }

    fn capacity(&self) -> i128 {
        i128::from(self.burst) * self.token()
    }

    fn cost(&self, tokens: usize) -> i128 {
        // Nothing that is sent in one message comes near.
        i128::from(u32::try_from(tokens).unwrap_or(u32::MAX)) * self.token()
    }
}

/// The tokens that are left. Times are since any moment that stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Negative while in debt.
    level: i128,
    filled: Duration,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn full(limits: &BucketLimits, now: Duration) -> Self {
        Self { level: limits.capacity(), filled: now }
    }

    /// Whether it is as one that nobody took anything from.
    #[must_use]
    pub fn is_full(&mut self, limits: &BucketLimits, now: Duration) -> bool {
        self.fill(limits, now);
        self.level >= limits.capacity()
    }

    /// Takes a cost out if there is enough.
    ///
    /// # Errors
    /// The time after which there is, if nothing else is taken.
    pub fn take(
        &mut self,
        limits: &BucketLimits,
        tokens: usize,
        now: Duration,
    ) -> Result<(), Duration> {
        let wait = self.wait(limits, tokens, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.level -= limits.cost(tokens);
        Ok(())
    }

    /// Takes a cost out now, and answers how long to wait until there would have been enough: whoever reserves later waits
    /// for longer, so costs pass in their order.
    pub fn reserve(&mut self, limits: &BucketLimits, tokens: usize, now: Duration) -> Duration {
        let wait = self.wait(limits, tokens, now);
        self.level = self.level.saturating_sub(limits.cost(tokens));
        wait
    }

    /// Puts back what was reserved and not used.
    pub fn put_back(&mut self, limits: &BucketLimits, tokens: usize, now: Duration) {
        self.fill(limits, now);
        self.level = self.level.saturating_add(limits.cost(tokens)).min(limits.capacity());
    }

    /// How long until there is enough.
    fn wait(&mut self, limits: &BucketLimits, tokens: usize, now: Duration) -> Duration {
        self.fill(limits, now);
        let needed = limits.cost(tokens).min(limits.capacity());
        let missing = needed.saturating_sub(self.level);
        if missing <= 0 {
            return Duration::ZERO;
        }
        // At least a nanosecond: zero says that there is enough.
        let nanos = missing.unsigned_abs().div_ceil(u128::from(limits.tokens));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, limits: &BucketLimits, now: Duration) {
        let since = now.saturating_sub(self.filled);
        let nanos = i128::try_from(since.as_nanos()).unwrap_or(i128::MAX >> 64);
        let gained = nanos.saturating_mul(i128::from(limits.tokens));
        self.level = self.level.saturating_add(gained).min(limits.capacity());
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ten_a_second() -> BucketLimits {
        BucketLimits::new(10, seconds(1), 20)
    }

    #[test]
    fn costs_within_the_burst_need_as_many_tokens() {
        let limits = ten_a_second();
        let mut bucket = TokenBucket::full(&limits, seconds(5));
        assert_eq!(bucket.take(&limits, 15, seconds(5)), Ok(()));
        assert_eq!(bucket.take(&limits, 15, seconds(5)), Err(seconds(1)));
        assert_eq!(bucket.take(&limits, 5, seconds(5)), Ok(()));
        assert_eq!(bucket.take(&limits, 1, seconds(5)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(&limits, 0, seconds(5)), Ok(()));
        assert_eq!(bucket.take(&limits, 10, seconds(6)), Ok(()));
        assert!(!bucket.is_full(&limits, seconds(7)));
        assert!(bucket.is_full(&limits, seconds(8)));
    }

    #[test]
    fn cost_over_the_burst_needs_a_full_bucket_and_is_paid() {
        let limits = ten_a_second();
        let mut bucket = TokenBucket::full(&limits, seconds(0));
        assert_eq!(bucket.take(&limits, 1000, seconds(0)), Ok(()));
        // 980 tokens are owed.
        assert_eq!(bucket.take(&limits, 1, seconds(0)), Err(Duration::from_millis(98_100)));
        assert!(bucket.take(&limits, 1, seconds(98)).is_err());
        assert_eq!(bucket.take(&limits, 1000, seconds(98)), Err(seconds(2)));
        assert_eq!(bucket.take(&limits, 1000, seconds(100)), Ok(()));
    }

    #[test]
    fn whatever_the_sizes_no_more_passes_than_rate_and_burst() {
        let limits = ten_a_second();
        let mut random = 17_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let mut bucket = TokenBucket::full(&limits, Duration::ZERO);
        let (mut now, mut passed, mut last) = (Duration::ZERO, 0, 0);
        for _ in 0..10_000 {
            now += Duration::from_millis(next(400));
            let cost = next(60) as usize;
            if bucket.take(&limits, cost, now).is_ok() {
                passed += cost;
                last = cost;
            }
            // What is over the burst is owed from then on.
            let allowed = now.as_secs_f64() * 10.0 + 20.0 + last.saturating_sub(20) as f64;
            assert!(passed as f64 <= allowed, "{passed} after {now:?}");
        }
        assert!(passed as f64 > now.as_secs_f64() * 8.0, "{passed} in {now:?}");
    }

    #[test]
    fn reserved_costs_wait_in_their_order() {
        let limits = ten_a_second();
        let mut bucket = TokenBucket::full(&limits, seconds(0));
        assert_eq!(bucket.reserve(&limits, 30, seconds(0)), Duration::ZERO);
        assert_eq!(bucket.reserve(&limits, 5, seconds(0)), Duration::from_millis(1500));
        assert_eq!(bucket.reserve(&limits, 5, seconds(0)), seconds(2));
        bucket.put_back(&limits, 5, seconds(0));
        assert_eq!(bucket.reserve(&limits, 5, seconds(0)), seconds(2));
        bucket.put_back(&limits, usize::MAX, seconds(0));
        assert!(bucket.is_full(&limits, seconds(0)), "never more than a burst");
    }

    #[test]
    fn extreme_limits_neither_overflow_nor_stop() {
        let limits = BucketLimits::new(0, Duration::MAX, u32::MAX);
        let mut bucket = TokenBucket::full(&limits, Duration::ZERO);
        for _ in 0..4 {
            bucket.reserve(&limits, usize::MAX, Duration::MAX);
        }
        let limits = BucketLimits::new(u32::MAX, Duration::ZERO, u32::MAX);
        let mut bucket = TokenBucket::full(&limits, Duration::ZERO);
        assert_eq!(bucket.take(&limits, usize::MAX, Duration::ZERO), Ok(()));
        assert_eq!(bucket.take(&limits, usize::MAX, Duration::MAX), Ok(()));
    }
}
