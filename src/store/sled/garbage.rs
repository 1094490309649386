//! Frees what sled replaced, because after large batches sled 0.34.7 does not.
//!
//! sled copies a leaf for each entry that it puts into it (some 3 KB), and leaves the copy before to the garbage collection
//! of crossbeam-epoch. That frees at most 512 objects for every 128 times that a thread enters it, and sled enters it once
//! for a whole batch: after batches of thousands of entries, most of what was replaced stays in memory until the process
//! ends (seen: 2.9 GB after 800,000 entries). So whoever puts batches has as much freed as they replaced.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Entries after which what they replaced is freed. Until then sled's own steps may be enough.
const ENTRIES_KEPT: u64 = 128;
/// Steps after which no more is freed for now: somebody still reads what is that old.
const STEPS_MAX: usize = 4096;

/// What batches have replaced since it was last freed.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    entries: AtomicU64,
}

impl Garbage {
    /// Frees what was replaced so far, once that is enough. Called after a batch of so many entries.
    pub(super) fn free_after(&self, entries: u64) {
        if self.entries.fetch_add(entries, Ordering::Relaxed) + entries >= ENTRIES_KEPT {
            self.entries.store(0, Ordering::Relaxed);
            free_all();
        }
    }
}

/// Takes steps of the collection until all that was left to it before is freed, in the order in which it was left.
fn free_all() {
    let last_freed = Arc::new(AtomicBool::new(false));
    let last = Arc::clone(&last_freed);
    crossbeam_epoch::pin().defer(move || last.store(true, Ordering::Release));
    for _ in 0..STEPS_MAX {
        // Enters anew each time: nothing is freed that is younger than whoever is inside.
        crossbeam_epoch::pin().flush();
        if last_freed.load(Ordering::Acquire) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_a_large_batch_left_is_freed() {
        const LEFT: usize = 100_000;
        static FREED: AtomicUsize = AtomicUsize::new(0);
        let inside = crossbeam_epoch::pin();
        for _ in 0..LEFT {
            inside.defer(|| FREED.fetch_add(1, Ordering::Relaxed));
        }
        drop(inside);
        let garbage = Garbage::default();
        // Other tests may hold on to what is older for a moment.
        for _ in 0..10_000 {
            garbage.free_after(ENTRIES_KEPT);
            if FREED.load(Ordering::Relaxed) == LEFT {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{FREED:?} of {LEFT} are freed");
    }
}
