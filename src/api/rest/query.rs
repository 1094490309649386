//! Path variables and query parameters → fields.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::{
    dialect::UnknownMembers,
    json,
    rule::{Binding, BodyRule, resolve},
    table,
    well_known::is_text,
};
use crate::service::FieldViolation;

/// Sets what the query says.
///
/// # Errors
/// Every parameter that is unknown, belongs elsewhere, comes twice or cannot be read.
pub(super) fn apply(
    query: &str,
    binding: &Binding,
    message: &mut DynamicMessage,
) -> Result<(), Vec<FieldViolation>> {
    let mut violations = Vec::new();
    let mut given: Vec<Vec<u32>> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // Some clients end every URL with `?` or `&`.
        if name.is_empty() && value.is_empty() {
            continue;
        }
        let result = parameter(&name, binding).and_then(|fields| {
            let numbers: Vec<u32> = fields.iter().map(FieldDescriptor::number).collect();
            if given.contains(&numbers) && !fields.last().is_some_and(FieldDescriptor::is_list) {
                return Err("is given twice".to_owned());
            }
            given.push(numbers);
            set(message, &fields, &value)
        });
        if let Err(problem) = result {
            violations.push(FieldViolation::new(name.into_owned(), problem));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Which field a parameter is for.
fn parameter(name: &str, binding: &Binding) -> Result<Vec<FieldDescriptor>, String> {
    let unknown = || "is no query parameter of this path".to_owned();
    let fields = resolve(&binding.method.input(), name).ok_or_else(unknown)?;
    let in_body = match &binding.body {
        BodyRule::Nothing => false,
        BodyRule::Whole => true,
        BodyRule::Field(field) => fields.first() == Some(field),
    };
    if in_body {
        return Err("is no query parameter of this path: it belongs into the body".into());
    }
    if binding.path_fields.contains(&fields) {
        return Err("is no query parameter of this path: the path says it already".into());
    }
    if !fields.last().is_some_and(is_text) {
        return Err("is no query parameter of this path: give its members, as in a.b=c".into());
    }
    Ok(fields)
}

/// Every query parameter that a binding takes: its fields and their names, for documentation.
pub(super) fn parameters(binding: &Binding) -> Vec<Vec<FieldDescriptor>> {
    let mut found = Vec::new();
    if !matches!(binding.body, BodyRule::Whole) {
        collect(&binding.method.input(), &mut Vec::new(), &mut found);
    }
    found.retain(|fields| {
        !binding.path_fields.contains(fields)
            && !matches!(&binding.body, BodyRule::Field(field) if fields.first() == Some(field))
    });
    found
}

fn collect(
    message: &MessageDescriptor,
    within: &mut Vec<FieldDescriptor>,
    found: &mut Vec<Vec<FieldDescriptor>>,
) {
    for field in message.fields() {
        // A message that contains itself has no end of parameters; its first level is enough.
        if within.iter().any(|outer| outer.parent_message() == field.parent_message()) {
            continue;
        }
        within.push(field.clone());
        match field.kind() {
            _ if is_text(&field) => found.push(within.clone()),
            Kind::Message(inner) if !field.is_list() && !field.is_map() => {
                collect(&inner, within, found);
            }
            _ => {}
        }
        within.pop();
    }
}

/// Sets what a path variable says, whatever stood there before.
///
/// # Errors
/// What is wrong with it.
pub(super) fn set_from_path(
    message: &mut DynamicMessage,
    fields: &[FieldDescriptor],
    value: &str,
) -> Result<(), FieldViolation> {
    let name = || fields.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".");
    table::decoded(value)
        .ok_or_else(|| "is not UTF-8".to_owned())
        .and_then(|text| set(message, fields, &text))
        .map_err(|problem| FieldViolation::new(name(), problem))
}

/// Sets the last of `fields`, or adds to it, from its text.
fn set(message: &mut DynamicMessage, fields: &[FieldDescriptor], text: &str) -> Result<(), String> {
    let Some((field, outer)) = fields.split_last() else { return Ok(()) };
    let value = parse(field, text)?;
    let mut message = message;
    for outer in outer {
        message = message
            .get_field_mut(outer)
            .as_message_mut()
            .ok_or_else(|| format!("{} has no members", outer.name()))?;
    }
    if let Some(oneof) = field.containing_oneof()
        && let Some(other) = oneof.fields().find(|other| other != field && message.has_field(other))
    {
        return Err(format!("cannot be given together with {}", other.name()));
    }
    match message.get_field_mut(field) {
        Value::List(list) => list.push(value),
        single => *single = value,
    }
    Ok(())
}

/// One value, or one element of a list.
fn parse(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let string = || serde_json::Value::String(text.to_owned());
    let value = match field.kind() {
        Kind::Bool => boolean(text)?,
        Kind::Message(message) if message.full_name() == "google.protobuf.BoolValue" => {
            boolean(text)?
        }
        Kind::Enum(_) => text.parse::<i32>().map_or_else(|_| string(), Into::into),
        _ => string(),
    };
    let value = if field.is_list() { serde_json::Value::Array(vec![value]) } else { value };
    let parsed = json::field_value(field, value, UnknownMembers::Refuse)
        .map_err(|problem| format!("cannot be read as {:?}: {problem}", field.kind()))?;
    let value = match parsed {
        Some(Value::List(mut list)) => list.pop(),
        other => other,
    };
    // A default value is not told apart from none by the reader.
    Ok(value.unwrap_or_else(|| Value::default_value(&field.kind())))
}

fn boolean(text: &str) -> Result<serde_json::Value, String> {
    text.parse::<bool>().map(Into::into).map_err(|_| "must be true or false".into())
}
