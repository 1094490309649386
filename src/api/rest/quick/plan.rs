//! What must be known of a message to read and write it quickly, found out once.

use hashbrown::HashMap;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, MessageDescriptor, SerializeOptions,
};

use crate::api::rest::{
    dialect::{Dialect, Int64},
    well_known::is_well_known,
};

/// Members are told apart by the bits of a word while they are read.
const MEMBERS_MAX: usize = u64::BITS as usize;

/// A message and those in it.
#[derive(Debug)]
pub(in crate::api::rest) struct Plan {
    // The message itself is the first. A message may contain itself, so they refer to each other by their places.
    messages: Vec<Message>,
    pub(super) int64: Int64,
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// In the order of their numbers, which is the order of JSON and of the wire.
    pub(super) members: Vec<Member>,
    // Place of a member by its names.
    names: HashMap<Box<str>, usize>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) json_name: Box<str>,
    pub(super) kind: Kind,
    pub(super) is_list: bool,
    /// Whether a list is one value on the wire.
    pub(super) is_packed: bool,
    /// Whether the default is told from nothing.
    pub(super) has_presence: bool,
    /// What is written where a message does not have it.
    pub(super) absent: Option<serde_json::Value>,
}

/// What the value of a field, or of its elements, is.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Enum(EnumDescriptor),
    Timestamp,
    /// The message at that place of the plan.
    Message(usize),
    /// Something that only the library reads and writes.
    Library,
}

impl Plan {
    /// The plan for a message in a dialect, if it is one that can be read and written quickly.
    pub(in crate::api::rest) fn of(
        descriptor: &MessageDescriptor,
        dialect: &Dialect,
    ) -> Option<Self> {
        if !has_members(descriptor) {
            return None;
        }
        let options = dialect.serialize_options();
        let mut found = vec![descriptor.clone()];
        let mut messages = Vec::new();
        // It grows while it is walked through.
        while let Some(descriptor) = found.get(messages.len()).cloned() {
            messages.push(Message::of(&descriptor, &options, &mut found)?);
        }
        Some(Self { messages, int64: dialect.int64 })
    }

    /// The message that the plan is for.
    pub(super) fn root(&self) -> Option<&Message> {
        self.message(0)
    }

    /// The message at a place.
    pub(super) fn message(&self, place: usize) -> Option<&Message> {
        self.messages.get(place)
    }
}

impl Message {
    fn of(
        descriptor: &MessageDescriptor,
        options: &SerializeOptions,
        found: &mut Vec<MessageDescriptor>,
    ) -> Option<Self> {
        // The library says what becomes of members that are not there.
        let empty = DynamicMessage::new(descriptor.clone())
            .serialize_with_options(serde_json::value::Serializer, options)
            .ok()?;
        let members = descriptor.fields().map(|field| Member {
            number: field.number(),
            json_name: field.json_name().into(),
            kind: Kind::of(&field, found),
            is_list: field.is_list(),
            is_packed: field.is_packed(),
            has_presence: field.supports_presence(),
            absent: empty.get(field.json_name()).cloned(),
        });
        let members = members.collect();
        // A name in JSON stands above another field's name in the proto.
        let proto_names = descriptor.fields().enumerate();
        let proto_names = proto_names.map(|(place, field)| (field.name().into(), place));
        let json_names = descriptor.fields().enumerate();
        let json_names = json_names.map(|(place, field)| (field.json_name().into(), place));
        Some(Self { members, names: proto_names.chain(json_names).collect() })
    }

    /// The place of the member of that name, in either spelling.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }
}

impl Kind {
    fn of(field: &FieldDescriptor, found: &mut Vec<MessageDescriptor>) -> Self {
        use prost_reflect::Kind as Proto;

        // Of the fields of a oneof there may be one only.
        let is_choice = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        if is_choice || field.is_map() || field.is_group() {
            return Self::Library;
        }
        match field.kind() {
            Proto::String => Self::Text,
            Proto::Bool => Self::Bool,
            Proto::Int32 => Self::Int32,
            Proto::Int64 => Self::Int64,
            Proto::Uint32 => Self::Uint32,
            Proto::Uint64 => Self::Uint64,
            Proto::Enum(values)
                if values.package_name() != "google.protobuf"
                    && values.default_value().number() == 0 =>
            {
                Self::Enum(values)
            }
            Proto::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
                Self::Timestamp
            }
            Proto::Message(message) if has_members(&message) => {
                let known = found.iter().position(|known| *known == message);
                Self::Message(known.unwrap_or_else(|| {
                    found.push(message);
                    found.len() - 1
                }))
            }
            _ => Self::Library,
        }
    }
}

/// Whether a message is a JSON object with a member for each field, and not too many of them.
fn has_members(message: &MessageDescriptor) -> bool {
    !is_well_known(message) && message.fields().len() <= MEMBERS_MAX
}
