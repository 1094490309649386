//! Instants between text, jiff and the wire.

use jiff::Timestamp;

/// The wire form.
pub(super) fn to_wire(instant: Timestamp) -> prost_types::Timestamp {
    // jiff counts towards zero, the wire always forward.
    let (mut seconds, mut nanos) = (instant.as_second(), instant.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// The instant of a wire form, if it has one.
pub(super) fn from_wire(timestamp: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let timestamp = timestamp?;
    Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

/// An instant as RFC 3339, empty if there is none.
pub(super) fn text(timestamp: Option<&prost_types::Timestamp>) -> String {
    from_wire(timestamp).map(|instant| instant.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_wire() {
        for spelled in ["2026-11-21T01:02:03.000000004Z", "1969-12-31T23:59:59.5Z"] {
            let instant: Timestamp = spelled.parse().unwrap();
            let wire = to_wire(instant);
            assert!((0..1_000_000_000).contains(&wire.nanos));
            assert_eq!(text(Some(&wire)), spelled);
        }
    }
}
