//! JSON → message.
//!
//! prost-reflect does the ProtoJSON mapping. Two things that it lets pass would change what is counted, and
//! are refused before: a member that is given twice (the last would win), and a whole number that a double
//! cannot hold (it would be rounded).

use std::fmt;

use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{dialect::UnknownMembers, well_known::is_well_known};
use crate::service::FieldViolation;

/// Below this, a double holds every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Stands for the whole body where no member is at fault.
const BODY: &str = "body";

/// Why a text is not the message that is wanted.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) violation: FieldViolation,
    /// It is no JSON at all: it may have been cut, or be two requests in one.
    pub(super) is_broken: bool,
}

impl Unreadable {
    fn new(field: &str, error: &serde_json::Error) -> Self {
        Self { violation: violation(field, &error.to_string()), is_broken: !error.is_data() }
    }
}

/// Reads a message.
///
/// # Errors
/// Where and why the text is no such message.
pub(super) fn message(
    text: &[u8],
    descriptor: &MessageDescriptor,
    unknown: UnknownMembers,
) -> Result<DynamicMessage, Unreadable> {
    let expected = if is_well_known(descriptor) {
        Expected::Anything
    } else {
        Expected::Message(descriptor.clone())
    };
    check(text, expected)?;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    DynamicMessage::deserialize_with_options(
        descriptor.clone(),
        &mut deserializer,
        &options(unknown),
    )
    .map_err(|_| located(text, descriptor, unknown))
}

/// Reads the value of one field.
///
/// # Errors
/// Where and why the text is no such value.
pub(super) fn field(
    text: &[u8],
    field: &FieldDescriptor,
    unknown: UnknownMembers,
) -> Result<Option<Value>, Unreadable> {
    if let Kind::Message(inner) = field.kind()
        && !field.is_list()
        && !field.is_map()
    {
        return message(text, &inner, unknown).map(|message| Some(Value::Message(message)));
    }
    check(text, Expected::of(field))?;
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| Unreadable::new(BODY, &error))?;
    field_value(field, value, unknown).map_err(|problem| Unreadable {
        violation: violation(field.name(), &problem),
        is_broken: false,
    })
}

/// The value of one field from its JSON; `None` for null.
pub(super) fn field_value(
    field: &FieldDescriptor,
    value: serde_json::Value,
    unknown: UnknownMembers,
) -> Result<Option<Value>, String> {
    let mut object = serde_json::Map::new();
    object.insert(field.json_name().to_owned(), value);
    let mut message = DynamicMessage::deserialize_with_options(
        field.parent_message().clone(),
        serde_json::Value::Object(object),
        &options(unknown),
    )
    .map_err(|error| error.to_string())?;
    Ok(message.take_field(field))
}

fn options(unknown: UnknownMembers) -> DeserializeOptions {
    DeserializeOptions::new().deny_unknown_fields(unknown == UnknownMembers::Refuse)
}

fn violation(field: &str, problem: &str) -> FieldViolation {
    FieldViolation::new(field, format!("is not the JSON that is expected: {problem}"))
}

/// Reads once more what failed, keeping track of where: that costs too much to do it always.
fn located(text: &[u8], descriptor: &MessageDescriptor, unknown: UnknownMembers) -> Unreadable {
    let mut track = serde_path_to_error::Track::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let result = DynamicMessage::deserialize_with_options(
        descriptor.clone(),
        serde_path_to_error::Deserializer::new(&mut deserializer, &mut track),
        &options(unknown),
    );
    let path = track.path();
    let field = if path.iter().next().is_none() { BODY.to_owned() } else { path.to_string() };
    match result {
        Err(error) => Unreadable::new(&field, &error),
        // It failed a moment ago.
        Ok(_) => Unreadable { violation: violation(BODY, "it cannot be read"), is_broken: false },
    }
}

/// What a place in the text is for.
#[derive(Clone)]
enum Expected {
    /// Nothing that needs a look.
    Anything,
    /// A 64-bit integer, or several.
    Integer,
    /// A message, or several.
    Message(MessageDescriptor),
}

impl Expected {
    fn of(field: &FieldDescriptor) -> Self {
        if field.is_map() {
            return Self::Anything;
        }
        match field.kind() {
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                Self::Integer
            }
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Int64Value" | "google.protobuf.UInt64Value" => Self::Integer,
                _ if is_well_known(&message) => Self::Anything,
                _ => Self::Message(message),
            },
            _ => Self::Anything,
        }
    }
}

/// The syntax, and what the module's comment says.
fn check(text: &[u8], expected: Expected) -> Result<(), Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    expected
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| Unreadable::new(BODY, &error))
}

impl<'de> DeserializeSeed<'de> for Expected {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Expected {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if matches!(self, Self::Integer) && number.abs() >= EXACT_MAX {
            return Err(E::custom(
                "a number with a fraction, an exponent or more than 64 bits cannot be read exactly; write all its digits, or a string",
            ));
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self::Message(message) = self else {
            while members.next_key::<serde::de::IgnoredAny>()?.is_some() {
                members.next_value_seed(Self::Anything)?;
            }
            return Ok(());
        };
        // Field numbers; messages in requests have a handful of fields.
        let mut seen: Vec<u32> = Vec::new();
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            let field =
                message.get_field_by_json_name(&name).or_else(|| message.get_field_by_name(&name));
            let expected = match field {
                None => Self::Anything,
                Some(field) if seen.contains(&field.number()) => {
                    return Err(A::Error::custom(format!("the member {name:?} is given twice")));
                }
                Some(field) => {
                    seen.push(field.number());
                    Self::of(&field)
                }
            };
            members.next_value_seed(expected)?;
        }
        Ok(())
    }
}
