//! Timestamps.

use jiff::{SignedDuration, Timestamp};

/// The range of `google.protobuf.Timestamp`: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The instant; `None` outside the range that the wire type allows.
pub(crate) fn from_proto(timestamp: prost_types::Timestamp) -> Option<Timestamp> {
    let in_range =
        SECONDS.contains(&timestamp.seconds) && (0..1_000_000_000).contains(&timestamp.nanos);
    // Seconds and nanoseconds of one sign are what jiff's constructor wants; adding is not picky.
    in_range
        .then(|| {
            let whole = Timestamp::from_second(timestamp.seconds).ok()?;
            whole.checked_add(SignedDuration::from_nanos(i64::from(timestamp.nanos))).ok()
        })
        .flatten()
}

/// The wire type of an instant: nanoseconds count forward, also before 1970.
pub(crate) fn to_proto(instant: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (instant.as_second(), instant.subsec_nanosecond());
    if nanos < 0 {
        return prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 };
    }
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_the_ends_of_the_range() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.25Z",
            "2026-11-20T12:00:00.123456789Z",
            "9999-12-30T22:00:00Z",
        ] {
            let instant: Timestamp = text.parse().unwrap();
            assert_eq!(from_proto(to_proto(instant)), Some(instant), "{text}");
        }
        let proto = |seconds, nanos| from_proto(prost_types::Timestamp { seconds, nanos });
        assert_eq!(proto(*SECONDS.start() - 1, 0), None);
        assert_eq!(proto(*SECONDS.end() + 1, 0), None);
        assert_eq!(proto(0, -1), None);
        assert_eq!(proto(0, 1_000_000_000), None);
    }
}
