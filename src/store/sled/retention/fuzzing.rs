//! What dropped values leave behind: where the log begins, and rows of what is gone.

use super::{
    floor::{DroppedCounts, LogFloor, UuidSum, VERSION},
    retired_key, row_of_retired_key,
};
use crate::{
    domain::{
        fuzzing::{Choices, damaged, made_up},
        usage::LogSequence,
    },
    store::{
        LINK_BYTES,
        sled::{
            codec::{self, FRAME_BYTES},
            fuzzing::is_sealed,
            index::key::{UuidKey, UuidKind},
            keyspace::KeySpace,
            log::chain::{Chain, Link},
            organizations::OrganizationNumber,
            rollup::{fuzzing as rows, row::Row},
        },
    },
};

/// The beginning of the log reads back; one that was changed is refused; and whatever can be read is written the same again.
pub(in crate::store::sled) fn floor(choices: &mut Choices<'_>) {
    let last = LogSequence(choices.number().min(u64::MAX - 1));
    let link = Link([choices.byte(); LINK_BYTES]);
    let floor = LogFloor {
        before: Chain::resumed(last, link, choices.once_in(2)),
        stored_time: made_up::instant(choices),
        counts: DroppedCounts {
            chunks: choices.number(),
            records: choices.number(),
            api_events: choices.number(),
            batches: choices.number(),
            asset_usages: choices.number(),
        },
        uuids: uuids(choices),
        kept_from: choices.once_in(2).then(|| made_up::instant(choices)),
    };
    assert!(floor.has_dropped(last) && !floor.has_dropped(floor.first()));
    let key = KeySpace::LogFloor.only();
    let value = floor.encode().expect("a time of the log");
    assert_eq!(LogFloor::decode(&key, &value).ok(), Some(floor));
    is_sealed(&value, &key, choices, |key, value| LogFloor::decode(key, value).is_ok());
    let body = value.get(FRAME_BYTES..).unwrap_or_default().to_vec();
    body_again(&damaged(body, choices));
    body_again(choices.rest());
}

/// A sum does not depend on the order in which it was made.
fn uuids(choices: &mut Choices<'_>) -> UuidSum {
    let keys: Vec<(UuidKey, LogSequence)> = (0..choices.pick(4))
        .map(|_| {
            let kind = choices.of(&[UuidKind::ProductUsage, UuidKind::ApiUsage]);
            let key = UuidKey::new(made_up::uuid(choices), OrganizationNumber(1), kind);
            (key, LogSequence(choices.number()))
        })
        .collect();
    let (mut sum, mut reversed) = (UuidSum::default(), UuidSum::default());
    keys.iter().for_each(|(key, sequence)| sum.add(key, *sequence));
    keys.iter().rev().for_each(|(key, sequence)| reversed.add(key, *sequence));
    assert_eq!(sum, reversed);
    sum
}

fn body_again(body: &[u8]) {
    let key = KeySpace::LogFloor.only();
    let value = codec::frame(body, VERSION, &key);
    if let Ok(floor) = LogFloor::decode(&key, &value) {
        assert!(floor.first() > floor.before.last());
        assert_eq!(floor.encode().ok(), Some(value));
    }
}

/// A row of what was dropped reads back under its own key alone, which names the row that it was dropped of.
pub(in crate::store::sled) fn retired_row(choices: &mut Choices<'_>) {
    let (row_key, row) = (rows::made_up_key(choices), rows::made_up_row(choices));
    let key = retired_key(&row_key);
    assert_eq!(row_of_retired_key(&key), row_key);
    let value = row.encode(&key);
    assert_eq!(Row::decode(&key, &value).ok(), Some(row));
    assert!(Row::decode(row_key.as_bytes(), &value).is_err(), "as what is reported");
    is_sealed(&value, &key, choices, |key, value| Row::decode(key, value).is_ok());
}
