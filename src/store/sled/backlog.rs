//! Keeps what is on its way to the disk small, because sled 0.34.7 can wait for itself for ever otherwise.
//!
//! sled writes its buffers on a pool of seven threads that does not grow while all of them are busy. A buffer that is written
//! needs a lock at the end. When the end of its file has become free, sled queues a task for the same pool that shortens
//! the file; whoever needs that place again waits for the task *and holds the lock*. If all seven threads have buffers by then,
//! the task never runs. Seen once in some hundred million records, when merging had filled the pool with buffers that waited
//! for a slow disk.
//!
//! So flushes run one at a time, and whoever has staged much waits for one, which keeps fewer buffers on their way than there
//! are threads. sled does not tell how many there are, so this is an estimate and no proof; should it ever fall short,
//! `disk_watch` notices.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Bytes that may be on their way to the disk, as far as they can be told. sled's buffers have 512 KiB.
const BACKLOG_BYTES_MAX: u64 = 2 << 20;
/// sled writes a value when it is staged, and its whole leaf again from time to time.
const BYTES_WRITTEN_PER_BYTE: u64 = 4;
/// What staging costs besides the value: also removing one rewrites leaves.
const BYTES_WRITTEN_PER_ENTRY: u64 = 8 << 10;

/// What is staged and not flushed yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Entries staged so far. Each is counted when sled has it.
    staged: AtomicU64,
    bytes: AtomicU64,
    /// Entries that are on the disk for certain. Held while a flush runs.
    flushed: Mutex<u64>,
}

impl Backlog {
    /// Counts entries that sled has now, with values of so many bytes together. Whether that makes too many.
    pub(super) fn add(&self, entries: u64, value_bytes: u64) -> bool {
        self.staged.fetch_add(entries, Ordering::AcqRel);
        let written = value_bytes * BYTES_WRITTEN_PER_BYTE + entries * BYTES_WRITTEN_PER_ENTRY;
        self.bytes.fetch_add(written, Ordering::Relaxed) + written > BACKLOG_BYTES_MAX
    }

    /// Returns once everything that was counted before is on the disk, by `flush` or by that of somebody else which began
    /// later.
    pub(super) fn flush<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mine = self.staged.load(Ordering::Acquire);
        let mut flushed = self.flushed.lock();
        if *flushed >= mine {
            return Ok(());
        }
        let covered = self.staged.load(Ordering::Acquire);
        self.bytes.store(0, Ordering::Relaxed);
        flush()?;
        *flushed = covered;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn much_that_is_staged_is_too_much_until_it_is_flushed() {
        let backlog = Backlog::default();
        let entries = (0..).take_while(|_| !backlog.add(1, 2_600)).count();
        assert!((64..256).contains(&entries), "{entries}");
        assert!(backlog.add(1, 0));
        backlog.flush(|| Ok::<(), ()>(())).unwrap();
        assert!(!backlog.add(1, 2_600));
    }

    #[test]
    fn whoever_waited_for_a_flush_that_began_later_needs_none() {
        let backlog = Backlog::default();
        let flushes = AtomicU64::new(0);
        let flush = || {
            flushes.fetch_add(1, Ordering::Relaxed);
            Ok::<(), ()>(())
        };
        backlog.add(1, 0);
        backlog.flush(flush).unwrap();
        backlog.flush(flush).unwrap();
        assert_eq!(flushes.load(Ordering::Relaxed), 1, "there was nothing new");
        backlog.add(1, 0);
        assert_eq!(backlog.flush(|| Err("the disk is gone")), Err("the disk is gone"));
        backlog.flush(flush).unwrap();
        assert_eq!(flushes.load(Ordering::Relaxed), 2, "a failed one covers nothing");
    }

    #[test]
    fn flushes_run_one_at_a_time_and_cover_what_came_before() {
        let backlog = Backlog::default();
        let (staged, durable, running) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let all = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    for _ in 0..500 {
                        let mine = staged.fetch_add(1, Ordering::SeqCst) + 1;
                        backlog.add(1, 0);
                        backlog
                            .flush(|| {
                                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                                let covers = staged.load(Ordering::SeqCst);
                                durable.fetch_max(covers, Ordering::SeqCst);
                                running.fetch_sub(1, Ordering::SeqCst);
                                Ok::<(), ()>(())
                            })
                            .unwrap();
                        assert!(durable.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
    }
}
