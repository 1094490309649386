//! JSON → the bytes of a message.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    plan::{Kind, Member, Message, Plan},
    time,
    wire::{self, Form, close, open},
};

/// The message that a text is. Fields stand in the order of the text.
pub(in crate::api::rest) fn bytes(plan: &Plan, text: &[u8]) -> Option<Vec<u8>> {
    // Looked through once, and not string by string.
    let text = std::str::from_utf8(text).ok()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Names and digits take more room in JSON than on the wire.
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let members = Members { plan, message: plan.root()?, bytes: &mut bytes };
    deserializer.deserialize_map(members).ok()?;
    deserializer.end().ok()?;
    Some(bytes)
}

/// Says that the library must decide. Nobody reads the text of it.
fn unusual<E: Error>() -> E {
    E::custom("out of the ordinary")
}

/// The members of a message.
struct Members<'a> {
    plan: &'a Plan,
    message: &'a Message,
    bytes: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { plan, message, bytes } = self;
        let mut seen = 0_u64;
        while let Some(place) = members.next_key_seed(Name(message))? {
            let bit = 1 << place;
            let member = message.members.get(place).filter(|_| seen & bit == 0);
            let member = member.ok_or_else(unusual)?;
            seen |= bit;
            if member.is_list {
                members.next_value_seed(List { plan, member, bytes: &mut *bytes })?;
            } else {
                let form = Form::Field { default_too: member.has_presence };
                members.next_value_seed(Single { plan, member, form, bytes: &mut *bytes })?;
            }
        }
        Ok(())
    }
}

/// The name of a member: its place.
struct Name<'a>(&'a Message);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        self.0.place(name).ok_or_else(unusual)
    }
}

/// All elements of a list.
struct List<'a> {
    plan: &'a Plan,
    member: &'a Member,
    bytes: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { plan, member, bytes } = self;
        let mut fill = |form, bytes: &mut Vec<u8>| {
            while elements.next_element_seed(Single { plan, member, form, bytes })?.is_some() {}
            Ok(())
        };
        if !member.is_packed {
            return fill(Form::Field { default_too: true }, bytes);
        }
        let before = bytes.len();
        let start = open(member.number, bytes);
        fill(Form::Packed, bytes)?;
        if bytes.len() == start {
            // An empty list is none.
            bytes.truncate(before);
        } else {
            close(start, bytes);
        }
        Ok(())
    }
}

/// The value of a field that is no list, or an element.
struct Single<'a> {
    plan: &'a Plan,
    member: &'a Member,
    form: Form,
    bytes: &'a mut Vec<u8>,
}

impl Single<'_> {
    fn number(self, value: u64) {
        wire::put_number(self.member.number, self.form, value, self.bytes);
    }

    /// A 32-bit number is as long as a 64-bit one where it is negative.
    fn signed(self, value: i64) {
        self.number(value.cast_unsigned());
    }
}

impl<'de> DeserializeSeed<'de> for Single<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Single<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match &self.member.kind {
            Kind::Text => wire::put_text(self.member.number, self.form, text, self.bytes),
            Kind::Timestamp => {
                let time = time::read(text).ok_or_else(unusual)?;
                wire::put_time(self.member.number, &time, self.bytes);
            }
            Kind::Enum(values) => {
                let value = values.get_value_by_name(text).ok_or_else(unusual)?;
                self.signed(value.number().into());
            }
            Kind::Int32 => self.signed(text.parse::<i32>().map_err(E::custom)?.into()),
            Kind::Int64 => self.signed(text.parse().map_err(E::custom)?),
            Kind::Uint32 => self.number(text.parse::<u32>().map_err(E::custom)?.into()),
            Kind::Uint64 => self.number(text.parse().map_err(E::custom)?),
            Kind::Bool | Kind::Message(_) | Kind::Library => return Err(unusual()),
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.member.kind {
            Kind::Bool => self.number(value.into()),
            _ => return Err(unusual()),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.member.kind {
            Kind::Int64 => self.signed(value),
            Kind::Int32 | Kind::Enum(_) => {
                self.signed(i32::try_from(value).map_err(E::custom)?.into());
            }
            _ => return Err(unusual()),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.member.kind {
            Kind::Uint64 => self.number(value),
            Kind::Uint32 => self.number(u32::try_from(value).map_err(E::custom)?.into()),
            Kind::Int32 | Kind::Int64 | Kind::Enum(_) => {
                return self.visit_i64(i64::try_from(value).map_err(E::custom)?);
            }
            _ => return Err(unusual()),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        let Kind::Message(place) = self.member.kind else { return Err(unusual()) };
        let message = self.plan.message(place).ok_or_else(unusual)?;
        let start = open(self.member.number, self.bytes);
        Members { plan: self.plan, message, bytes: &mut *self.bytes }.visit_map(members)?;
        close(start, self.bytes);
        Ok(())
    }
}
