//! The parts of keys: each is bytes that compare as the value does, and shows where it ends.
//!
//! | value | bytes |
//! | --- | --- |
//! | day | its number, sign flipped, 4 bytes, big-endian |
//! | text | UTF-8, then `00`; `00` and `01` in the text are `01 01` and `01 02` |
//! | count | 16 bytes, big-endian |
//!
//! Descending, every bit is flipped, that of the terminator included. No part is the beginning of another of
//! its kind, so whole keys compare part by part.

use super::{RowsError, plan::Direction};
use crate::domain::asset_usage::UsageDay;

const TERMINATOR: u8 = 0;
const ESCAPE: u8 = 1;
/// Added to the escaped byte, so that the terminator is less than whatever a text may go on with.
const ESCAPED_OFFSET: u8 = 1;

pub(super) const DAY_BYTES: usize = 4;
pub(super) const COUNT_BYTES: usize = 16;

pub(super) fn day_bytes(day: UsageDay, direction: Direction) -> [u8; DAY_BYTES] {
    // The calendar has far fewer days than 2^31.
    let number = i32::try_from(day.number()).unwrap_or_default();
    let mut bytes = (number ^ i32::MIN).to_be_bytes();
    orient(&mut bytes, direction);
    bytes
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str, direction: Direction) {
    let begin = out.len();
    if text.bytes().any(|byte| byte <= ESCAPE) {
        for byte in text.bytes() {
            if byte <= ESCAPE {
                out.extend_from_slice(&[ESCAPE, byte + ESCAPED_OFFSET]);
            } else {
                out.push(byte);
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(TERMINATOR);
    orient(out.get_mut(begin..).unwrap_or_default(), direction);
}

pub(super) fn put_count(out: &mut Vec<u8>, count: u128, direction: Direction) {
    let mut bytes = count.to_be_bytes();
    orient(&mut bytes, direction);
    out.extend_from_slice(&bytes);
}

/// Takes so many bytes from the front of a key.
///
/// # Errors
/// [`RowsError::Damaged`] if there are fewer.
pub(super) fn take_bytes<'a>(key: &mut &'a [u8], count: usize) -> Result<&'a [u8], RowsError> {
    let (taken, rest) = key.split_at_checked(count).ok_or(RowsError::Damaged)?;
    *key = rest;
    Ok(taken)
}

/// Takes the bytes of a text, its terminator included, from the front of a key.
///
/// # Errors
/// [`RowsError::Damaged`] if it does not end.
pub(super) fn take_text_bytes<'a>(
    key: &mut &'a [u8],
    direction: Direction,
) -> Result<&'a [u8], RowsError> {
    let terminator = TERMINATOR ^ flip(direction);
    let end = key.iter().position(|byte| *byte == terminator).ok_or(RowsError::Damaged)?;
    take_bytes(key, end + 1)
}

/// Takes a day from the front of a key.
///
/// # Errors
/// [`RowsError::Damaged`] if the key is too short or there is no such day.
pub(super) fn take_day(key: &mut &[u8], direction: Direction) -> Result<UsageDay, RowsError> {
    let (bytes, rest) = key.split_first_chunk::<DAY_BYTES>().ok_or(RowsError::Damaged)?;
    *key = rest;
    let mut bytes = *bytes;
    orient(&mut bytes, direction);
    let number = i32::from_be_bytes(bytes) ^ i32::MIN;
    UsageDay::from_number(number.into()).ok_or(RowsError::Damaged)
}

/// Takes a text from the front of a key.
///
/// # Errors
/// [`RowsError::Damaged`] if it does not end or was not written by [`put_text`].
pub(super) fn take_text(key: &mut &[u8], direction: Direction) -> Result<String, RowsError> {
    let mut bytes = take_text_bytes(key, direction)?.to_vec();
    orient(&mut bytes, direction);
    bytes.pop();
    if bytes.contains(&ESCAPE) {
        bytes = unescape(&bytes)?;
    }
    String::from_utf8(bytes).map_err(|_| RowsError::Damaged)
}

fn unescape(escaped: &[u8]) -> Result<Vec<u8>, RowsError> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == ESCAPE {
            let original = bytes.next().and_then(|next| next.checked_sub(ESCAPED_OFFSET));
            plain.push(original.filter(|byte| *byte <= ESCAPE).ok_or(RowsError::Damaged)?);
        } else {
            plain.push(byte);
        }
    }
    Ok(plain)
}

fn flip(direction: Direction) -> u8 {
    match direction {
        Direction::Ascending => 0,
        Direction::Descending => 0xff,
    }
}

fn orient(bytes: &mut [u8], direction: Direction) {
    let flip = flip(direction);
    if flip != 0 {
        bytes.iter_mut().for_each(|byte| *byte ^= flip);
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn towards(ordering: Ordering, direction: Direction) -> Ordering {
        match direction {
            Direction::Ascending => ordering,
            Direction::Descending => ordering.reverse(),
        }
    }

    /// Texts that look like each other's beginnings, terminators and escapes.
    fn awkward() -> impl Strategy<Value = String> {
        prop_oneof!["[\u{0}\u{1}\u{2}aé\u{10ffff}]{0,4}", any::<String>()]
    }

    fn direction() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)]
    }

    proptest! {
        #[test]
        fn texts_in_a_row_compare_as_their_keys(
            directions in prop::collection::vec(direction(), 3),
            a in prop::collection::vec(awkward(), 3),
            b in prop::collection::vec(awkward(), 3),
        ) {
            let key = |texts: &[String]| {
                let mut key = Vec::new();
                for (text, direction) in texts.iter().zip(&directions) {
                    put_text(&mut key, text, *direction);
                }
                key
            };
            let expected = a.iter().zip(&b).zip(&directions).fold(Ordering::Equal, |so_far, ((a, b), direction)| {
                so_far.then(towards(a.chars().cmp(b.chars()), *direction))
            });
            prop_assert_eq!(key(&a).cmp(&key(&b)), expected);

            let bytes = key(&a);
            let mut rest = &bytes[..];
            for (text, direction) in a.iter().zip(&directions) {
                prop_assert_eq!(&take_text(&mut rest, *direction).unwrap(), text);
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn days_and_counts_compare_as_their_keys(
            direction in direction(),
            a in -4_371_587..2_932_897_i64,
            b in -4_371_587..2_932_897_i64,
            c: u128,
            d: u128,
        ) {
            let day = |number| UsageDay::from_number(number).unwrap();
            let key = |number| day_bytes(day(number), direction);
            prop_assert_eq!(key(a).cmp(&key(b)), towards(a.cmp(&b), direction));
            prop_assert_eq!(take_day(&mut &key(a)[..], direction).unwrap(), day(a));
            let count = |number| {
                let mut key = Vec::new();
                put_count(&mut key, number, direction);
                key
            };
            prop_assert_eq!(count(c).cmp(&count(d)), towards(c.cmp(&d), direction));
        }

        #[test]
        fn garbage_never_panics(direction in direction(), bytes: Vec<u8>) {
            let _ = take_text(&mut &bytes[..], direction);
            let _ = take_day(&mut &bytes[..], direction);
        }
    }
}
