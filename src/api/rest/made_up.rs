//! Messages made of choices, and their bytes, damaged.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::domain::fuzzing::{self, Choices};

/// Messages in messages.
const DEPTH_MAX: usize = 4;
const TEXTS: [&str; 7] =
    ["", "a", "-7", "é\u{1F600}", "\"\\/\n\u{0}\u{7f}\u{2028}", "true", "2026-11-20T12:00:00Z"];

/// A message with any of its fields.
pub(in crate::api) fn message(
    descriptor: &MessageDescriptor,
    choices: &mut Choices<'_>,
    depth: usize,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if ["google.protobuf.Timestamp", "google.protobuf.Duration"].contains(&descriptor.full_name()) {
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
pub(in crate::api) fn damaged(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.once_in(8) {
        // A field that nobody knows.
        bytes.extend([0xF8, 0x7F, 1]);
        return bytes;
    }
    fuzzing::damaged(bytes, choices)
}
