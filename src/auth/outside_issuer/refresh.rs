//! One reading of an issuer's keys at a time, however many calls are waiting for it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

/// Anybody can send a token that names a key which does not exist: the issuer must not notice much of it.
const PAUSE: Duration = Duration::from_secs(5);
/// After a failure, when calls with good tokens may be waiting.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A call does not wait longer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Asking for the keys to be read again, and telling that they were.
#[derive(Debug)]
pub struct Refresh {
    state: Mutex<State>,
    wanted: Notify,
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    under_way: bool,
    not_before: Option<Instant>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { state: Mutex::default(), wanted: Notify::new(), ended: watch::Sender::new(0) }
    }
}

impl Refresh {
    /// Has the keys read again and waits until they were. `false` if they were read moments ago already, or
    /// it takes too long.
    pub async fn request(&self) -> bool {
        let mut ended = self.ended.subscribe();
        {
            let mut state = self.state.lock();
            if !state.under_way {
                if state.not_before.is_some_and(|then| Instant::now() < then) {
                    return false;
                }
                state.under_way = true;
                self.wanted.notify_one();
            }
        }
        timeout(WAIT_MAX, ended.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Completes when somebody wants the keys to be read again. For the one who reads them.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Reading has ended, well or not.
    pub fn ended(&self, well: bool) {
        let pause = if well { PAUSE } else { PAUSE_AFTER_FAILURE };
        *self.state.lock() = State { under_way: false, not_before: Some(Instant::now() + pause) };
        self.ended.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_reading_and_the_next_comes_later() {
        let refresh = Arc::new(Refresh::default());
        let requests: Vec<_> = (0..50)
            .map(|_| {
                let refresh = Arc::clone(&refresh);
                tokio::spawn(async move { refresh.request().await })
            })
            .collect();
        refresh.wanted().await;
        tokio::task::yield_now().await;
        refresh.ended(true);
        for request in requests {
            assert!(request.await.unwrap());
        }
        assert!(timeout(Duration::from_secs(1), refresh.wanted()).await.is_err(), "only one");
        assert!(!refresh.request().await, "too soon");
        tokio::time::advance(PAUSE).await;
        // Nobody reads: the call goes on without.
        assert!(!refresh.request().await);
    }
}
