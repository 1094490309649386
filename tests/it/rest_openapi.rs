//! The OpenAPI document: it stays what it is unless somebody means to change it, and every path in it leads
//! somewhere.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{
    command::meterd,
    http::{Answer, call},
    server::TestServer,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi.json");

#[test]
fn the_document_is_the_golden_one() {
    let printed = String::from_utf8(meterd(&["openapi"]).output().unwrap().stdout).unwrap();
    if std::env::var_os("METERD_WRITE_OPENAPI").is_some() {
        std::fs::write(GOLDEN, &printed).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    let first = printed.lines().zip(golden.lines()).position(|(new, old)| new != old);
    assert!(
        printed == golden,
        "the document has changed, first in line {:?}; if that is meant, run this test with METERD_WRITE_OPENAPI=1",
        first.map(|line| line + 1)
    );
}

/// The example of a parameter in a path or query.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Calls one operation as its example says.
async fn call_as_documented(
    server: &TestServer,
    path: &str,
    verb: &str,
    operation: &Value,
) -> Answer {
    let mut target = path.to_owned();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let example = &parameter["example"];
        match (parameter["in"].as_str().unwrap(), example) {
            ("path", Value::Null) => panic!("{path}: {name} has no example"),
            ("path", value) => target = target.replace(&format!("{{{name}}}"), &text(value)),
            (_, Value::Null) => {}
            (_, Value::Array(values)) => {
                for value in values {
                    query.append_pair(name, &text(value));
                }
            }
            (_, value) => {
                query.append_pair(name, &text(value));
            }
        }
    }
    let method = Method::from_bytes(verb.to_ascii_uppercase().as_bytes()).unwrap();
    let mut call = call(method, &format!("{target}?{}", query.finish()));
    if let Some(content) = operation.pointer("/requestBody/content/application~1json") {
        call = call.json(&content["example"]);
    }
    call.send(server.api).await
}

#[tokio::test]
async fn every_path_is_there_and_answers_as_documented() {
    let server = TestServer::start().await;
    let document = call(Method::GET, "/openapi.json").anonymous().send(server.api).await;
    assert_eq!(document.status, StatusCode::OK);
    let document = document.json();
    let mut called = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let success = responses.keys().find(|status| status.starts_with('2')).unwrap();
            let answer = call_as_documented(&server, path, verb, operation).await;
            called += 1;
            let status = answer.status.as_str();
            // The examples name things that this server does not have: those that ask for one thing get
            // 404 with the reason of its absence, not that of a path that leads nowhere.
            if path.starts_with("/iam/v1/tokens") {
                // An example of an assertion proves nothing; and two methods are there for their names only.
                let expected = if path.contains(':') {
                    ("501", "NOT_OFFERED")
                } else {
                    ("401", "UNAUTHENTICATED")
                };
                assert_eq!((status, answer.reason().as_str()), expected, "{path}");
            } else if status == "404" {
                assert!(path.contains('{'), "{verb} {path}: {}", answer.json());
                if path.starts_with("/api/v2/") {
                    assert_eq!(answer.json()["code"], "not.found", "{verb} {path}");
                } else {
                    assert_eq!(answer.reason(), "NOT_FOUND", "{verb} {path}");
                }
                assert!(responses.contains_key("404"), "{verb} {path}");
            } else {
                assert_eq!(status, success, "{verb} {path}: {}", answer.json());
            }
        }
    }
    assert!(called >= 13, "{called}");
    server.stop().await;
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let server = TestServer::start().await;
    let get = async |path: &str| call(Method::GET, path).anonymous().send(server.api).await;
    let page = get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for target in page.split(attribute).skip(1) {
            let target = target.split('"').next().unwrap();
            assert!(!target.contains("//"), "{target} is elsewhere");
            let answer = get(&format!("/{target}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{target}");
            assert!(!answer.body.is_empty());
            loaded += 1;
        }
    }
    assert_eq!(loaded, 5);
    let answer = get("/docs/").await;
    assert_eq!(
        (answer.status, answer.headers["location"].to_str().unwrap()),
        (StatusCode::PERMANENT_REDIRECT, "../docs")
    );
    assert_eq!(get("/docs/nothing.js").await.status, StatusCode::NOT_FOUND);
    server.stop().await;
}
