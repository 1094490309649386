//! Messages and enums as JSON schemas, in the ProtoJSON mapping.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use crate::api::rest::dialect::{Dialect, ErrorShape, Int64};

/// The schema of Genesys' error body, which is no message of ours.
const ERROR_BODY: &str = "ErrorBody";

/// Collects what is referred to.
pub(super) struct Schemas<'a> {
    comments: &'a Comments,
    wanted: BTreeSet<(String, Int64Form)>,
    written: BTreeMap<String, Value>,
}

/// [`Int64`], in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Int64Form {
    String,
    Number,
}

impl From<Int64> for Int64Form {
    fn from(form: Int64) -> Self {
        match form {
            Int64::String => Self::String,
            Int64::Number => Self::Number,
        }
    }
}

impl<'a> Schemas<'a> {
    pub(super) fn new(comments: &'a Comments) -> Self {
        Self { comments, wanted: BTreeSet::new(), written: BTreeMap::new() }
    }

    /// Refers to a message's schema.
    pub(super) fn message(&mut self, message: &MessageDescriptor, int64: Int64) -> Value {
        if let Some(own) = well_known(message.full_name(), int64) {
            return own;
        }
        let form = Int64Form::from(int64);
        self.wanted.insert((message.full_name().to_owned(), form));
        reference(&schema_name(message.full_name(), form))
    }

    /// Refers to the schema of a dialect's failures.
    pub(super) fn failure(&mut self, pool: &DescriptorPool, dialect: &Dialect) -> Value {
        match dialect.errors {
            ErrorShape::Status => pool
                .get_message_by_name("google.rpc.Status")
                .map_or(Value::Bool(true), |status| self.message(&status, Int64::String)),
            ErrorShape::ErrorBody => {
                self.written.entry(ERROR_BODY.into()).or_insert_with(error_body);
                reference(ERROR_BODY)
            }
        }
    }

    /// A field, as a member of a message or as a parameter.
    pub(super) fn field(&mut self, field: &FieldDescriptor, int64: Int64) -> Value {
        if field.is_map()
            && let Kind::Message(entry) = field.kind()
        {
            let value = self.field(&entry.map_entry_value_field(), int64);
            return json!({"type": "object", "additionalProperties": value});
        }
        let element = self.element(field, int64);
        if field.is_list() { json!({"type": "array", "items": element}) } else { element }
    }

    fn element(&mut self, field: &FieldDescriptor, int64: Int64) -> Value {
        match field.kind() {
            Kind::Message(message) => self.message(&message, int64),
            Kind::Enum(of) => {
                let form = Int64Form::String;
                self.wanted.insert((of.full_name().to_owned(), form));
                reference(of.full_name())
            }
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "format": "int32"})
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer", "format": "uint32", "minimum": 0})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer("int64", int64),
            Kind::Uint64 | Kind::Fixed64 => integer("uint64", int64),
        }
    }

    /// Everything that was referred to, and what that refers to.
    pub(super) fn finish(mut self, pool: &DescriptorPool) -> BTreeMap<String, Value> {
        while let Some((name, form)) = self.wanted.pop_first() {
            let schema_name = schema_name(&name, form);
            if self.written.contains_key(&schema_name) {
                continue;
            }
            let schema = if let Some(message) = pool.get_message_by_name(&name) {
                self.object(&message, form)
            } else if let Some(of) = pool.get_enum_by_name(&name) {
                self.enumeration(&of)
            } else {
                continue;
            };
            self.written.insert(schema_name, schema);
        }
        self.written
    }

    fn object(&mut self, message: &MessageDescriptor, form: Int64Form) -> Value {
        let int64 = match form {
            Int64Form::String => Int64::String,
            Int64Form::Number => Int64::Number,
        };
        let mut properties = Map::new();
        for field in message.fields() {
            let schema = self.field(&field, int64);
            let comment = self.comments.of_field(&field).to_owned();
            properties.insert(field.json_name().to_owned(), described(schema, &comment));
        }
        let mut description = self.comments.of_message(message).to_owned();
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let names: Vec<_> = oneof.fields().map(|field| field.json_name().to_owned()).collect();
            description.push_str(&format!("\n\nAt most one of: {}.", names.join(", ")));
        }
        described(json!({"type": "object", "properties": properties}), &description)
    }

    fn enumeration(&self, of: &EnumDescriptor) -> Value {
        let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
        let mut description = self.comments.of_enum(of).to_owned();
        description.push('\n');
        for value in of.values() {
            let comment = self.comments.of_value(&value).replace('\n', " ");
            description.push_str(&format!("\n- `{}`: {comment}", value.name()));
        }
        described(json!({"type": "string", "enum": names}), &description)
    }
}

/// With a description, if there is one. Beside a reference it is allowed since OpenAPI 3.1.
pub(super) fn described(mut schema: Value, description: &str) -> Value {
    if !description.is_empty()
        && let Some(members) = schema.as_object_mut()
    {
        members.insert("description".into(), description.into());
    }
    schema
}

fn schema_name(name: &str, form: Int64Form) -> String {
    match form {
        Int64Form::String => name.to_owned(),
        Int64Form::Number => format!("{name}.numbers"),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn integer(format: &str, int64: Int64) -> Value {
    match int64 {
        Int64::String => json!({"type": "string", "format": format, "pattern": "^-?[0-9]{1,20}$"}),
        Int64::Number => json!({"type": "integer", "format": format}),
    }
}

/// Messages with a JSON form of their own.
fn well_known(name: &str, int64: Int64) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"}),
        "FieldMask" | "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        "BoolValue" => json!({"type": "boolean"}),
        "Int32Value" | "UInt32Value" => json!({"type": "integer"}),
        "Int64Value" => integer("int64", int64),
        "UInt64Value" => integer("uint64", int64),
        "FloatValue" | "DoubleValue" => json!({"type": "number"}),
        "Struct" | "Empty" => json!({"type": "object"}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Value" => json!({}),
        "Any" => json!({
            "type": "object",
            "properties": {"@type": {"type": "string", "description": "The URL of the message's type"}},
            "required": ["@type"],
        }),
        _ => return None,
    })
}

fn error_body() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong.",
        "properties": {
            "message": {"type": "string"},
            "code": {"type": "string", "description": "A word for programs, such as `bad.request`."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "contextId": {"type": "string", "description": "The request id."},
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "errorCode": {"type": "string"},
                        "fieldName": {"type": "string"},
                    },
                },
            },
            "errors": {"type": "array", "items": reference(ERROR_BODY)},
        },
    })
}
