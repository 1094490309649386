//! One row after another, as bytes: what its key shares with the one before is left out, and so are
//! classes without calls.
//!
//! `shared:varint ‖ suffix length:varint ‖ suffix ‖ classes:u8 ‖ count:varint …`

use std::io::{self, Read};

use super::{
    component::COUNT_BYTES,
    counts::{CLASSES, Counts},
};

/// Longest key of a row, in bytes: with its counts, it fits a page of its own.
pub(super) const ROW_KEY_BYTES_MAX: usize = 5_900;

/// Longest key of a sort in which counts take part: all six metrics.
const SORT_KEY_BYTES_MAX: usize = ROW_KEY_BYTES_MAX + 6 * COUNT_BYTES;

/// Most bytes that a row takes beside its key.
pub(super) const OVERHEAD_BYTES_MAX: usize = 2 + 2 + 1 + CLASSES * 9;

/// Appends a row that follows the row with the key `before` (empty at the beginning).
pub(super) fn put_record(out: &mut Vec<u8>, before: &[u8], key: &[u8], counts: &Counts) {
    let shared = shared_bytes(before, key);
    let suffix = key.get(shared..).unwrap_or_default();
    put_varint(out, shared as u64);
    put_varint(out, suffix.len() as u64);
    out.extend_from_slice(suffix);
    let by_class = counts.by_class();
    let mask =
        (0..).zip(by_class).fold(0_u8, |mask, (at, calls)| mask | u8::from(*calls > 0) << at);
    out.push(mask);
    for calls in by_class.iter().filter(|calls| **calls > 0) {
        put_varint(out, *calls);
    }
}

/// Reads a row; `key` holds the key of the row before and then that of this one.
///
/// # Errors
/// Those of `input`; [`io::ErrorKind::InvalidData`] and [`io::ErrorKind::UnexpectedEof`] if it holds no row.
/// `key` is of no use then.
pub(super) fn take_record(input: &mut impl Read, key: &mut Vec<u8>) -> io::Result<Counts> {
    let shared = take_length(input)?;
    let suffix = take_length(input)?;
    if shared > key.len() || shared + suffix > SORT_KEY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    key.truncate(shared);
    key.resize(shared + suffix, 0);
    input.read_exact(key.get_mut(shared..).unwrap_or_default())?;
    let mask = take_byte(input)?;
    if u32::from(mask) >> CLASSES != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut by_class = [0; CLASSES];
    for (at, calls) in (0..).zip(&mut by_class) {
        if mask & (1_u8 << at) != 0 {
            *calls = take_varint(input)?;
        }
    }
    Counts::from_classes(by_class).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn shared_bytes(before: &[u8], key: &[u8]) -> usize {
    const WORD: usize = 8;
    let words = before.chunks_exact(WORD).zip(key.chunks_exact(WORD));
    let by_words = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = |key| <[u8]>::get(key, by_words..).unwrap_or_default().iter();
    by_words + rest(before).zip(rest(key)).take_while(|(a, b)| a == b).count()
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_varint(input: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = take_byte(input)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// A length that at least may be one.
fn take_length(input: &mut impl Read) -> io::Result<usize> {
    usize::try_from(take_varint(input)?)
        .ok()
        .filter(|length| *length <= SORT_KEY_BYTES_MAX)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn take_byte(input: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_read_back(
            rows in prop::collection::vec((prop::collection::vec(0..3_u8, 0..40), any::<[u32; 6]>()), 0..20),
            large in 0..=i64::MAX.cast_unsigned(),
        ) {
            let mut bytes = Vec::new();
            let mut before = Vec::new();
            let counts = |classes: [u32; 6]| match classes {
                [0, ..] => Counts::from_classes([0, 0, large, 0, 0, 0]).unwrap(),
                classes => Counts::from_classes(classes.map(|calls| u64::from(calls / 2))).unwrap(),
            };
            for (key, classes) in &rows {
                put_record(&mut bytes, &before, key, &counts(*classes));
                before.clone_from(key);
            }
            let mut input = &bytes[..];
            let mut key = Vec::new();
            for (expected, classes) in &rows {
                prop_assert_eq!(take_record(&mut input, &mut key).unwrap(), counts(*classes));
                prop_assert_eq!(&key, expected);
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let (mut input, mut key) = (&bytes[..], Vec::new());
            while take_record(&mut input, &mut key).is_ok() {
                prop_assert!(key.len() <= SORT_KEY_BYTES_MAX);
            }
        }
    }

    #[test]
    fn the_largest_record_keeps_to_its_bounds() {
        let mut bytes = Vec::new();
        let sixth = i64::MAX.cast_unsigned() / 6;
        let counts = Counts::from_classes([sixth; 6]).unwrap();
        put_record(&mut bytes, b"", &[7; ROW_KEY_BYTES_MAX], &counts);
        assert!(bytes.len() <= ROW_KEY_BYTES_MAX + OVERHEAD_BYTES_MAX);
    }

    #[test]
    fn numbers_past_64_bits_are_refused() {
        let nine = [0xff; 9];
        let number = |last: u8| take_varint(&mut &[&nine[..], &[last]].concat()[..]).ok();
        assert_eq!(number(1), Some(u64::MAX));
        assert_eq!((number(2), number(0x81)), (None, None));
    }
}
