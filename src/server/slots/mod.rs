//! Connection slots. A connection is unauthenticated until a call on it was permitted, and again when its client is
//! deleted or has called nothing for a while. When all slots are taken, the oldest unauthenticated connection is
//! evicted; if there is none, the longest idle one of the client that has most. A few slots are kept for operators.

mod connection;
mod table;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    connection::Connection,
    table::{Eviction, Shares, Table},
};
use crate::{
    api::{ConnectionSlot, metrics::Metrics},
    domain::{access::ClientDirectory, caller::Caller},
};

/// Idle connections are looked for so many times in the idle timeout.
const SWEEPS_PER_TIMEOUT: u32 = 4;
/// A connection that finds no room among the authenticated ones tries again after this long at the earliest.
const RETRY_AFTER_MS: u64 = 1000;

/// How many connections there may be, and of whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotLimits {
    pub(super) connections_max: usize,
    pub(super) client_connections_max: usize,
    pub(super) organization_connections_max: usize,
    /// Slots for operators, beside the others.
    pub(super) operator_connections: usize,
    /// After this long without a permitted call, a connection counts as unauthenticated.
    pub(super) idle_timeout: Duration,
    /// How long a connection may have one of the operators' slots without being an operator's.
    pub(super) handshake_timeout: Duration,
}

/// All connection slots of one listener.
pub(super) struct ConnectionSlots {
    table: Mutex<Table>,
    limits: SlotLimits,
    began: Instant,
    clients: Option<Arc<dyn ClientDirectory>>,
    metrics: Arc<Metrics>,
}

impl ConnectionSlots {
    /// `clients` says which clients there still are; `None` where nobody authenticates.
    pub(super) fn new(
        limits: SlotLimits,
        clients: Option<Arc<dyn ClientDirectory>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let shares = Shares::of(&limits);
        let table = Mutex::new(Table::new(shares));
        // A counter that is not there yet looks like one that nobody has.
        for eviction in Eviction::ALL {
            metrics.count_evicted(eviction.reason(), 0);
        }
        Arc::new(Self { table, limits, began: Instant::now(), clients, metrics })
    }

    /// Gives a new connection a slot, taking another's if there is no free one; `None` if none can be taken.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Slot> {
        let (connection, eviction) = self.table.lock().enter(self.now_ms())?;
        if let Some(eviction) = eviction {
            self.metrics.count_evicted(eviction.reason(), 1);
        }
        Some(Slot { connection, slots: Arc::clone(self) })
    }

    /// How often [`Self::sweep`] is to be called.
    pub(super) fn sweep_interval(&self) -> Duration {
        (self.limits.idle_timeout / SWEEPS_PER_TIMEOUT).max(Duration::from_millis(10))
    }

    /// Counts connections as unauthenticated whose clients are deleted, or idle for too long.
    pub(super) fn sweep(&self) {
        let idle_ms = milliseconds(self.limits.idle_timeout);
        let is_deleted = |caller: &Caller| self.clients.is_some() && !self.is_registered(caller);
        let mut table = self.table.lock();
        table.demote(self.now_ms(), idle_ms, is_deleted);
        self.note_authenticated(&table);
    }

    fn authenticate(&self, connection: &Arc<Connection>, caller: &Caller, is_operator: bool) {
        let now = self.now_ms();
        if !connection.may_try(now, RETRY_AFTER_MS) {
            return;
        }
        let is_registered = self.is_registered(caller);
        let mut table = self.table.lock();
        let evictions = table.authenticate(connection, caller, is_operator, is_registered);
        self.note_authenticated(&table);
        drop(table);
        for eviction in evictions {
            self.metrics.count_evicted(eviction.reason(), 1);
        }
    }

    /// Outside subjects and the holder of the admin token are no clients that could be deleted.
    fn is_registered(&self, caller: &Caller) -> bool {
        self.clients
            .as_ref()
            .is_some_and(|clients| clients.client(&caller.organization, &caller.client).is_some())
    }

    fn note_authenticated(&self, table: &Table) {
        // Listeners share the metric, and only one of them authenticates.
        if self.clients.is_none() {
            return;
        }
        let count = i64::try_from(table.authenticated()).unwrap_or(i64::MAX);
        self.metrics.connections_authenticated.set(count);
    }

    fn now_ms(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The slot of one connection, free again when it is dropped.
pub(super) struct Slot {
    connection: Arc<Connection>,
    slots: Arc<ConnectionSlots>,
}

impl Slot {
    /// To be told of the calls on the connection.
    pub(super) fn watched(&self) -> Arc<dyn ConnectionSlot> {
        let (connection, slots) = (Arc::clone(&self.connection), Arc::clone(&self.slots));
        Arc::new(WatchedSlot { connection, slots })
    }

    /// Completes when the slot was given to another connection, or was an operator's and is not used by one.
    pub(super) async fn evicted(&self) {
        let lapsing = async {
            if self.connection.has_operator_slot() {
                tokio::time::sleep(self.slots.limits.handshake_timeout).await;
                if let Some(eviction) = self.slots.table.lock().lapse(&self.connection) {
                    self.slots.metrics.count_evicted(eviction.reason(), 1);
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.connection.evicted() => {}
            () = lapsing => {}
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        table.leave(&self.connection);
        self.slots.note_authenticated(&table);
    }
}

struct WatchedSlot {
    connection: Arc<Connection>,
    slots: Arc<ConnectionSlots>,
}

impl ConnectionSlot for WatchedSlot {
    fn permitted_call_began(&self, caller: &Caller, is_operator: bool) {
        self.connection.call_began();
        if !self.connection.is_known(is_operator) {
            self.slots.authenticate(&self.connection, caller, is_operator);
        }
    }

    fn permitted_call_ended(&self) {
        self.connection.call_ended(self.slots.now_ms());
    }

    fn is_authenticated(&self) -> bool {
        self.connection.is_authenticated()
    }
}
