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
pub(super) const ROW_KEY_BYTES_MAX: usize = 5_870;

/// Longest key of a sort in which counts take part: all six metrics.
const SORT_KEY_BYTES_MAX: usize = ROW_KEY_BYTES_MAX + 6 * COUNT_BYTES;

/// Most bytes of a count: seven bits each.
const COUNT_VARINT_BYTES_MAX: usize = (u128::BITS as usize).div_ceil(7);

/// Most bytes that a row takes beside its key.
pub(super) const OVERHEAD_BYTES_MAX: usize = 2 + 2 + 1 + CLASSES * COUNT_VARINT_BYTES_MAX;

/// Appends a row that follows the row with the key `before` (empty at the beginning).
pub(super) fn put_record(out: &mut Vec<u8>, before: &[u8], key: &[u8], counts: &Counts) {
    let shared = shared_bytes(before, key);
    let suffix = key.get(shared..).unwrap_or_default();
    put_varint(out, shared as u128);
    put_varint(out, suffix.len() as u128);
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
    Ok(Counts::from_classes(by_class))
}

fn shared_bytes(before: &[u8], key: &[u8]) -> usize {
    const WORD: usize = 8;
    let words = before.chunks_exact(WORD).zip(key.chunks_exact(WORD));
    let by_words = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = |key| <[u8]>::get(key, by_words..).unwrap_or_default().iter();
    by_words + rest(before).zip(rest(key)).take_while(|(a, b)| a == b).count()
}

fn put_varint(out: &mut Vec<u8>, value: u128) {
    let mut value = value;
    // Nearly all numbers are small, and so wide a shift is slow.
    let mut narrow = loop {
        match u64::try_from(value) {
            Ok(narrow) => break narrow,
            Err(_) => {
                out.push(value.to_le_bytes()[0] | 0x80);
                value >>= 7;
            }
        }
    };
    loop {
        let low = narrow.to_le_bytes()[0] & 0x7f;
        narrow >>= 7;
        if narrow == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_varint(input: &mut impl Read) -> io::Result<u128> {
    let mut narrow = 0;
    for shift in (0..NARROW_BITS).step_by(7) {
        let byte = take_byte(input)?;
        narrow |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(narrow.into());
        }
    }
    let mut value = u128::from(narrow);
    for shift in (NARROW_BITS..u128::BITS).step_by(7) {
        let byte = take_byte(input)?;
        let bits = u128::from(byte & 0x7f);
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

/// Bits of a number that fit 64 bits without a look at the last ones.
const NARROW_BITS: u32 = 63;

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
            large: u128,
        ) {
            let mut bytes = Vec::new();
            let mut before = Vec::new();
            let counts = |classes: [u32; 6]| match classes {
                [0, ..] => Counts::from_classes([0, 0, large, 0, large >> 65, 0]),
                classes => Counts::from_classes(classes.map(u128::from)),
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
        let counts = Counts::from_classes([u128::MAX; CLASSES]);
        put_record(&mut bytes, b"", &[7; ROW_KEY_BYTES_MAX], &counts);
        assert!(bytes.len() <= ROW_KEY_BYTES_MAX + OVERHEAD_BYTES_MAX);
    }

    #[test]
    fn numbers_past_128_bits_are_refused() {
        let eighteen = [0xff; 18];
        let number = |last: u8| take_varint(&mut &[&eighteen[..], &[last]].concat()[..]).ok();
        assert_eq!(number(3), Some(u128::MAX));
        assert_eq!((number(4), number(0x83)), (None, None));
        let mut written = Vec::new();
        put_varint(&mut written, u128::MAX);
        assert_eq!(written.len(), COUNT_VARINT_BYTES_MAX);
    }
}
