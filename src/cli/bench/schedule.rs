//! When calls are to start.
//!
//! In a closed loop a caller starts as soon as it is free. In an open loop calls start at fixed times whatever the server
//! does; one that finds no caller free starts late, and its latency counts from when it was to start. Otherwise a server
//! that stalls would be asked less while it stalls, and the figures would not show what its callers wait (*coordinated
//! omission*).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// Starts are released at least so far apart. The timers of the runtime know only milliseconds, which would show in the
/// latencies; waking for every start would cost the load more than it is worth.
const RELEASE_INTERVAL: Duration = Duration::from_micros(200);

/// Shared by all callers.
#[derive(Debug)]
pub(super) struct Schedule {
    started: Instant,
    /// Nanoseconds after `started`.
    end: AtomicU64,
    starts: Starts,
}

#[derive(Debug)]
enum Starts {
    /// As soon as a caller is free.
    Closed,
    /// The same, so many times in all.
    Counted(AtomicI64),
    /// At fixed times.
    Open { pace: Pace, released: Semaphore, taken: AtomicU64 },
}

/// Equal distances between starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    pub(super) calls_per_second: f64,
}

impl Pace {
    /// When a call is to start, after the beginning; the first at once.
    pub(super) fn intended(self, call: u64) -> Duration {
        Duration::from_secs_f64(call as f64 / self.calls_per_second)
    }

    /// Calls that are to have started by then.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        (elapsed.as_secs_f64() * self.calls_per_second) as u64 + 1
    }
}

impl Schedule {
    /// Without a pace, a closed loop.
    pub(super) fn lasting(length: Duration, pace: Option<Pace>) -> Arc<Self> {
        let starts = match pace {
            None => Starts::Closed,
            Some(pace) => {
                Starts::Open { pace, released: Semaphore::new(0), taken: AtomicU64::new(0) }
            }
        };
        let schedule =
            Arc::new(Self { started: Instant::now(), end: nanoseconds(length).into(), starts });
        if pace.is_some() {
            let schedule = Arc::clone(&schedule);
            thread::spawn(move || schedule.release());
        }
        schedule
    }

    /// So many calls, each as soon as a caller is free.
    pub(super) fn counted(calls: u64) -> Arc<Self> {
        let calls = i64::try_from(calls).unwrap_or(i64::MAX);
        let starts = Starts::Counted(AtomicI64::new(calls));
        Arc::new(Self { started: Instant::now(), end: u64::MAX.into(), starts })
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// How long it lasts, or did.
    pub(super) fn length(&self) -> Duration {
        Duration::from_nanos(self.end.load(Ordering::Relaxed))
    }

    pub(super) fn is_open_loop(&self) -> bool {
        matches!(self.starts, Starts::Open { .. })
    }

    /// No call starts any more.
    pub(super) fn end_now(&self) {
        self.end.fetch_min(nanoseconds(self.started.elapsed()), Ordering::Relaxed);
        if let Starts::Open { released, .. } = &self.starts {
            released.close();
        }
    }

    /// Waits until the next call may start, and answers when it was to; `None` at the end. Nothing is lost if it is
    /// dropped while it waits.
    pub(super) async fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        if now.duration_since(self.started) >= self.length() {
            return None;
        }
        match &self.starts {
            Starts::Closed => Some(now),
            Starts::Counted(left) => (left.fetch_sub(1, Ordering::Relaxed) > 0).then_some(now),
            Starts::Open { pace, released, taken } => {
                released.acquire().await.ok()?.forget();
                let call = taken.fetch_add(1, Ordering::Relaxed);
                Some(self.started + pace.intended(call))
            }
        }
    }

    /// After the end: when the calls were to start that did not, because no caller was free.
    pub(super) fn not_started(&self) -> impl Iterator<Item = Instant> {
        let (pace, taken) = match &self.starts {
            Starts::Open { pace, taken, .. } => (Some(*pace), taken.load(Ordering::Relaxed)),
            Starts::Closed | Starts::Counted(_) => (None, 0),
        };
        let due = pace.map_or(0, |pace| pace.due(self.length()));
        let started = self.started;
        let end = started + self.length();
        (taken..due)
            .filter_map(move |call| Some(started + pace?.intended(call)))
            .take_while(move |intended| *intended < end)
    }

    /// Releases starts when they are due, until the end.
    fn release(&self) {
        let Starts::Open { pace, released, .. } = &self.starts else { return };
        let mut released_calls = 0;
        loop {
            let elapsed = self.started.elapsed();
            if elapsed >= self.length() || released.is_closed() {
                // Those that are due and not taken stay so: the run is over.
                released.close();
                return;
            }
            let due = pace.due(elapsed);
            released.add_permits(usize::try_from(due - released_calls).unwrap_or_default());
            released_calls = due;
            let pause = pace.intended(due).saturating_sub(self.started.elapsed());
            thread::sleep(pause.clamp(RELEASE_INTERVAL, Duration::from_millis(100)));
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_evenly_spaced() {
        let pace = Pace { calls_per_second: 4000.0 };
        assert_eq!(pace.intended(0), Duration::ZERO);
        assert_eq!(pace.intended(1), Duration::from_micros(250));
        assert_eq!(pace.intended(40_000), Duration::from_secs(10));
        for call in [0, 1, 2, 77, 123_456] {
            let due = pace.due(pace.intended(call) + Duration::from_nanos(10));
            assert_eq!(due, call + 1);
        }
        // Less than one a second, too.
        assert_eq!(Pace { calls_per_second: 0.1 }.intended(2), Duration::from_secs(20));
    }

    #[tokio::test]
    async fn calls_of_an_open_loop_start_when_they_were_to_however_late_they_are_taken() {
        let pace = Pace { calls_per_second: 100_000.0 };
        let schedule = Schedule::lasting(Duration::from_secs(3600), Some(pace));
        let mut intended = Vec::new();
        for _ in 0..50 {
            intended.push(schedule.next().await.unwrap());
        }
        for (call, intended) in (0..).zip(&intended) {
            assert_eq!(*intended, schedule.started() + pace.intended(call));
        }
        schedule.end_now();
        assert_eq!(schedule.next().await, None);
        let first_missed = schedule.not_started().next();
        if let Some(missed) = first_missed {
            assert_eq!(missed, schedule.started() + pace.intended(50));
        }
    }

    #[tokio::test]
    async fn a_closed_loop_starts_at_once_until_its_end() {
        let schedule = Schedule::lasting(Duration::from_secs(3600), None);
        let before = Instant::now();
        assert!(schedule.next().await.unwrap() >= before);
        schedule.end_now();
        assert_eq!(schedule.next().await, None);
        assert_eq!(schedule.not_started().count(), 0);
    }

    #[tokio::test]
    async fn counted_starts_are_so_many() {
        let schedule = Schedule::counted(3);
        for _ in 0..3 {
            assert!(schedule.next().await.is_some());
        }
        assert_eq!(schedule.next().await, None);
    }
}
