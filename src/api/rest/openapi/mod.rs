//! The OpenAPI 3.1 document, from the same rules as the routes and from the comments of the protos.

mod comments;
mod examples;
mod operation;
mod schema;

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use serde_json::{Map, Value, json};

use self::{comments::Comments, schema::Schemas};
use super::{
    RestError,
    dialect::{DIALECTS, Dialect},
    rule::{self, Binding},
};
use crate::api::pb;

/// What stands above everything.
const DESCRIPTION: &str = "Usage metering: report what was used, exactly once, and ask how much it was.

The same methods are served over gRPC (`grpcurl` needs no proto files: the server has reflection) and gRPC-Web; this is \
their JSON form. Requests may spell members in `lowerCamelCase` or as in the protos (`snake_case`), and give 64-bit \
integers as strings or as numbers. Answers write every member, also those that are zero or empty.

`Grpc-Timeout` (such as `500m` for 500 ms) sets a deadline. `X-Request-Id` comes back with the answer and stands in the \
server's log. Bodies may be compressed with gzip or zstd.";

/// Describes every method of `pool` that has a rule, as served at `servers`, and wherever the document is read.
///
/// # Errors
/// [`RestError`] if a rule is not supported.
pub fn document(
    pool: &DescriptorPool,
    dialects: &[(&str, Dialect)],
    servers: &[String],
) -> Result<Value, RestError> {
    let servers: Vec<Value> = servers
        .iter()
        .map(|url| json!({"url": url}))
        .chain([json!({"url": "/", "description": "This server"})])
        .collect();
    let bindings = rule::bindings(pool, dialects)?;
    let comments = Comments::read(pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut services: Vec<ServiceDescriptor> = Vec::new();
    let mut earlier: Vec<&Binding> = Vec::new();
    for binding in &bindings {
        let service = binding.method.parent_service();
        if !services.contains(service) {
            services.push(service.clone());
        }
        let nth = 1 + earlier.iter().filter(|other| other.method == binding.method).count();
        earlier.push(binding);
        let operation = operation::describe(binding, nth, &comments, &mut schemas);
        let path = binding.documented_path();
        let verb = binding.http_method.as_str().to_ascii_lowercase();
        paths.entry(path).or_default().insert(verb, operation);
    }
    let tags: Vec<Value> = services
        .iter()
        .map(|service| {
            json!({
                "name": service.full_name(),
                "description": comments.of_service(service),
            })
        })
        .collect();
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "meterd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": servers,
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.finish(pool),
            "responses": operation::error_responses(&bindings),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token in the header `Authorization: Bearer …`",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "api-key",
                    "description": "A client's API key",
                },
            },
        },
    }))
}

/// The document of everything that this binary serves.
///
/// # Errors
/// [`RestError`] if what was compiled in does not fit together.
pub fn of_this_binary() -> Result<Value, RestError> {
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET)
        .map_err(|error| RestError::new("the compiled-in descriptors", error.to_string()))?;
    document(&pool, DIALECTS, &[])
}
