//! Limits of what may be under way at once, with a share for each of those who compete.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Part of a limit, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// All of so many are taken.
    All(usize),
    /// The one who asks has as many as one may have.
    Share(usize),
}

/// So many permits, of which each `K` may have a share.
#[derive(Debug)]
pub(super) struct Limit<K> {
    permits: Arc<Semaphore>,
    max: usize,
    share_max: usize,
    taken: Mutex<HashMap<K, Share>>,
}

/// One permit of a `K`. There are as many as it has permits, and one more that stays in [`Limit`].
type Share = Arc<()>;

impl<K: Hash + Eq + Clone> Limit<K> {
    pub(super) fn new(max: usize, share_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { permits, max, share_max: share_max.max(1), taken: Mutex::default() }
    }

    pub(super) fn take(&self, of: &K) -> Result<Permit, Exhausted> {
        let share = self.share(of)?;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Exhausted::All(self.max))?;
        Ok(Permit { _permit: permit, _share: share })
    }

    fn share(&self, of: &K) -> Result<Share, Exhausted> {
        let mut taken = self.taken.lock();
        let own = match taken.get(of) {
            Some(own) => own,
            None => {
                // Those without a permit are forgotten when there are many.
                if taken.len() > self.max.saturating_mul(2) {
                    taken.retain(|_, own| Arc::strong_count(own) > 1);
                }
                taken.entry(of.clone()).or_default()
            }
        };
        // None can be added meanwhile.
        if Arc::strong_count(own) > self.share_max {
            return Err(Exhausted::Share(self.share_max));
        }
        Ok(Arc::clone(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(limit: &Limit<u32>, of: u32, times: usize) -> Vec<Permit> {
        (0..times).map(|_| limit.take(&of).unwrap()).collect()
    }

    #[test]
    fn share_is_all_that_one_gets() {
        let limit = Limit::new(8, 6);
        let first = take(&limit, 1, 6);
        assert_eq!(limit.take(&1).unwrap_err(), Exhausted::Share(6));
        let second = take(&limit, 2, 2);
        assert_eq!(limit.take(&2).unwrap_err(), Exhausted::All(8));
        drop((first, second));
        drop(take(&limit, 2, 6));
        let taken = limit.taken.lock();
        assert!(taken.values().all(|own| Arc::strong_count(own) == 1), "refusals keep nothing");
    }

    #[test]
    fn those_without_permits_are_forgotten() {
        let limit = Limit::new(8, 6);
        let stays = limit.take(&0).unwrap();
        for number in 1..1000 {
            drop(limit.take(&number).unwrap());
            assert!(limit.taken.lock().len() <= 17);
        }
        drop(take(&limit, 0, 5));
        drop(stays);
    }
}
