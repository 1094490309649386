//! What must hold of the bytes that the store reads back, whatever they are. Bodies are tried in genuine frames: the
//! checksum keeps out accidents, so everything behind it would never be reached otherwise.

mod entries;

pub use self::entries::entries;
pub use super::{index::fuzzing::index, log::fuzzing::log, rollup::fuzzing::rows};

use crate::domain::fuzzing::Choices;

/// A frame is refused if one byte of it was changed, or of the key that it stands under.
pub(super) fn is_sealed(
    frame: &[u8],
    key: &[u8],
    choices: &mut Choices<'_>,
    opens: impl Fn(&[u8], &[u8]) -> bool,
) {
    assert!(opens(key, frame), "as it is");
    let changed = |bytes: &[u8], choices: &mut Choices<'_>| {
        let mut changed = bytes.to_vec();
        let place = choices.place(bytes.len().saturating_sub(1));
        let change = choices.byte().max(1);
        if let Some(byte) = changed.get_mut(place) {
            *byte ^= change;
        }
        changed
    };
    let damaged = changed(frame, choices);
    assert!(!opens(key, &damaged), "{damaged:02x?} for {frame:02x?}");
    let elsewhere = changed(key, choices);
    assert!(!opens(&elsewhere, frame), "under {elsewhere:02x?} instead of {key:02x?}");
}
