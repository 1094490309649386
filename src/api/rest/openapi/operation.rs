//! One operation: a method called in one way.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    comments::{Comments, summary},
    examples::Example,
    schema::{Schemas, described},
};
use crate::{
    api::rest::{
        answer::JSON,
        dialect::{Dialect, ErrorShape},
        failure::documented_statuses,
        query,
        rule::{Binding, BodyRule, json_name},
    },
    auth::rpc_permissions::{self, Access},
};

/// Describes a binding; `nth` counts those of one method.
pub(super) fn describe(
    binding: &Binding,
    nth: usize,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Value {
    let method = &binding.method;
    let example = Example::of(method.full_name());
    let comment = comments.of_method(method);
    let mut operation_id = method.full_name().replace('.', "_");
    if nth > 1 {
        operation_id.push_str(&format!("_{nth}"));
    }
    let mut operation = Map::new();
    operation.insert("operationId".into(), operation_id.into());
    operation.insert("tags".into(), json!([method.parent_service().full_name()]));
    operation.insert("summary".into(), summary(comment).into());
    operation.insert("description".into(), comment.into());
    let parameters = parameters(binding, comments, schemas, example.as_ref());
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = request_body(binding, comments, schemas, example.as_ref()) {
        operation.insert("requestBody".into(), body);
    }
    operation.insert("responses".into(), responses(binding, comments, schemas, example.as_ref()));
    let security = match rpc_permissions::find(binding.grpc_path.as_str()) {
        Some((_, Access::Open)) => json!([]),
        _ => json!([{"bearer": []}, {"apiKey": []}]),
    };
    operation.insert("security".into(), security);
    Value::Object(operation)
}

fn parameters(
    binding: &Binding,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
    example: Option<&Example>,
) -> Vec<Value> {
    let in_query = query::parameters(binding);
    let in_path = binding.path_fields.iter().map(|fields| ("path", fields));
    in_path
        .chain(in_query.iter().map(|fields| ("query", fields)))
        .filter_map(|(place, fields)| {
            let field = fields.last()?;
            let name = json_name(fields);
            let mut parameter = json!({
                "name": name,
                "in": place,
                "schema": schemas.field(field, binding.dialect.int64),
            });
            let members = parameter.as_object_mut()?;
            if place == "path" {
                members.insert("required".into(), true.into());
            }
            if let Some(value) = example.and_then(|example| example.parameter(&name)) {
                members.insert("example".into(), value.clone());
            }
            Some(described(parameter, comments.of_field(field)))
        })
        .collect()
}

fn request_body(
    binding: &Binding,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
    example: Option<&Example>,
) -> Option<Value> {
    let int64 = binding.dialect.int64;
    let (schema, comment) = match &binding.body {
        BodyRule::Nothing => return None,
        BodyRule::Whole => {
            let input = binding.method.input();
            (schemas.message(&input, int64), comments.of_message(&input))
        }
        BodyRule::Field(field) => (schemas.field(field, int64), comments.of_field(field)),
    };
    let content = content("application/json", schema, example.and_then(Example::body));
    Some(described(json!({"required": true, "content": content}), comment))
}

fn responses(
    binding: &Binding,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
    example: Option<&Example>,
) -> Value {
    let int64 = binding.dialect.int64;
    let output = binding.method.output();
    let (schema, comment) = match &binding.response_body {
        None => (schemas.message(&output, int64), comments.of_message(&output)),
        Some(field) => (schemas.field(field, int64), comments.of_field(field)),
    };
    let comment = if comment.is_empty() { "Success" } else { comment };
    let answer = example.and_then(Example::answer);
    let content = if binding.method.is_server_streaming() {
        let mut lines = content("application/x-ndjson", schema.clone(), answer);
        let events = content("text/event-stream", schema, None);
        if let (Some(lines), Value::Object(events)) = (lines.as_object_mut(), events) {
            lines.extend(events);
        }
        lines
    } else {
        content(JSON.to_str().unwrap_or_default(), schema, answer)
    };
    let mut responses = Map::new();
    responses.insert(
        binding.success.as_str().into(),
        json!({"description": comment, "content": content}),
    );
    for (status, _) in documented_statuses() {
        if applies(binding, status) {
            let name = response_name(&binding.dialect, status.as_str());
            responses.insert(
                status.as_str().into(),
                json!({"$ref": format!("#/components/responses/{name}")}),
            );
        }
    }
    let name = response_name(&binding.dialect, "default");
    responses.insert("default".into(), json!({"$ref": format!("#/components/responses/{name}")}));
    // Referred to from the responses only.
    schemas.failure(binding.method.parent_pool(), &binding.dialect);
    Value::Object(responses)
}

/// Whether a failure can happen here at all.
fn applies(binding: &Binding, status: StatusCode) -> bool {
    let has_body = !matches!(binding.body, BodyRule::Nothing);
    match status {
        StatusCode::NOT_FOUND => !binding.path_fields.is_empty(),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => has_body,
        _ => true,
    }
}

fn response_name(dialect: &Dialect, status: &str) -> String {
    match dialect.errors {
        ErrorShape::Status => status.to_owned(),
        ErrorShape::ErrorBody => format!("{status}.ErrorBody"),
    }
}

fn content(media_type: &str, schema: Value, example: Option<&Value>) -> Value {
    let mut media = json!({"schema": schema});
    if let (Some(example), Some(members)) = (example, media.as_object_mut()) {
        members.insert("example".into(), example.clone());
    }
    json!({media_type: media})
}

/// The failures that operations share, in every shape that some operation has.
pub(super) fn error_responses(bindings: &[Binding]) -> BTreeMap<String, Value> {
    let mut responses = BTreeMap::new();
    for binding in bindings {
        let all = documented_statuses().map(|(status, text)| (status.as_u16(), text));
        for (status, text) in all.into_iter().chain([(0, "Any other failure")]) {
            let name = if status == 0 { "default".to_owned() } else { status.to_string() };
            responses
                .entry(response_name(&binding.dialect, &name))
                .or_insert_with(|| error_response(binding, status, text));
        }
    }
    responses
}

fn error_response(binding: &Binding, status: u16, text: &str) -> Value {
    let shape = binding.dialect.errors;
    let (schema, example) = match shape {
        ErrorShape::Status => ("google.rpc.Status", status_example(status)),
        ErrorShape::ErrorBody => ("ErrorBody", error_body_example(status)),
    };
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    json!({
        "description": text,
        "content": content("application/json", schema, example.as_ref()),
    })
}

fn status_example(status: u16) -> Option<Value> {
    let (code, message, reason) = match status {
        400 => (3, "interval: is required", "INVALID_ARGUMENT"),
        401 => (16, "the token is not valid", "UNAUTHENTICATED"),
        403 => {
            (7, "the caller needs one of the permissions usage:product:view", "PERMISSION_DENIED")
        }
        404 => (5, "there is no product \"storage\"", "NOT_FOUND"),
        429 => (8, "more than 1024 calls are under way; try again later", "TOO_MANY_CALLS"),
        _ => return None,
    };
    Some(json!({
        "code": code,
        "message": message,
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "meterd",
            "metadata": {},
        }],
    }))
}

fn error_body_example(status: u16) -> Option<Value> {
    (status == 404).then(|| {
        json!({
            "message": "there is no query \"4711\"",
            "code": "not.found",
            "status": status,
            "contextId": "0b8e5bd2-5a4e-4a0c-9c37-6d1f2d3f3b51",
            "details": [],
            "errors": [],
        })
    })
}
