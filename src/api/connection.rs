//! The connection that a call came over: where it comes from, whether it counts as authenticated, and how many
//! requests on it are unfinished.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Extensions;

use crate::{auth::Principal, domain::caller::Caller};

/// The address that a connection comes from, in the extensions of its requests.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// A connection as the listener counts it.
pub trait ConnectionSlot: Send + Sync {
    /// A call that its caller is permitted begins. Matched by [`Self::permitted_call_ended`].
    fn permitted_call_began(&self, caller: &Caller, is_operator: bool);

    /// Its answer is complete, or was given up.
    fn permitted_call_ended(&self);

    /// Whether the connection counts as that of an authenticated client.
    fn is_authenticated(&self) -> bool;
}

/// What the layers know of the connection of a call, in the extensions of its request.
#[derive(Clone)]
pub struct Connection {
    slot: Arc<dyn ConnectionSlot>,
    unfinished: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("unfinished", &self.unfinished).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection without requests.
    #[must_use]
    pub fn new(slot: Arc<dyn ConnectionSlot>) -> Self {
        Self { slot, unfinished: Arc::default() }
    }

    /// The connection of a request; `None` for one that came over none.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Counts a call that its caller is permitted, until the result is dropped.
    pub(super) fn permitted_call(self, principal: &Principal) -> PermittedCall {
        self.slot.permitted_call_began(&principal.caller, principal.is_operator());
        PermittedCall(self)
    }

    /// Counts an unauthenticated request that is unfinished, until the result is dropped; `None` if there are `max` on a
    /// connection that counts as unauthenticated.
    pub(super) fn unfinished_request(self, max: usize) -> Option<UnfinishedRequest> {
        let counted = UnfinishedRequest(self);
        let Self { slot, unfinished } = &counted.0;
        let earlier = unfinished.fetch_add(1, Ordering::Relaxed);
        // Many callers may share the connection of a proxy, so that one of them must not stop the others.
        (earlier < max || slot.is_authenticated()).then_some(counted)
    }
}

/// A permitted call under way on a connection.
#[derive(Debug)]
pub(super) struct PermittedCall(Connection);

impl Drop for PermittedCall {
    fn drop(&mut self) {
        self.0.slot.permitted_call_ended();
    }
}

/// An unauthenticated request on a connection whose body has not come to its end.
#[derive(Debug)]
pub(super) struct UnfinishedRequest(Connection);

impl Drop for UnfinishedRequest {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Default)]
    struct Slot {
        is_authenticated: AtomicBool,
    }

    impl ConnectionSlot for Slot {
        fn permitted_call_began(&self, _: &Caller, _: bool) {
            self.is_authenticated.store(true, Ordering::Relaxed);
        }

        fn permitted_call_ended(&self) {}

        fn is_authenticated(&self) -> bool {
            self.is_authenticated.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn unauthenticated_connection_has_few_unfinished_requests() {
        let connection = Connection::new(Arc::new(Slot::default()));
        let begin = || connection.clone().unfinished_request(2);
        let (first, _second) = (begin().unwrap(), begin().unwrap());
        assert!(begin().is_none());
        assert!(begin().is_none(), "what was refused is counted no longer");
        drop(first);
        let _third = begin().unwrap();
        let principal = Principal::administrator("acme", "agent").unwrap();
        drop(connection.clone().permitted_call(&principal));
        let _fourth = begin().expect("the limit is for unauthenticated connections");
    }
}
