//! Instants of the wire as text.

use jiff::Timestamp;

use crate::api::wire_time::from_proto;
pub(super) use crate::api::wire_time::to_proto as to_wire;

/// The instant of a wire form, if it has one.
pub(super) fn from_wire(timestamp: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    timestamp.copied().and_then(from_proto)
}

/// An instant as RFC 3339, empty if there is none.
pub(super) fn text(timestamp: Option<&prost_types::Timestamp>) -> String {
    from_wire(timestamp).map(|instant| instant.to_string()).unwrap_or_default()
}
