//! What is known of a call before anything is known of its caller.

use std::time::Duration;

use crate::{
    api::self_metering::Protocol,
    auth::rpc_permissions::{self, Access, RPC_ACCESS},
};

/// Stands for all paths that are no method, in metrics and logs.
const UNKNOWN_METHOD: &str = "unknown";
/// Stands for all documents.
const DOCUMENT: &str = "document";
/// Stands for the token endpoints.
const TOKEN: &str = "token";
/// Methods that need no permit.
const HEALTH_CHECKS: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"];

/// A call before anything is known of its caller.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Call {
    /// Its name in metrics and logs.
    pub(super) name: &'static str,
    /// The row of `RPC_ACCESS`, if it is a method.
    pub(super) row: Option<usize>,
    pub(super) access: Access,
    pub(super) protocol: Protocol,
    /// Whether it takes a permit among the calls in flight.
    pub(super) counts: bool,
    /// Whether its caller may keep it open for as long as it likes.
    pub(super) stays: bool,
}

impl Call {
    /// A call of the method with this gRPC path.
    pub(in crate::api) fn of_method(path: &str, protocol: Protocol) -> Self {
        let row = rpc_permissions::row_of(path);
        match row.and_then(|row| RPC_ACCESS.get(row)) {
            Some((name, access)) => Self {
                name,
                row,
                access: *access,
                protocol,
                // Health checks must get through when everything else is full, and are answered at once.
                counts: !HEALTH_CHECKS.contains(name),
                stays: rpc_permissions::STREAMS.contains(name),
            },
            None => Self::unknown(),
        }
    }

    const fn open(name: &'static str) -> Self {
        Self {
            name,
            row: None,
            access: Access::Open,
            protocol: Protocol::Rest,
            counts: true,
            stays: false,
        }
    }

    /// A request for something that does not exist.
    pub(in crate::api) const fn unknown() -> Self {
        Self::open(UNKNOWN_METHOD)
    }

    /// A request of somebody who is about to sign in.
    pub(in crate::api) const fn token() -> Self {
        Self::open(TOKEN)
    }

    /// A request for a document that anybody may read.
    pub(in crate::api) const fn document() -> Self {
        Self::open(DOCUMENT)
    }

    /// Whether there is such a method.
    pub(in crate::api) fn is_method(&self) -> bool {
        self.row.is_some()
    }

    /// Whether its answer may be left untaken without harm: it is small, or shared by all who ask for it.
    pub(super) fn is_over_when_answered(&self) -> bool {
        self.access == Access::Open && !self.stays
    }

    /// Whether its messages come one by one, rather than one that is read whole before it is looked at.
    pub(in crate::api) fn streams_in(&self) -> bool {
        rpc_permissions::CLIENT_STREAMS.contains(&self.name)
    }

    /// What an unauthenticated caller may send, which is read before anything else is done; `None` if the body is not looked
    /// at, or comes message by message.
    pub(super) fn unauthenticated_body(&self) -> Option<BodyLimits> {
        match self.access {
            Access::AnyOf(_) => None,
            Access::Open if self.streams_in() || matches!(self.name, DOCUMENT | UNKNOWN_METHOD) => {
                None
            }
            Access::Open if !self.counts => Some(BodyLimits::PROBE),
            Access::Open => Some(BodyLimits::SIGN_IN),
        }
    }
}

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct BodyLimits {
    pub(in crate::api) bytes_max: usize,
    pub(in crate::api) timeout: Duration,
}

impl BodyLimits {
    /// A name, a form, or an assertion.
    pub(in crate::api) const SIGN_IN: Self =
        Self { bytes_max: 64 << 10, timeout: Duration::from_secs(2) };
    /// The name of a service, which comes along with the headers unless a packet is lost.
    pub(in crate::api) const PROBE: Self =
        Self { bytes_max: 1 << 10, timeout: Duration::from_millis(250) };
}
