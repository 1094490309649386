//! Keeps background writes from crowding out commits.
//!
//! Flushing and merging write as slowly as they can afford: the more bytes are owed, the faster, and
//! without any pause once as much is owed as the store is willing to let stand. A fixed pause would
//! either starve the mergers under load or disturb commits without need.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::store::StoreError;

/// Speed of background writing when next to nothing is owed.
const UNHURRIED_BYTES_PER_SECOND: f64 = 16.0 * 1024.0 * 1024.0;
/// A pause is due after this many bytes; shorter pauses than a millisecond are not kept by timers.
const BURST_BYTES: u64 = 64 << 10;
/// No pause is longer, so that closing the store is not delayed.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// The debt of one kind of background work.
#[derive(Debug)]
pub(in crate::store::sled) struct Pacer {
    owed_bytes: AtomicU64,
    expected_bytes: AtomicU64,
    tolerated_bytes: u64,
    since_pause_bytes: AtomicU64,
    stopping: AtomicBool,
}

impl Pacer {
    /// Lets up to `tolerated_bytes` be owed before work goes on without pauses.
    pub(super) fn new(tolerated_bytes: u64) -> Self {
        Self {
            owed_bytes: AtomicU64::new(0),
            expected_bytes: AtomicU64::new(0),
            tolerated_bytes: tolerated_bytes.max(1),
            since_pause_bytes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Bytes still to be written.
    pub(in crate::store::sled) fn owed_bytes(&self) -> u64 {
        self.owed_bytes.load(Ordering::Relaxed)
    }

    /// Sets the debt anew, when work was found or finished.
    pub(super) fn set_owed(&self, bytes: u64) {
        self.owed_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Says what will be owed before long. It presses as much as what is owed.
    pub(super) fn expect(&self, bytes: u64) {
        self.expected_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Adds to the debt.
    pub(super) fn owe(&self, bytes: u64) {
        self.owed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Pays `bytes` off, and pauses if there is time.
    ///
    /// # Errors
    /// [`StoreError::Closed`] once the store is closing: the work is given up.
    pub(super) fn wrote(&self, bytes: usize) -> Result<(), StoreError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let bytes = bytes as u64;
        // Never below zero: filters and frames are written on top of what was owed.
        let _ = self.owed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
            Some(owed.saturating_sub(bytes))
        });
        let written = self.since_pause_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written >= BURST_BYTES {
            self.since_pause_bytes.store(0, Ordering::Relaxed);
            let pause = self.pause_after(written);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }

    fn pause_after(&self, bytes: u64) -> Duration {
        let pressing = self.owed_bytes() + self.expected_bytes.load(Ordering::Relaxed);
        let pressure = pressing as f64 / self.tolerated_bytes as f64;
        if pressure >= 1.0 {
            return Duration::ZERO;
        }
        let unhurried = bytes as f64 / UNHURRIED_BYTES_PER_SECOND;
        Duration::from_secs_f64(unhurried * (1.0 - pressure)).min(PAUSE_MAX)
    }

    /// Makes every further call of [`Self::wrote`] fail.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_owed_the_shorter_the_pause() {
        let pacer = Pacer::new(1 << 20);
        let relaxed = pacer.pause_after(BURST_BYTES);
        pacer.owe(1 << 19);
        let pressed = pacer.pause_after(BURST_BYTES);
        pacer.owe(1 << 19);
        assert!(Duration::ZERO < pressed && pressed < relaxed && relaxed <= PAUSE_MAX);
        assert_eq!(pacer.pause_after(BURST_BYTES), Duration::ZERO);
        pacer.set_owed(1 << 19);
        pacer.expect(1 << 19);
        assert_eq!(pacer.pause_after(BURST_BYTES), Duration::ZERO);
    }

    #[test]
    fn a_debt_is_paid_off_and_never_negative() {
        let pacer = Pacer::new(1 << 20);
        pacer.owe(100);
        pacer.wrote(60).unwrap();
        assert_eq!(pacer.owed_bytes(), 40);
        pacer.wrote(60).unwrap();
        assert_eq!(pacer.owed_bytes(), 0);
        pacer.stop();
        assert!(matches!(pacer.wrote(1), Err(StoreError::Closed)));
    }
}
