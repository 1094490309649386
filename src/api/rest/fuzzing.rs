//! What must hold of everything that strangers can put into a request line and a body, whatever it is. The
//! targets in `fuzz/` and their twins among the tests drive it.

mod targets;
mod times;

pub use targets::{answers, bodies, paths, queries, timestamps};

use http::Method;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};

use super::{
    RestError, answer,
    dialect::{DIALECTS, UnknownMembers},
    json, query, quick,
    rule::{self, Binding, BodyRule},
    table::{RouteTable, Routed},
};
use crate::api::pb;

/// The routes and messages of this binary, to be tried.
#[derive(Debug)]
pub struct Subject {
    table: RouteTable,
    /// The same again, for looking things up the slow way.
    bindings: Vec<Binding>,
}

impl Subject {
    /// Reads the compiled-in rules.
    ///
    /// # Errors
    /// [`RestError`] if they are not supported.
    pub fn new() -> Result<Self, RestError> {
        let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET)
            .map_err(|error| RestError::new("the compiled-in descriptors", error.to_string()))?;
        let table = RouteTable::build(rule::bindings(&pool, DIALECTS)?)?;
        Ok(Self { table, bindings: rule::bindings(&pool, DIALECTS)? })
    }

    /// A path leads to the template that it was made from, and to no other.
    ///
    /// # Panics
    /// If it does not.
    pub fn path(&self, method: &Method, path: &str) {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        match self.table.route(method, path) {
            Routed::Found(binding, values) => {
                assert_eq!(&binding.http_method, wanted);
                let mut values = values.iter();
                let rebuilt =
                    binding.template.render_with(|_| values.next().cloned().unwrap_or_default());
                assert_eq!(rebuilt, path, "{} is not what was asked for", binding.template);
            }
            Routed::OtherMethod(methods) => {
                assert!(!methods.contains(method));
                assert!(self.bindings.iter().any(|binding| fits(binding, path)), "{path}");
            }
            Routed::Nothing => {
                let missed = self.bindings.iter().find(|binding| fits(binding, path));
                assert!(missed.is_none(), "{path} leads nowhere");
            }
        }
    }

    /// A query sets fields of a message, or is refused with names.
    ///
    /// # Panics
    /// If it does neither.
    pub fn query(&self, query: &str) {
        for binding in &self.bindings {
            let mut message = DynamicMessage::new(binding.method.input());
            match query::apply(query, binding, &mut message) {
                Ok(()) => survives(&message),
                Err(violations) => assert!(!violations.is_empty()),
            }
        }
    }

    /// A body is a message, which means the same when it is written and read again, or is refused. What is read quickly
    /// is read as what it is.
    ///
    /// # Panics
    /// If it is neither, or another.
    pub fn json(&self, body: &[u8]) {
        for binding in &self.bindings {
            if let Some(plan) = &binding.quick_request {
                read_alike(plan, &binding.method.input(), body);
            }
            for unknown in [UnknownMembers::Refuse, UnknownMembers::Ignore] {
                match &binding.body {
                    BodyRule::Nothing => {}
                    BodyRule::Whole => {
                        if let Ok(message) = json::message(body, &binding.method.input(), unknown) {
                            survives(&message);
                        }
                    }
                    BodyRule::Field(field) => {
                        let _ = json::field(body, field, unknown);
                    }
                }
            }
        }
    }

    /// What is written quickly of an answer, whatever it is, is what is written of it otherwise.
    ///
    /// # Panics
    /// If it is not.
    pub fn answer(&self, bytes: &[u8]) {
        for binding in &self.bindings {
            written_alike(binding, bytes);
        }
    }
}

/// Whether a text is read quickly, and if so, as the message that prost-reflect reads.
pub(super) fn read_alike(
    plan: &quick::plan::Plan,
    descriptor: &MessageDescriptor,
    text: &[u8],
) -> bool {
    let Some(quick) = quick::request::bytes(plan, text) else { return false };
    let shown = || String::from_utf8_lossy(text).into_owned();
    let decoded = DynamicMessage::decode(descriptor.clone(), quick.as_slice());
    let decoded = decoded.map(|message| message.encode_to_vec());
    for unknown in [UnknownMembers::Refuse, UnknownMembers::Ignore] {
        let wanted = json::message(text, descriptor, unknown);
        let wanted = wanted.map(|message| message.encode_to_vec());
        assert!(wanted.is_ok(), "is refused: {}", shown());
        assert_eq!(wanted.as_ref().ok(), decoded.as_ref().ok(), "{}", shown());
        // Nor does it have more to carry than the fields in another order.
        assert_eq!(wanted.map(|bytes| bytes.len()).ok(), Some(quick.len()), "{}", shown());
    }
    true
}

/// Whether an answer is written quickly, and if so, as prost-reflect writes it.
pub(super) fn written_alike(binding: &Binding, bytes: &[u8]) -> bool {
    let plan = binding.quick_answer.as_ref();
    let Some(quick) = plan.and_then(|plan| quick::answer::json(plan, bytes)) else { return false };
    let wanted = answer::by_reflection(binding, bytes);
    let quick = String::from_utf8_lossy(&quick);
    assert!(wanted.is_ok_and(|wanted| wanted == quick.as_bytes()), "{bytes:?}: {quick}");
    true
}

/// A message goes through protobuf and through JSON unharmed.
fn survives(message: &DynamicMessage) {
    use prost_reflect::ReflectMessage as _;

    let bytes = message.encode_to_vec();
    let decoded = DynamicMessage::decode(message.descriptor(), bytes.as_slice());
    assert!(decoded.is_ok_and(|decoded| decoded.encode_to_vec() == bytes), "protobuf");
    let mut text = Vec::new();
    let written = message.serialize_with_options(
        &mut serde_json::Serializer::new(&mut text),
        &SerializeOptions::new().skip_default_fields(false),
    );
    if written.is_err() {
        return;
    }
    let again = json::message(&text, &message.descriptor(), UnknownMembers::Refuse);
    assert!(
        again.is_ok_and(|again| again.encode_to_vec() == bytes),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

/// Whether a path is one of a template's, segment by segment.
fn fits(binding: &Binding, path: &str) -> bool {
    let pattern = binding.template.pattern();
    let path = match binding.template.verb() {
        None => Some(path),
        Some(verb) => path.strip_suffix(verb).and_then(|path| path.strip_suffix(':')),
    };
    let Some(path) = path else { return false };
    let mut segments = path.split('/');
    pattern.split('/').all(|wanted| match segments.next() {
        Some(segment) if wanted.starts_with('{') => !segment.is_empty(),
        Some(segment) => segment == wanted,
        None => false,
    }) && segments.next().is_none()
}
