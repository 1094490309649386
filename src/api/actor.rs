//! Who is calling, as handlers see it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tonic::{Request, Status};

use crate::{auth::Principal, domain::audit::Actor};

/// The address that a connection comes from, in the extensions of its requests.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// Whether somebody on a connection has shown valid credentials, in the extensions of its requests.
#[derive(Debug, Clone, Default)]
pub struct Acquaintance(Arc<AtomicBool>);

impl Acquaintance {
    /// Whether it is so.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes it so.
    pub fn make(&self) {
        // Written once: every call on the connection comes by here.
        if !self.is_made() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The caller, whom the layers have authenticated.
pub(super) fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(|| {
        tracing::error!("a handler was reached without authentication");
        Status::internal("internal error")
    })
}

/// The caller, for the audit trail.
pub(super) fn actor<T>(request: &Request<T>) -> Result<Actor, Status> {
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    Ok(Actor { caller: principal(request)?.caller, address })
}
