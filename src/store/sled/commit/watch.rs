//! Notices a commit that does not end.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// When the commit under way began. There is one at a time.
#[derive(Debug)]
pub(in crate::store::sled) struct CommitWatch {
    opened: Instant,
    // Milliseconds after `opened`, and one more; 0 while there is none.
    began: AtomicU64,
}

impl CommitWatch {
    pub(in crate::store::sled) fn new() -> Self {
        Self { opened: Instant::now(), began: AtomicU64::new(0) }
    }

    /// A commit begins; it ends when the guard is dropped.
    pub(in crate::store::sled) fn begin(&self) -> UnderWay<'_> {
        self.began.store(self.now() + 1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// How long the commit under way has taken so far.
    pub(in crate::store::sled) fn taken(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_millis((self.now() + 1).saturating_sub(began)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A commit is under way.
pub(in crate::store::sled) struct UnderWay<'a>(&'a CommitWatch);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.began.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_for_a_commit_under_way_only() {
        let watch = CommitWatch::new();
        assert_eq!(watch.taken(), Duration::ZERO);
        let commit = watch.begin();
        while watch.taken() < Duration::from_millis(3) {
            std::thread::yield_now();
        }
        drop(commit);
        assert_eq!(watch.taken(), Duration::ZERO);
    }
}
