//! Failures in every dialect.

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::send;

#[tokio::test]
async fn a_failure_is_a_status_with_typed_details() {
    let (status, headers, bytes) = send(Method::GET, "/fail", "").await.unwrap();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(headers[header::RETRY_AFTER], "2", "1.2 s, rounded up");
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (&json["code"], &json["message"]),
        (&json!(8), &json!("inner.some_texts[0]: is too long"))
    );
    let details = json["details"].as_array().unwrap();
    let of = |name: &str| {
        let url = format!("type.googleapis.com/{name}");
        details.iter().find(|detail| detail["@type"] == url).unwrap_or_else(|| panic!("{json}"))
    };
    assert_eq!(of("google.rpc.RetryInfo")["retryDelay"], "1.200s");
    assert_eq!(of("google.rpc.BadRequest")["fieldViolations"][0]["field"], "inner.some_texts[0]");
    assert_eq!(of("rest.test.Refused")["invalid_things"], json!(["a"]));
    assert!(json.get("invalid_things").is_none(), "not in this dialect");
}

#[tokio::test]
async fn a_dialect_may_have_a_shape_of_its_own_and_lift_details() {
    let (status, _, bytes) = send(Method::GET, "/vendor/fail", "").await.unwrap();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        json,
        json!({
            "message": "inner.someTexts[0]: is too long",
            "code": "too.many.requests",
            "status": 429,
            "contextId": "the-request",
            "details": [{"errorCode": "invalid.value", "fieldName": "inner.someTexts[0]"}],
            "errors": [],
            "invalid_things": ["a"],
            "processed": 0,
        })
    );
}
