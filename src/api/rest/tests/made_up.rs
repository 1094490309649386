//! Messages made of choices, and their bytes, damaged.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Messages in messages.
const DEPTH_MAX: usize = 4;
const TEXTS: [&str; 7] =
    ["", "a", "-7", "é\u{1F600}", "\"\\/\n\u{0}\u{7f}\u{2028}", "true", "2026-11-20T12:00:00Z"];

/// What somebody else has decided beforehand. When there is nothing left, everything is plain.
pub(super) struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    /// One of so many.
    pub(super) fn pick(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte) % count)
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.pick(all.len())]
    }

    /// Whether something happens that happens once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }

    /// A place in something that long.
    pub(super) fn place(&mut self, length: usize) -> usize {
        (self.pick(256) << 8 | self.pick(256)) % (length + 1)
    }
}

/// A message with any of its fields.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    choices: &mut Choices<'_>,
    depth: usize,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.package_name() == "google.protobuf" && descriptor.get_field(2).is_some() {
        // Times and durations have a range.
        let seconds = [0, 1, 1_763_640_000, -62_135_596_800, 253_402_300_799, -1];
        message.set_field_by_number(1, Value::I64(choices.of(&seconds)));
        let nanos = [0, 1, 500_000_000, 123_000, 999_999_999, 1_000_000_000];
        message.set_field_by_number(2, Value::I32(choices.of(&nanos)));
        return message;
    }
    for field in descriptor.fields() {
        if choices.once_in(3) || field.is_map() {
            continue;
        }
        let mut one = || value(&field, choices, depth);
        let value = if field.is_list() {
            let elements = one().into_iter().chain(one()).chain(one());
            Some(Value::List(elements.collect()))
        } else {
            one()
        };
        if let Some(value) = value {
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, choices: &mut Choices<'_>, depth: usize) -> Option<Value> {
    const INTEGERS: [i64; 9] =
        [0, 1, -1, 127, 128, i64::MAX, i64::MIN, (1 << 53) + 1, i32::MIN as i64];
    Some(match field.kind() {
        Kind::Bool => Value::Bool(choices.pick(2) == 1),
        Kind::String if choices.once_in(8) => Value::String("long ".repeat(50)),
        Kind::String => Value::String(choices.of(&TEXTS).to_owned()),
        Kind::Int32 => Value::I32(choices.of(&INTEGERS) as i32),
        Kind::Int64 => Value::I64(choices.of(&INTEGERS)),
        Kind::Uint32 => Value::U32(choices.of(&INTEGERS) as u32),
        Kind::Uint64 => Value::U64(choices.of(&INTEGERS).cast_unsigned()),
        Kind::Double => Value::F64(choices.of(&[0.0, 1.5, -1e300])),
        Kind::Bytes => Value::Bytes(vec![0xFF; choices.pick(4)].into()),
        Kind::Enum(_) if choices.once_in(16) => Value::EnumNumber(77),
        Kind::Enum(values) => {
            let numbers: Vec<i32> = values.values().map(|value| value.number()).collect();
            Value::EnumNumber(choices.of(&numbers))
        }
        Kind::Message(_) if depth == DEPTH_MAX => return None,
        Kind::Message(inner) => Value::Message(message(&inner, choices, depth + 1)),
        _ => return None,
    })
}

/// Bytes that may no longer be what they were.
pub(super) fn damaged(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    let place = choices.place(bytes.len());
    match choices.pick(8) {
        0 => bytes.truncate(place),
        1 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << choices.pick(8);
            }
        }
        2 => bytes.insert(place, choices.pick(256) as u8),
        3 if place < bytes.len() => drop(bytes.remove(place)),
        // Everything twice.
        4 => bytes.extend_from_within(..),
        // Out of order.
        5 => bytes.rotate_left(place),
        // A field that nobody knows.
        6 => bytes.extend([0xF8, 0x7F, 1]),
        _ => bytes.extend_from_within(place..),
    }
    bytes
}
