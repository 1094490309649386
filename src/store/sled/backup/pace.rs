//! Keeps a backup from reading as fast as it can, which callers would notice.

use std::time::Duration;

/// A pause is due after this many bytes; shorter pauses than a millisecond are not kept by timers.
const BURST_BYTES: u64 = 256 << 10;
/// No pause is longer, so that a backup that nobody wants any more ends soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How fast a backup reads: at most at this rate, whatever reading itself takes.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second_max: u64,
    since_pause_bytes: u64,
}

impl Pace {
    pub(super) fn new(bytes_per_second_max: u64) -> Self {
        Self { bytes_per_second_max: bytes_per_second_max.max(1), since_pause_bytes: 0 }
    }

    /// Counts what was read, and pauses if it is time to.
    pub(super) fn passed(&mut self, bytes: usize) {
        self.since_pause_bytes += bytes as u64;
        // A low rate makes shorter bursts, not longer pauses.
        if self.since_pause_bytes >= BURST_BYTES.min(self.bytes_per_second_max) {
            std::thread::sleep(self.pause());
            self.since_pause_bytes = 0;
        }
    }

    fn pause(&self) -> Duration {
        let seconds = self.since_pause_bytes as f64 / self.bytes_per_second_max as f64;
        Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_rate_and_have_a_limit() {
        let pause = |rate, bytes| Pace { since_pause_bytes: bytes, ..Pace::new(rate) }.pause();
        assert_eq!(pause(1 << 20, 256 << 10), Duration::from_millis(250));
        assert_eq!(
            pause(64 << 20, 256 << 10),
            Duration::from_micros(3906) + Duration::from_nanos(250)
        );
        assert_eq!(pause(1, 7_000), PAUSE_MAX);
        assert_eq!(pause(0, 1), PAUSE_MAX);
    }
}
