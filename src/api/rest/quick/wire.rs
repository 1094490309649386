//! Fields on the wire, written one after the other.

use prost::encoding::{WireType, encode_key, encode_varint, int32, int64};
use prost_types::Timestamp;

/// How a value is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// With its key, and left out where nobody could tell it from nothing.
    Field { default_too: bool },
    /// Without.
    Packed,
}

/// Any number: all that have a quick way are varints.
pub(super) fn put_number(number: u32, form: Form, value: u64, bytes: &mut Vec<u8>) {
    if let Form::Field { default_too } = form {
        if value == 0 && !default_too {
            return;
        }
        encode_key(number, WireType::Varint, bytes);
    }
    encode_varint(value, bytes);
}

pub(super) fn put_text(number: u32, form: Form, text: &str, bytes: &mut Vec<u8>) {
    if text.is_empty() && matches!(form, Form::Field { default_too: false }) {
        return;
    }
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(text.len() as u64, bytes);
    bytes.extend_from_slice(text.as_bytes());
}

pub(super) fn put_time(number: u32, time: &Timestamp, bytes: &mut Vec<u8>) {
    let start = open(number, bytes);
    if time.seconds != 0 {
        int64::encode(1, &time.seconds, bytes);
    }
    if time.nanos != 0 {
        int32::encode(2, &time.nanos, bytes);
    }
    close(start, bytes);
}

/// Begins a value whose length is known when it is [closed](close): where it starts.
pub(super) fn open(number: u32, bytes: &mut Vec<u8>) -> usize {
    encode_key(number, WireType::LengthDelimited, bytes);
    // Nearly all are shorter than 128 bytes, and that takes one byte to say.
    bytes.push(0);
    bytes.len()
}

/// Writes the length of the value that starts there.
pub(super) fn close(start: usize, bytes: &mut Vec<u8>) {
    let length = bytes.len() - start;
    if let (Ok(short @ ..0x80), Some(byte)) = (u8::try_from(length), bytes.get_mut(start - 1)) {
        *byte = short;
        return;
    }
    let mut written = Vec::new();
    encode_varint(length as u64, &mut written);
    bytes.splice(start - 1..start, written);
}
