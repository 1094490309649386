//! One connection in the table of slots, with what changes without the table's lock.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::caller::Caller;

/// Where a connection stands in the table. Changed under the table's lock only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Among the unauthenticated ones, under this number.
    Unauthenticated(u64),
    /// Among those of a client.
    Authenticated(u64, Caller),
    /// In one of the operators' slots.
    OperatorSlot(u64),
    /// It has no slot.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    standing: Mutex<Standing>,
    // Permitted calls under way, and when the last one ended.
    calls: AtomicUsize,
    last_call_ms: AtomicU64,
    retry_at_ms: AtomicU64,
    is_authenticated: AtomicBool,
    is_operators: AtomicBool,
    evicted: Notify,
}

impl Connection {
    pub(super) fn new(standing: Standing, now_ms: u64) -> Self {
        Self {
            standing: Mutex::new(standing),
            calls: AtomicUsize::new(0),
            last_call_ms: AtomicU64::new(now_ms),
            retry_at_ms: AtomicU64::new(0),
            is_authenticated: AtomicBool::new(false),
            is_operators: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Moves it in the table, under whose lock this is called.
    pub(super) fn stand(&self, standing: Standing, is_authenticated: bool, is_operators: bool) {
        *self.standing.lock() = standing;
        self.is_authenticated.store(is_authenticated, Ordering::Relaxed);
        self.is_operators.store(is_operators, Ordering::Relaxed);
    }

    /// Takes its slot away, and has it closed.
    pub(super) fn evict(&self) {
        self.stand(Standing::Gone, false, false);
        self.evicted.notify_one();
    }

    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    pub(super) fn call_began(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn call_ended(&self, now_ms: u64) {
        self.last_call_ms.store(now_ms, Ordering::Relaxed);
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Since when no permitted call is under way; `None` while one is.
    pub(super) fn idle_since_ms(&self) -> Option<u64> {
        let is_idle = self.calls.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.last_call_ms.load(Ordering::Relaxed))
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }

    pub(super) fn is_operators(&self) -> bool {
        self.is_operators.load(Ordering::Relaxed)
    }

    pub(super) fn has_operator_slot(&self) -> bool {
        matches!(*self.standing.lock(), Standing::OperatorSlot(_))
    }

    /// Whether another call of such a caller changes nothing.
    pub(super) fn is_known(&self, is_operator: bool) -> bool {
        self.is_authenticated() && (self.is_operators() || !is_operator)
    }

    /// Whether it may try to be authenticated now, which is no more often than every `pause_ms`.
    pub(super) fn may_try(&self, now_ms: u64, pause_ms: u64) -> bool {
        let retry_at = self.retry_at_ms.load(Ordering::Relaxed);
        if now_ms < retry_at {
            return false;
        }
        let next = now_ms.saturating_add(pause_ms);
        self.retry_at_ms
            .compare_exchange(retry_at, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
