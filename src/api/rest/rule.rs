//! `google.api.http` rules, read from the descriptors and checked whole before the server starts.

use std::sync::Arc;

use http::{Method, StatusCode, uri::PathAndQuery};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};

use super::{
    RestError,
    dialect::Dialect,
    quick::plan::Plan,
    template::PathTemplate,
    well_known::{is_text, is_well_known},
};

/// One way to call one method over REST.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) http_method: Method,
    pub(super) template: PathTemplate,
    /// The field that each variable of the template sets.
    pub(super) path_fields: Vec<FieldPath>,
    pub(super) body: BodyRule,
    /// The field that alone makes up the answer's body.
    pub(super) response_body: Option<FieldDescriptor>,
    pub(super) method: MethodDescriptor,
    /// `/package.Service/Method`.
    pub(super) grpc_path: PathAndQuery,
    pub(super) dialect: Arc<Dialect>,
    pub(super) success: StatusCode,
    /// For requests that the body alone makes up.
    pub(super) quick_request: Option<Plan>,
    /// For answers whose body is all of the message.
    pub(super) quick_answer: Option<Plan>,
}

/// From the request's message down to a field.
pub(super) type FieldPath = Vec<FieldDescriptor>;

impl Binding {
    /// The path with its variables as callers know them: fields in the spelling of JSON.
    pub(super) fn documented_path(&self) -> String {
        let mut fields = self.path_fields.iter();
        self.template.render(|variable| {
            fields.next().map_or_else(|| variable.to_owned(), |fields| json_name(fields))
        })
    }
}

/// A field in the spelling of JSON.
pub(super) fn json_name(fields: &[FieldDescriptor]) -> String {
    fields.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>().join(".")
}

/// Which part of the request the HTTP body is.
#[derive(Debug, Clone)]
pub(super) enum BodyRule {
    /// None: what the path does not say, the query does.
    Nothing,
    /// All that the path does not say.
    Whole,
    /// One field.
    Field(FieldDescriptor),
}

/// The rules of every method that has any, in the order of the descriptors.
pub(super) fn bindings(
    pool: &DescriptorPool,
    dialects: &[(&str, Dialect)],
) -> Result<Vec<Binding>, RestError> {
    let extension = pool
        .get_extension_by_name("google.api.http")
        .ok_or_else(|| RestError::new("google.api.http", "is not among the descriptors"))?;
    if let Some((service, _)) =
        dialects.iter().find(|(service, _)| pool.get_service_by_name(service).is_none())
    {
        return Err(RestError::new(service, "has a dialect and does not exist"));
    }
    let ours = Arc::new(Dialect::OURS);
    let mut found = Vec::new();
    for service in pool.services() {
        let dialect = dialects
            .iter()
            .find(|(name, _)| *name == service.full_name())
            .map_or_else(|| Arc::clone(&ours), |(_, dialect)| Arc::new(dialect.clone()));
        for method in service.methods() {
            let options = method.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let failed = |problem: String| RestError::new(method.full_name(), problem);
            if method.is_client_streaming() {
                return Err(failed("takes a stream, which REST cannot".into()));
            }
            let rule = options.get_extension(&extension);
            let Some(rule) = rule.as_message() else { continue };
            for rule in [rule.clone()].into_iter().chain(additional(rule).map_err(failed)?) {
                found.push(binding(&rule, &method, &dialect).map_err(failed)?);
            }
        }
    }
    Ok(found)
}

fn additional(rule: &DynamicMessage) -> Result<Vec<DynamicMessage>, String> {
    let value = rule.get_field_by_name("additional_bindings");
    let rules: Vec<DynamicMessage> = value
        .as_ref()
        .and_then(|value| value.as_list())
        .unwrap_or_default()
        .iter()
        .filter_map(|value| value.as_message().cloned())
        .collect();
    if rules.iter().any(|rule| rule.has_field_by_name("additional_bindings")) {
        return Err("additional_bindings may not be nested".into());
    }
    Ok(rules)
}

fn binding(
    rule: &DynamicMessage,
    method: &MethodDescriptor,
    dialect: &Arc<Dialect>,
) -> Result<Binding, String> {
    let (http_method, path) = pattern(rule)?;
    let template =
        PathTemplate::parse(&path).map_err(|problem| format!("the path {path:?}: {problem}"))?;
    let input = method.input();
    let path_fields = template
        .variables()
        .map(|variable| {
            let fields = resolve(&input, variable)
                .ok_or_else(|| format!("the path {path:?}: there is no field {variable}"))?;
            if fields.last().is_some_and(|field| field.is_list() || !is_text(field)) {
                return Err(format!("the path {path:?}: {variable} cannot be written in a path"));
            }
            Ok(fields)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let body = match text(rule, "body").as_str() {
        "" => BodyRule::Nothing,
        "*" => BodyRule::Whole,
        name => BodyRule::Field(
            input
                .get_field_by_name(name)
                .ok_or_else(|| format!("the body {name:?} is no field"))?,
        ),
    };
    if !matches!(body, BodyRule::Nothing) && matches!(http_method, Method::GET | Method::DELETE) {
        return Err(format!("{http_method} takes no body"));
    }
    let response_body = match text(rule, "response_body").as_str() {
        "" => None,
        name => Some(
            method
                .output()
                .get_field_by_name(name)
                .ok_or_else(|| format!("the response_body {name:?} is no field"))?,
        ),
    };
    let is_body_alone = matches!(body, BodyRule::Whole) && path_fields.is_empty();
    let quick_request = is_body_alone.then(|| Plan::of(&input, dialect)).flatten();
    let quick_answer =
        response_body.is_none().then(|| Plan::of(&method.output(), dialect)).flatten();
    let grpc_path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    Ok(Binding {
        http_method,
        template,
        path_fields,
        body,
        response_body,
        method: method.clone(),
        grpc_path: PathAndQuery::try_from(grpc_path).map_err(|error| error.to_string())?,
        dialect: Arc::clone(dialect),
        success: dialect.success_status(method.name()),
        quick_request,
        quick_answer,
    })
}

fn pattern(rule: &DynamicMessage) -> Result<(Method, String), String> {
    for (name, method) in [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ] {
        if rule.has_field_by_name(name) {
            return Ok((method, text(rule, name)));
        }
    }
    if rule.has_field_by_name("custom") {
        return Err("custom verbs of HTTP are not supported".into());
    }
    Err("the rule has no path".into())
}

fn text(rule: &DynamicMessage, field: &str) -> String {
    let value = rule.get_field_by_name(field);
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The fields that a dotted name leads through; each part in either spelling, `page_size` or `pageSize`.
/// All but the last are single messages.
pub(super) fn resolve(message: &MessageDescriptor, name: &str) -> Option<FieldPath> {
    let mut fields = FieldPath::new();
    let mut message = Some(message.clone());
    for part in name.split('.') {
        let within = message.take()?;
        let field =
            within.get_field_by_json_name(part).or_else(|| within.get_field_by_name(part))?;
        if let Kind::Message(inner) = field.kind()
            && !field.is_list()
            && !field.is_map()
            && !is_well_known(&inner)
        {
            message = Some(inner);
        }
        fields.push(field);
    }
    Some(fields)
}
