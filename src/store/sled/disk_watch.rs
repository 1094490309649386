//! Notices a write to the disk that does not end. Only what sled and the disk take counts: not what waits for our own
//! background threads.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When each of the writes under way began. There are as many as threads that write: a handful.
#[derive(Debug, Default)]
pub(super) struct DiskWatch {
    writes: Mutex<Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    last_number: u64,
    /// Number and beginning, oldest first.
    under_way: Vec<(u64, Instant)>,
}

impl DiskWatch {
    /// A write begins; it ends when the guard is dropped.
    pub(super) fn begin(&self) -> WriteUnderWay<'_> {
        let mut writes = self.writes.lock();
        writes.last_number += 1;
        let number = writes.last_number;
        writes.under_way.push((number, Instant::now()));
        WriteUnderWay { watch: self, number }
    }

    /// How long the oldest write under way has taken so far.
    pub(super) fn longest(&self) -> Duration {
        self.writes.lock().under_way.first().map_or(Duration::ZERO, |(_, began)| began.elapsed())
    }
}

/// A write is under way.
pub(super) struct WriteUnderWay<'a> {
    watch: &'a DiskWatch,
    number: u64,
}

impl Drop for WriteUnderWay<'_> {
    fn drop(&mut self) {
        self.watch.writes.lock().under_way.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_write_is_the_oldest_under_way() {
        let watch = DiskWatch::default();
        assert_eq!(watch.longest(), Duration::ZERO);
        let older = watch.begin();
        while watch.longest() < Duration::from_millis(3) {
            std::thread::yield_now();
        }
        let newer = watch.begin();
        assert!(watch.longest() >= Duration::from_millis(3));
        drop(older);
        assert_eq!(watch.writes.lock().under_way.len(), 1);
        drop(newer);
        assert_eq!(watch.longest(), Duration::ZERO);
    }
}
