//! Rules that are not taken stop the start, and say why.

use axum::Router;
use prost_reflect::DescriptorPool;

use super::{
    super::{
        Rest,
        dialect::{DIALECTS, Dialect},
        openapi,
    },
    pool, proto_path, requests,
};
use crate::api::pb;

/// Compiles a service whose one rule is given.
fn build(rule: &str, signature: &str) -> Result<Rest, String> {
    let source = format!(
        "syntax = \"proto3\"; package broken; import \"google/api/annotations.proto\";
         import \"google/rpc/status.proto\";
         message M {{ string id = 1; repeated string ids = 2; M m = 3; map<string, string> map = 4; }}
         service S {{
           rpc A({signature}) {{ option (google.api.http) = {{ {rule} }}; }}
           rpc B(M) returns (M) {{ option (google.api.http) = {{ get: \"/b/{{id}}\" }}; }}
         }}"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("broken.proto"), source).unwrap();
    let mut compiler =
        protox::Compiler::new([directory.path().to_owned(), proto_path("proto").into()]).unwrap();
    compiler.include_imports(true).open_file("broken.proto").unwrap();
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    Rest::build(&pool, &[], Router::new(), requests(1024)).map_err(|error| error.to_string())
}

#[test]
fn rules_that_are_not_taken() {
    build("post: \"/a\" body: \"*\"", "M) returns (M").unwrap();
    for (rule, expected) in [
        ("", "the rule has no path"),
        ("custom: { kind: \"FETCH\" path: \"/a\" }", "custom verbs"),
        ("get: \"/a/**\"", "neither plain text nor a variable"),
        ("get: \"/a/{id=x/*}\"", "variable"),
        ("get: \"/a/{nope}\"", "there is no field nope"),
        ("get: \"/a/{ids}\"", "ids cannot be written in a path"),
        ("get: \"/a/{m}\"", "m cannot be written in a path"),
        ("get: \"/a/{map}\"", "map cannot be written in a path"),
        ("get: \"/a/{ids.x}\"", "there is no field"),
        ("post: \"/a\" body: \"nope\"", "the body \"nope\" is no field"),
        ("get: \"/a\" body: \"*\"", "GET takes no body"),
        ("delete: \"/a\" body: \"m\"", "DELETE takes no body"),
        ("get: \"/a\" response_body: \"nope\"", "the response_body \"nope\" is no field"),
        ("get: \"/b/{id}\"", "GET /b/{id} is taken by broken.S.A"),
        ("get: \"/b/{m.id}\"", "is taken by"),
        ("get: \"/a\" additional_bindings { get: \"/a\" }", "GET /a is taken by broken.S.A"),
        (
            "get: \"/a\" additional_bindings { get: \"/c\" additional_bindings { get: \"/d\" } }",
            "may not be nested",
        ),
    ] {
        let error = build(rule, "M) returns (M").map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{rule}: {error}");
    }
    let error = build("post: \"/a\" body: \"*\"", "stream M) returns (M").map(|_| ()).unwrap_err();
    assert!(error.contains("broken.S.A: takes a stream"), "{error}");
}

#[test]
fn a_dialect_of_a_service_that_does_not_exist() {
    let dialects = [("rest.test.Gone", Dialect::OURS)];
    let error =
        Rest::build(&pool(), &dialects, Router::new(), requests(1024)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("rest.test.Gone"), "{error}");
}

#[test]
fn our_own_protos_are_taken() {
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET).unwrap();
    Rest::build(&pool, DIALECTS, Router::new(), requests(1024)).unwrap();
}

#[test]
fn every_form_is_described() {
    let document = openapi::document(&pool(), super::DIALECTS, &[]).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/echo/{text}/inner/{inner.text}"), "{paths:?}");
    let get = &paths["/echo/{text}"]["get"];
    assert_eq!(get["summary"], "By query");
    let names: Vec<&str> =
        get["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"inner.deeper.number") && names.contains(&"vendor_name"), "{names:?}");
    assert!(!names.contains(&"counts") && !names.contains(&"inners"), "{names:?}");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(schemas["rest.test.Everything"]["properties"]["large"]["type"], "string");
    assert_eq!(schemas["rest.test.Everything.numbers"]["properties"]["large"]["type"], "integer");
    assert!(schemas.contains_key("ErrorBody") && schemas.contains_key("google.rpc.Status"));
    assert!(paths["/vendor/{text}"]["put"]["responses"].get("201").is_some());
    let stream = &paths["/repeat"]["get"]["responses"]["200"]["content"];
    assert!(
        stream.get("application/x-ndjson").is_some() && stream.get("text/event-stream").is_some()
    );
}
