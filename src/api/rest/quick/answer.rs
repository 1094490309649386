//! The bytes of a message → JSON.

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::Timestamp;
use serde::ser::{Error, Serialize, SerializeMap as _, Serializer};

use super::{
    plan::{Kind, Member, Message, Plan},
    time,
};
use crate::api::rest::dialect::Int64;

/// Messages in messages. prost would read up to a hundred.
const DEPTH_MAX: usize = 16;

/// The JSON of a message.
pub(in crate::api::rest) fn json(plan: &Plan, bytes: &[u8]) -> Option<Vec<u8>> {
    // Names take the more room the smaller the values are.
    let mut text = Vec::with_capacity(256.max(bytes.len() * 2));
    let message = Written { plan, message: plan.root()?, bytes, depth: 0 };
    message.serialize(&mut serde_json::Serializer::new(&mut text)).ok()?;
    Some(text)
}

/// A message as it was sent.
struct Written<'a> {
    plan: &'a Plan,
    message: &'a Message,
    bytes: &'a [u8],
    depth: usize,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Says that the library must decide. Nobody reads the text of it.
        let unusual = || S::Error::custom("out of the ordinary");
        let mut map = serializer.serialize_map(None)?;
        let mut bytes = self.bytes;
        let mut key = next_key(&mut bytes).ok_or_else(unusual)?;
        for member in &self.message.members {
            match key {
                Some((number, form)) if number == member.number => {
                    if member.is_list {
                        let elements = self.elements(member, &mut key, &mut bytes);
                        map.serialize_entry(&member.json_name, &elements.ok_or_else(unusual)?)?;
                    } else {
                        let value = self.value(member, form, &mut bytes).ok_or_else(unusual)?;
                        map.serialize_entry(&member.json_name, &value)?;
                        key = next_key(&mut bytes).ok_or_else(unusual)?;
                    }
                }
                _ => {
                    if let Some(absent) = &member.absent {
                        map.serialize_entry(&member.json_name, absent)?;
                    }
                }
            }
        }
        // What is left was not expected there: an unknown field, one that comes too late, or twice.
        if key.is_some() { Err(unusual()) } else { map.end() }
    }
}

impl<'a> Written<'a> {
    /// All elements of a list, and the key after them.
    fn elements(
        &self,
        member: &Member,
        key: &mut Option<Key>,
        bytes: &mut &'a [u8],
    ) -> Option<Vec<Value<'a>>> {
        let mut elements = Vec::new();
        if member.is_packed {
            let mut packed = delimited((*key)?.1, bytes)?;
            while !packed.is_empty() {
                elements.push(self.value(member, WireType::Varint, &mut packed)?);
            }
            *key = next_key(bytes)?;
            return Some(elements);
        }
        while let Some((_, form)) = key.filter(|(number, _)| *number == member.number) {
            elements.push(self.value(member, form, bytes)?);
            *key = next_key(bytes)?;
        }
        Some(elements)
    }

    fn value(&self, member: &Member, form: WireType, bytes: &mut &'a [u8]) -> Option<Value<'a>>
    where
        Self: 'a,
    {
        Some(match &member.kind {
            Kind::Text => Value::Text(std::str::from_utf8(delimited(form, bytes)?).ok()?),
            Kind::Bool => Value::Bool(varint(form, bytes)? != 0),
            Kind::Int32 => Value::Signed(i64::from(varint(form, bytes)? as i32)),
            Kind::Uint32 => Value::Unsigned(u64::from(varint(form, bytes)? as u32)),
            Kind::Int64 => {
                let number = varint(form, bytes)?.cast_signed();
                match self.plan.int64 {
                    Int64::Number => Value::Signed(number),
                    Int64::String => Value::SignedText(number),
                }
            }
            Kind::Uint64 => {
                let number = varint(form, bytes)?;
                match self.plan.int64 {
                    Int64::Number => Value::Unsigned(number),
                    Int64::String => Value::UnsignedText(number),
                }
            }
            Kind::Enum(values) => Value::Enum(values.get_value(varint(form, bytes)? as i32)?),
            Kind::Timestamp => Value::Time(timestamp(delimited(form, bytes)?)?),
            Kind::Message(place) => Value::Message(Written {
                plan: self.plan,
                message: self.plan.message(*place)?,
                bytes: delimited(form, bytes)?,
                depth: Some(self.depth + 1).filter(|depth| *depth < DEPTH_MAX)?,
            }),
            Kind::Library => return None,
        })
    }
}

/// The value of a field that is no list, or an element.
enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    SignedText(i64),
    UnsignedText(u64),
    Enum(prost_reflect::EnumValueDescriptor),
    Time(Timestamp),
    Message(Written<'a>),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::SignedText(number) => serializer.collect_str(number),
            Self::UnsignedText(number) => serializer.collect_str(number),
            Self::Enum(value) => serializer.serialize_str(value.name()),
            Self::Time(time) => serializer.collect_str(time),
            Self::Message(message) => message.serialize(serializer),
        }
    }
}

/// The number of a field, and what its value looks like.
type Key = (u32, WireType);

/// The next key, or that there is none. Nothing if there is none that could be read.
fn next_key(bytes: &mut &[u8]) -> Option<Option<Key>> {
    if bytes.is_empty() { Some(None) } else { decode_key(bytes).ok().map(Some) }
}

fn varint(form: WireType, bytes: &mut &[u8]) -> Option<u64> {
    if form == WireType::Varint { decode_varint(bytes).ok() } else { None }
}

fn delimited<'a>(form: WireType, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    if form != WireType::LengthDelimited {
        return None;
    }
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    bytes.split_off(..length)
}

/// Reads seconds and nanoseconds. Anything else in a time is the library's.
fn timestamp(mut bytes: &[u8]) -> Option<Timestamp> {
    let mut time = Timestamp::default();
    let mut key = next_key(&mut bytes)?;
    if let Some((1, form)) = key {
        time.seconds = varint(form, &mut bytes)?.cast_signed();
        key = next_key(&mut bytes)?;
    }
    if let Some((2, form)) = key {
        time.nanos = varint(form, &mut bytes)? as i32;
        key = next_key(&mut bytes)?;
    }
    (key.is_none() && time::is_ordinary(&time)).then_some(time)
}
