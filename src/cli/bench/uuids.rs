//! The uuids of a run, and all else that its records say: derived from the seed and a count, so that any record that
//! was ever sent can be made again without being remembered.

use clap::ValueEnum;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::random::mixed;

/// The form of uuids, which decides how much work it is to find out that one is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum UuidVersion {
    /// Random
    #[default]
    V4,
    /// Beginning with the time, so that new ones are greater than all before
    V7,
}

/// As many records a millisecond as the times in v7 uuids suppose. They cannot follow the clock: they are derived again
/// later.
const V7_RECORDS_PER_MILLISECOND: u64 = 256;

/// A record of the run: the caller's row of records that it is in, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordNumber {
    pub(super) row: u32,
    pub(super) at: u64,
}

/// Derives uuids.
#[derive(Debug, Clone)]
pub(super) struct Uuids {
    version: UuidVersion,
    /// Two, so that runs with different seeds share nothing even if half of it meets by accident.
    keys: [u64; 2],
    /// Rows of the run, which grow side by side.
    rows: u64,
    first_millisecond: u64,
}

impl Uuids {
    pub(super) fn new(version: UuidVersion, seed: u64, rows: u32, first_millisecond: u64) -> Self {
        let keys = [mixed(seed ^ 0x6d65_7465_7264_0001), mixed(seed ^ 0x6d65_7465_7264_0002)];
        Self { version, keys, rows: rows.into(), first_millisecond }
    }

    /// The uuid of a record.
    pub(super) fn uuid(&self, number: RecordNumber) -> Uuid {
        let (high, low) = self.bits(number);
        match self.version {
            UuidVersion::V4 => {
                let bits = (u128::from(high) << 64) | u128::from(low);
                uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
            }
            UuidVersion::V7 => {
                // Row by row, records are spread evenly over the supposed time.
                let tick = number.at * self.rows + u64::from(number.row);
                let millisecond = self.first_millisecond + tick / V7_RECORDS_PER_MILLISECOND;
                // The twelve bits after the version continue the time, as the standard allows.
                let fraction = (tick % V7_RECORDS_PER_MILLISECOND) << 4;
                let time =
                    (u128::from(millisecond) << 80) | (0x7 << 76) | (u128::from(fraction) << 64);
                let random = u128::from(low & (u64::MAX >> 2)) | (0b10 << 62);
                Uuid::from_u128(time | random)
            }
        }
    }

    /// A number that decides all else in a record.
    pub(super) fn content(&self, number: RecordNumber) -> u64 {
        let (high, low) = self.bits(number);
        mixed(high ^ low.rotate_left(32))
    }

    fn bits(&self, number: RecordNumber) -> (u64, u64) {
        let [first, second] = self.keys;
        let place = (u64::from(number.row) << 40) ^ number.at;
        (mixed(place ^ first), mixed(mixed(place ^ second)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn numbers(rows: u32, each: u64) -> impl Iterator<Item = RecordNumber> {
        (0..each).flat_map(move |at| (0..rows).map(move |row| RecordNumber { row, at }))
    }

    #[test]
    fn any_uuid_can_be_made_again_and_none_is_made_twice() {
        for version in [UuidVersion::V4, UuidVersion::V7] {
            let uuids = Uuids::new(version, 7, 40, 1_790_000_000_000);
            let made: Vec<Uuid> = numbers(40, 500).map(|number| uuids.uuid(number)).collect();
            let again = Uuids::new(version, 7, 40, 1_790_000_000_000);
            for (number, uuid) in numbers(40, 500).zip(&made) {
                assert_eq!(again.uuid(number), *uuid);
                assert_eq!(again.content(number), uuids.content(number));
            }
            let mut distinct: HashSet<Uuid> = made.iter().copied().collect();
            assert_eq!(distinct.len(), made.len());
            let other = Uuids::new(version, 8, 40, 1_790_000_000_000);
            assert!(numbers(40, 500).all(|number| distinct.insert(other.uuid(number))));
        }
    }

    #[test]
    fn uuids_have_the_form_of_their_version() {
        for (version, expected) in [(UuidVersion::V4, 4), (UuidVersion::V7, 7)] {
            let uuids = Uuids::new(version, 1, 3, 1_790_000_000_000);
            for number in numbers(3, 1000) {
                let uuid = uuids.uuid(number);
                assert_eq!(uuid.get_version_num(), expected);
                assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            }
        }
    }

    #[test]
    fn version_7_is_in_the_order_of_the_run() {
        let uuids = Uuids::new(UuidVersion::V7, 1, 80, 1_790_000_000_000);
        let made: Vec<Uuid> = numbers(80, 200).map(|number| uuids.uuid(number)).collect();
        assert!(made.is_sorted());
        let (seconds, _) = made[0].get_timestamp().unwrap().to_unix();
        assert_eq!(seconds, 1_790_000_000);
    }
}
