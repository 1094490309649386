//! The JSON of a message, written otherwise: some of it means the same, some another thing, some nothing.

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use crate::domain::fuzzing::Choices;

/// What may stand where a value stood.
const OTHER_VALUES: &[&str] = &[
    "null",
    "true",
    "1.0",
    "1e2",
    "-0",
    "0.5",
    "7",
    "-7",
    "18446744073709551616",
    "9223372036854775808",
    "2147483648",
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "\"+7\"",
    "\"007\"",
    "\"-0\"",
    "\" 7\"",
    "\"7.0\"",
    "\"NaN\"",
    "\"COLOR_RED\"",
    "\"color_red\"",
    "\"\\ud800\"",
    "\"2026-11-20T12:00:00+02:00\"",
    "\"2026-11-20t12:00:00Z\"",
    "\"2026-11-20T12:00:60Z\"",
    "\"2026-11-20T24:00:00Z\"",
    "\"2026-02-29T12:00:00Z\"",
    "\"2024-02-29T23:59:59.1Z\"",
    "\"0000-12-31T23:59:59Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"2026-11-20T12:00:00.Z\"",
    "\"2026-11-20T12:00:00.0000000001Z\"",
    "\"2026-11-20T12:00:00.5\"",
    "\"-026-11-20T12:00:00Z\"",
    "\"2026-11-20T12:00:00Z \"",
];

/// Writes `value`, which stands for a message.
pub(super) fn text(
    value: &Value,
    descriptor: &MessageDescriptor,
    choices: &mut Choices<'_>,
) -> String {
    let mut out = String::new();
    spell(value, Some(descriptor), choices, &mut out);
    if choices.once_in(32) {
        let mut at = choices.place(out.len());
        while !out.is_char_boundary(at) {
            at -= 1;
        }
        out.truncate(at);
    }
    if choices.once_in(64) {
        out.push_str(choices.of(&["}", " ", "null", "{}", ","]));
    }
    out
}

fn spell(
    value: &Value,
    descriptor: Option<&MessageDescriptor>,
    choices: &mut Choices<'_>,
    out: &mut String,
) {
    space(choices, out);
    if choices.once_in(96) {
        out.push_str(choices.of(OTHER_VALUES));
        return;
    }
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let first = choices.place(members.len());
            members.rotate_left(first);
            if choices.once_in(48) {
                members.extend_from_within(choices.place(members.len())..);
            }
            out.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let field = descriptor.and_then(|message| message.get_field_by_json_name(name));
                let spelt = match &field {
                    _ if choices.once_in(96) => "unknown",
                    Some(field) if choices.once_in(4) => field.name(),
                    _ => name,
                };
                quoted(spelt, choices, out);
                space(choices, out);
                out.push(':');
                let inner = field.map(|field| field.kind());
                spell(value, inner.as_ref().and_then(Kind::as_message), choices, out);
            }
            out.push('}');
        }
        Value::Array(elements) => {
            out.push('[');
            for (at, value) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                spell(value, descriptor, choices, out);
            }
            out.push(']');
        }
        Value::String(text) if choices.once_in(4) && text.parse::<i128>().is_ok() => {
            out.push_str(text);
        }
        Value::String(text) => quoted(text, choices, out),
        Value::Number(number) if choices.once_in(4) => quoted(&number.to_string(), choices, out),
        other => out.push_str(&other.to_string()),
    }
    space(choices, out);
}

fn space(choices: &mut Choices<'_>, out: &mut String) {
    if choices.once_in(8) {
        out.push_str(choices.of(&[" ", "\n", "\t\r "]));
    }
}

/// A string, with more or less of it escaped.
fn quoted(text: &str, choices: &mut Choices<'_>, out: &mut String) {
    if !choices.once_in(4) {
        out.push_str(&Value::from(text).to_string());
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        out.push_str(&format!("\\u{unit:04x}"));
    }
    out.push('"');
}
