//! A place at which a test holds threads up.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct State {
    is_closed: bool,
    waiting: usize,
    passed: usize,
}

#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Holds up everybody from now on.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
    }

    pub fn open(&self) {
        self.state.lock().is_closed = false;
        self.changed.notify_all();
    }

    /// Passes once it is open. Not for ever: a test that fails must not hang on its way out.
    pub fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        while state.is_closed
            && !self.changed.wait_for(&mut state, Duration::from_secs(20)).timed_out()
        {}
        state.waiting -= 1;
        state.passed += 1;
    }

    /// How many threads stand before it.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// How many times it was passed.
    pub fn passed(&self) -> usize {
        self.state.lock().passed
    }

    pub async fn wait_until_empty(&self) {
        while self.state.lock().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn wait_for(&self, threads: usize) {
        while self.state.lock().waiting < threads {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
