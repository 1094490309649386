//! Bytes in and out: a bounds-checked reader, variable-length integers, and the frame around every
//! stored value.
//!
//! A frame is `version:u8 ‖ crc32:u32le ‖ body`. The checksum covers the key, the version and the
//! body, so a value that turns up under another key is as damaged as one with a flipped bit.

use std::fmt;

use crate::{domain::id::ClientId, store::StoreError};

/// Bytes that a frame adds to a body.
pub(super) const FRAME_BYTES: usize = 5;

/// In the place of a text's length: a second byte says how many more there are.
const LONGER_TEXT: u8 = u8::MAX;
/// The longest text of an identifier.
const TEXT_BYTES_MAX: usize = 2 * LONGER_TEXT as usize;
const _: () = assert!(ClientId::BYTES_MAX <= TEXT_BYTES_MAX);

/// Most bytes that the text of a client's id takes, with its length.
pub(super) const CLIENT_TEXT_BYTES_MAX: usize = 2 + ClientId::BYTES_MAX;

/// Why bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They end too early.
    Truncated,
    /// Something follows where nothing should.
    Trailing,
    /// The checksum does not match.
    Checksum,
    /// A version that this program does not know.
    Version(u8),
    /// A number, text or order that cannot have been written.
    Content,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("ends too early"),
            Self::Trailing => f.write_str("has trailing bytes"),
            Self::Checksum => f.write_str("checksum mismatch"),
            Self::Version(version) => write!(f, "unknown format version {version}"),
            Self::Content => f.write_str("impossible content"),
        }
    }
}

/// Starts a frame: room for its header, and for about `capacity` bytes of body.
pub(super) fn start_frame(capacity: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_BYTES + capacity);
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// Completes a frame that was begun with [`start_frame`].
pub(super) fn finish_frame(frame: &mut [u8], version: u8, key: &[u8]) {
    let (header, body) = frame.split_at_mut(FRAME_BYTES);
    let checksum = frame_checksum(key, version, body).to_le_bytes();
    for (slot, byte) in header.iter_mut().zip(std::iter::once(version).chain(checksum)) {
        *slot = byte;
    }
}

/// A body in its frame.
pub(super) fn frame(body: &[u8], version: u8, key: &[u8]) -> Vec<u8> {
    let mut frame = start_frame(body.len());
    frame.extend_from_slice(body);
    finish_frame(&mut frame, version, key);
    frame
}

/// Checks a frame and gives its body.
pub(super) fn open_frame<'a>(
    frame: &'a [u8],
    version: u8,
    key: &[u8],
) -> Result<&'a [u8], Malformed> {
    let mut reader = Reader::new(frame);
    let found = reader.u8()?;
    let checksum = reader.u32()?;
    let body = reader.rest();
    // The version is covered by the checksum, so an unknown one is judged only if it is genuine.
    if frame_checksum(key, found, body) != checksum {
        return Err(Malformed::Checksum);
    }
    if found != version {
        return Err(Malformed::Version(found));
    }
    Ok(body)
}

fn frame_checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// Reads from the front of a slice.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// An unsigned LEB128 number.
    pub(super) fn varint(&mut self) -> Result<u128, Malformed> {
        let mut value: u128 = 0;
        for shift in (0..128).step_by(7) {
            let byte = self.u8()?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && bits > 3 {
                return Err(Malformed::Content);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Content)
    }

    /// One of at most 64 bits. Every record has three, and wide arithmetic takes its time.
    pub(super) fn varint_u64(&mut self) -> Result<u64, Malformed> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Content);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Content)
    }

    /// A zigzag-coded signed number.
    pub(super) fn varint_i64(&mut self) -> Result<i64, Malformed> {
        let coded = self.varint_u64()?;
        Ok((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed())
    }

    /// How many things follow, of at least `bytes_min` bytes each: never more than there are bytes for, so that room can be
    /// made for them.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<u16, Malformed> {
        let count = self.u16()?;
        if usize::from(count) * bytes_min > self.bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(count)
    }

    /// A text of an identifier with its length in front.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let count = self.text_length()?;
        std::str::from_utf8(self.take(count)?).map_err(|_| Malformed::Content)
    }

    /// Passes such a text by.
    pub(super) fn skip_text(&mut self) -> Result<(), Malformed> {
        let count = self.text_length()?;
        self.take(count).map(drop)
    }

    fn text_length(&mut self) -> Result<usize, Malformed> {
        match self.u8()? {
            LONGER_TEXT => Ok(usize::from(LONGER_TEXT) + usize::from(self.u8()?)),
            count => Ok(usize::from(count)),
        }
    }

    /// A text of up to 65,535 bytes with its length in front.
    pub(super) fn long_text(&mut self) -> Result<&'a str, Malformed> {
        let count = usize::from(self.u16()?);
        std::str::from_utf8(self.take(count)?).map_err(|_| Malformed::Content)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Appends an unsigned LEB128 number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    loop {
        if let Ok(value) = u64::try_from(value) {
            return put_varint_u64(out, value);
        }
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
}

/// Appends one of at most 64 bits.
pub(super) fn put_varint_u64(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Appends a zigzag-coded signed number.
pub(super) fn put_varint_i64(out: &mut Vec<u8>, value: i64) {
    put_varint_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a text of an identifier with its length in front, in one byte, or in two from 255 bytes on: most identifiers
/// have at most 50 characters, so at most 200 bytes, and those of clients up to [`ClientId::BYTES_MAX`].
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= TEXT_BYTES_MAX, "texts are identifiers");
    match u8::try_from(text.len()) {
        Ok(count) if count < LONGER_TEXT => out.push(count),
        _ => {
            let more = text.len().saturating_sub(usize::from(LONGER_TEXT));
            out.extend([LONGER_TEXT, u8::try_from(more).unwrap_or(u8::MAX)]);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends a text of up to 65,535 bytes with its length in front.
pub(super) fn put_long_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u16::MAX), "a text of {} bytes", text.len());
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// An entry that cannot be read, and what kind it is.
pub(super) fn damaged<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> StoreError {
    move |error| StoreError::Damaged(format!("{what}: {error}").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_is_of_no_more_than_there_are_bytes_for() {
        let count = |count: u16, bytes: usize| {
            let bytes = [&count.to_le_bytes()[..], &vec![0; bytes]].concat();
            Reader::new(&bytes).count(19)
        };
        assert_eq!((count(0, 0), count(1, 19), count(2, 38)), (Ok(0), Ok(1), Ok(2)));
        for (claimed, bytes) in [(1, 18), (2, 37), (u16::MAX, 38)] {
            assert_eq!(count(claimed, bytes), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn text_of_any_allowed_length_reads_back() {
        for length in [0, 1, 200, 254, 255, 256, ClientId::BYTES_MAX, TEXT_BYTES_MAX] {
            let mut bytes = Vec::new();
            put_text(&mut bytes, &"x".repeat(length));
            put_text(&mut bytes, "after it");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.text().map(str::len), Ok(length));
            assert_eq!(reader.text(), Ok("after it"));
            let mut skipping = Reader::new(&bytes);
            assert_eq!(skipping.skip_text(), Ok(()));
            assert_eq!(skipping.text(), Ok("after it"));
        }
    }

    proptest! {
        #[test]
        fn numbers_read_back(unsigned: u128, signed: i64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, unsigned);
            put_varint_i64(&mut bytes, signed);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(unsigned));
            prop_assert_eq!(reader.varint_i64(), Ok(signed));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_flipped_bit_of_a_frame_or_its_key_is_noticed(body: Vec<u8>, key: [u8; 9], at: prop::sample::Index, bit in 0..8u32) {
            let mut frame = start_frame(body.len());
            frame.extend_from_slice(&body);
            finish_frame(&mut frame, 1, &key);
            prop_assert_eq!(open_frame(&frame, 1, &key), Ok(&body[..]));

            let mut damaged = key.to_vec();
            damaged.extend_from_slice(&frame);
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert!(open_frame(&damaged[9..], 1, &damaged[..9]).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let _ = (reader.varint(), reader.text(), reader.varint_i64(), reader.u64());
            let _ = open_frame(&bytes, 1, b"key");
        }
    }

    #[test]
    fn a_number_that_is_too_long_is_refused() {
        assert_eq!(Reader::new(&[0xff; 19]).varint(), Err(Malformed::Content));
        assert_eq!(Reader::new(&[0xff]).varint(), Err(Malformed::Truncated));
        let mut most = Vec::new();
        put_varint(&mut most, u64::MAX.into());
        assert_eq!(Reader::new(&most).varint_u64(), Ok(u64::MAX));
        most.clear();
        put_varint(&mut most, u128::from(u64::MAX) + 1);
        assert_eq!(Reader::new(&most).varint_u64(), Err(Malformed::Content));
        assert_eq!(Reader::new(&[0xff; 11]).varint_u64(), Err(Malformed::Content));
    }
}
