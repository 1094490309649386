//! Who is calling, as handlers see it.

use tonic::{Request, Status};

use super::connection::PeerAddress;
use crate::{auth::Principal, domain::audit::Actor};

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
