//! Paths, queries and bodies → messages, and messages → bodies.

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{bad, ok, requests, send, send_with};
use crate::api::rest::Failure;

#[tokio::test]
async fn path_variables_are_decoded_and_verbs_told_from_values() {
    let text = async |target: &str| ok(Method::GET, target, "").await["text"].clone();
    assert_eq!(text("/echo/plain").await, "plain");
    assert_eq!(text("/echo/a%2Fb%20%C3%A9").await, "a/b é");
    assert_eq!(text("/echo/a+b").await, "a+b", "a plus is a plus in a path");
    assert_eq!(text("/echo/what:ever").await, "what:ever", "no verb of this path");
    assert_eq!(text("/echo/%3Ainner").await, ":inner");
    let json = ok(Method::GET, "/echo/outer/inner/deep", "").await;
    assert_eq!((&json["text"], &json["inner"]["text"]), (&json!("outer"), &json!("deep")));
    assert!(bad(Method::GET, "/echo/%FF", "").await.contains("text: is not UTF-8"));
}

#[tokio::test]
async fn other_paths_and_methods() {
    for target in ["/", "/echo/", "/echo/a/b", "/Echo/a", "/echo/a/", "/echo:other", "/echo/:whole"]
    {
        assert!(
            send(Method::POST, target, "")
                .await
                .is_none_or(|(status, ..)| { status == StatusCode::METHOD_NOT_ALLOWED }),
            "{target}"
        );
    }
    assert!(send(Method::GET, "/nothing", "").await.is_none());
    let (status, headers, _) = send(Method::DELETE, "/echo/a", "").await.unwrap();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(headers[header::ALLOW], "GET, HEAD");
    let (status, headers, _) = send(Method::GET, "/echo/a:inner", "").await.unwrap();
    assert_eq!(
        (status, &headers[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    assert_eq!(send(Method::HEAD, "/echo/a", "").await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn query_parameters_of_every_type_in_both_spellings() {
    let json = ok(
        Method::GET,
        "/echo/x?small=-5&large=9223372036854775807&unsigned=18446744073709551615&flag=true\
         &fraction=1.5e3&blob=AQI%3D&color=COLOR_RED&time=2026-11-20T12:00:00.123456789%2B02:00\
         &pause=1.5s&maybe=7&texts=a&texts=b+c&numbers=1&numbers=-2&colors=1&colors=COLOR_RED\
         &inner.deeper.number=3&left=l&present=0&vendor_name=v&",
        "",
    )
    .await;
    assert_eq!(
        json,
        json!({
            "text": "x", "small": -5, "large": "9223372036854775807",
            "unsigned": "18446744073709551615", "flag": true, "fraction": 1500.0, "blob": "AQI=",
            "color": "COLOR_RED", "time": "2026-11-20T10:00:00.123456789Z", "pause": "1.500s",
            "maybe": "7", "texts": ["a", "b c"], "numbers": ["1", "-2"],
            "colors": ["COLOR_RED", "COLOR_RED"],
            "inner": {"text": "", "deeper": {"number": "3"}},
            "inners": [], "counts": {}, "left": "l", "present": 0, "vendor_name": "v",
        })
    );
    // The default of a field that has one is still given.
    let json = ok(Method::GET, "/echo/x?texts=&small=0&color=0", "").await;
    assert_eq!((&json["texts"], &json["small"]), (&json!([""]), &json!(0)));
}

#[tokio::test]
async fn query_parameters_that_cannot_be_meant() {
    for (query, expected) in [
        ("nope=1", "nope: is no query parameter"),
        ("small=1&small=2", "small: is given twice"),
        ("vendorName=x", "vendorName: is no query parameter"),
        ("small=x", "small: cannot be read as int32"),
        ("small=2147483648", "small: cannot be read"),
        ("large=1.5", "large: cannot be read"),
        ("flag=1", "flag: must be true or false"),
        ("color=RED", "color: cannot be read"),
        ("time=yesterday", "time: cannot be read"),
        ("text=y", "text: is no query parameter of this path: the path says it already"),
        ("inner=x", "inner: is no query parameter of this path: give its members"),
        ("inner.nope=x", "inner.nope: is no query parameter"),
        ("inners.text=x", "inners.text: is no query parameter"),
        ("counts=x", "counts: is no query parameter"),
        ("time.seconds=1", "time.seconds: is no query parameter"),
        ("left=a&right=b", "right: cannot be given together with left"),
        ("=x", ": is no query parameter"),
        ("small", "small: cannot be read"),
    ] {
        let message = bad(Method::GET, &format!("/echo/x?{query}"), "").await;
        assert!(message.contains(expected), "{query}: {message}");
    }
    let message = bad(Method::GET, "/echo/x?a=1&b=2&c=3&d=4", "").await;
    assert!(message.contains("a: ") && message.ends_with("and 1 more"), "{message}");
    let message = bad(Method::POST, "/echo:whole?small=1", "{}").await;
    assert!(message.contains("belongs into the body"), "{message}");
    let message = bad(Method::POST, "/echo/x:inner?inner.text=1", "{}").await;
    assert!(message.contains("belongs into the body"), "{message}");
}

#[tokio::test]
async fn a_body_may_be_all_or_one_field() {
    let json =
        ok(Method::POST, "/echo:whole", r#"{"text":"t","numbers":[1,"2"],"small":null}"#).await;
    assert_eq!((&json["text"], &json["numbers"]), (&json!("t"), &json!(["1", "2"])));
    for empty in ["", " \n", "{}"] {
        assert_eq!(ok(Method::POST, "/echo:whole", empty).await["text"], "", "{empty:?}");
    }
    let json = ok(Method::POST, "/echo/p:inner?small=4", r#"{"deeper":{"number":5}}"#).await;
    assert_eq!(
        (&json["text"], &json["small"], &json["inner"]["deeper"]["number"]),
        (&json!("p"), &json!(4), &json!("5"))
    );
    let json = ok(Method::PUT, "/echo/p/texts", r#"["a","b"]"#).await;
    assert_eq!((&json["text"], &json["texts"]), (&json!("p"), &json!(["a", "b"])));
    assert_eq!(ok(Method::PUT, "/echo/p/texts", "null").await["texts"], json!([]));
    // The path stands above the body.
    let json = ok(Method::PUT, "/vendor/path", r#"{"text":"body"}"#).await;
    assert_eq!(json["text"], "path");
    assert!(bad(Method::GET, "/echo/x", r#"{"small":1}"#).await.contains("this path takes none"));
    ok(Method::GET, "/echo/x", " ").await;
}

#[tokio::test]
async fn numbers_are_exact_or_refused() {
    let large = async |text: &str| {
        ok(Method::POST, "/echo:whole", &format!("{{\"large\":{text}}}")).await["large"].clone()
    };
    for (text, expected) in [
        ("9223372036854775807", "9223372036854775807"),
        ("\"-9223372036854775808\"", "-9223372036854775808"),
        ("1e3", "1000"),
        ("42.0", "42"),
        ("9007199254740991.0", "9007199254740991"),
        ("null", "0"),
    ] {
        assert_eq!(large(text).await, expected, "{text}");
    }
    for text in [
        "1.5",
        "9007199254740993.0",
        "9.223372036854775807e18",
        "9223372036854775808",
        "-9223372036854775809",
        "1e400",
        "\"1.5\"",
        "\"\"",
        "\" 1\"",
        "true",
        "[1]",
        "{}",
    ] {
        bad(Method::POST, "/echo:whole", &format!("{{\"large\":{text}}}")).await;
        bad(Method::POST, "/echo:whole", &format!("{{\"numbers\":[1,{text}]}}")).await;
        bad(Method::POST, "/echo:whole", &format!("{{\"maybe\":{text}}}")).await;
    }
    // Doubles are doubles.
    ok(Method::POST, "/echo:whole", r#"{"fraction":1e300,"counts":{"a":1}}"#).await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_say_where() {
    for (body, expected) in [
        ("{", "body: is not the JSON that is expected: EOF"),
        ("{}x", "trailing characters at line 1 column 3"),
        ("{} {}", "trailing characters"),
        ("[]", "body: "),
        ("5", "body: "),
        ("{\n  \"small\": 1,\n}", "at line 3 column 1"),
        (r#"{"inners":[{},{"deeper":{"number":"x"}}]}"#, "inners[1].deeper.number: "),
        (r#"{"small":1,"nope":2}"#, "unrecognized field name 'nope'"),
        (r#"{"inner":{"nope":2}}"#, "inner"),
        (r#"{"small":1,"small":2}"#, "\"small\" is given twice at line 1 column 18"),
        (r#"{"inner":{"text":"a","text":"b"}}"#, "given twice"),
        (r#"{"vendor_name":"a","vendor_name":"b"}"#, "given twice"),
        (r#"{"left":"a","right":"b"}"#, "multiple fields provided for oneof"),
        (r#"{"color":"RED"}"#, "color: "),
        (r#"{"time":"2026-13-01T00:00:00Z"}"#, "time: "),
        (r#"{"time":"2026-11-20T12:00:00"}"#, "time: "),
        (r#"{"time":"10000-01-01T00:00:00Z"}"#, "time: "),
        ("{\"text\":\"\u{1}\"}", "control character"),
        ("\u{feff}{}", "expected value at line 1 column 1"),
    ] {
        let message = bad(Method::POST, "/echo:whole", body).await;
        assert!(message.contains(expected), "{body}: {message}");
    }
    let nested = format!("{}{}", "{\"inner\":".repeat(5), "[".repeat(10_000));
    bad(Method::POST, "/echo:whole", &nested).await;
}

#[tokio::test]
async fn a_vendors_path_ignores_what_it_does_not_know() {
    let body =
        r#"{"nope":{"a":[1,{"b":null}]},"color":"NEW","large":"5","numbers":[6],"inner":{"x":1}}"#;
    let (status, _, bytes) = send(Method::PUT, "/vendor/x", body).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "by its dialect");
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    // Numbers by its dialect, too.
    assert_eq!((&json["large"], &json["numbers"]), (&json!(5), &json!([6])));
    assert_eq!(json["color"], "COLOR_UNSPECIFIED");
    let (status, ..) = send(Method::PUT, "/vendor/x", r#"{"large":1,"large":2}"#).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "which of the two?");
}

#[tokio::test]
async fn types_sizes_and_encodings_of_bodies() {
    let status = async |body: &str, name: &str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
        let (status, headers, _) =
            send_with(Method::POST, "/echo:whole", body, headers).await.unwrap();
        (status.as_u16(), headers.contains_key(header::CONNECTION))
    };
    assert_eq!(status("{}", "content-type", "application/json; charset=utf-8").await, (200, false));
    assert_eq!(status("{}", "content-type", "text/plain").await, (415, false));
    assert_eq!(status("{}", "content-encoding", "br").await, (415, false));
    assert_eq!(status("{}", "content-encoding", "identity").await, (200, false));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(64 << 10));
    assert_eq!(status(&large, "accept", "*/*").await, (413, true));
    assert_eq!(status("{", "accept", "*/*").await, (400, true));
}

#[tokio::test]
async fn an_answer_may_be_one_field() {
    let json = ok(Method::GET, "/echo?inner.text=a", "").await;
    assert_eq!(json, json!({"text": "a"}));
    assert_eq!(ok(Method::GET, "/echo", "").await, Value::Null);
    assert_eq!(ok(Method::GET, "/texts?texts=a&texts=b", "").await, json!(["a", "b"]));
    let (_, headers, _) = send(Method::GET, "/texts", "").await.unwrap();
    assert_eq!(headers["meterd-note"], "ours");
    assert_eq!(headers["grpc-metadata-other"], "theirs");
    assert!(!headers.contains_key("grpc-status"));
}

#[tokio::test]
async fn streams_are_lines_or_events() {
    let accept = |value: &str| HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
    let (status, headers, bytes) = send(Method::GET, "/repeat?text=a", "").await.unwrap();
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &"application/x-ndjson".parse().unwrap())
    );
    let lines: Vec<Value> = String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["text"] == "a"));
    let (_, headers, bytes) =
        send_with(Method::GET, "/repeat?text=a", "", accept("text/event-stream")).await.unwrap();
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("\n\n").count(), 3);
    assert!(text.starts_with("data: {\"text\":\"a\""), "{text}");
    // The service fails after three empty messages.
    let (status, _, bytes) = send(Method::GET, "/repeat", "").await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!((status, text.lines().count()), (StatusCode::OK, 4), "{text}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], 8);
    let (_, _, bytes) =
        send_with(Method::GET, "/repeat", "", accept("text/event-stream")).await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("event: error\ndata: {\"code\":8,"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<bytes::Bytes, std::convert::Infallible>,
    >());
    let failure = Failure::from(requests(1024).read(body).await.unwrap_err());
    assert!(format!("{failure:?}").contains("BODY_TIMEOUT"), "{failure:?}");
}
