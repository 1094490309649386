//! REST over real sockets: what holds for every path, and the vendor's documented samples.

use std::io::Write as _;

use http::{Method, StatusCode};
use meterd::api::CallLimits;
use serde_json::{Value, json};

use crate::support::{
    http::{call, say, say_all},
    server::{Setup, TOKEN, TestServer, fresh_uuid},
};

const WRITE: &str = "/marketplace/metering/v1/imageProductUsage/write";
const OLDER_WRITE: &str = "/marketplace/v1/metering/imageProductUsage/write";
const INSTANCE_WRITE: &str = "/marketplace/metering/v1/productUsage/write";

fn record(uuid: &str) -> Value {
    json!({"uuid": uuid, "skuId": "gb-hour", "quantity": "3", "timestamp": "2026-11-20T12:00:00Z"})
}

#[tokio::test]
async fn the_vendors_samples_write() {
    let server = TestServer::start().await;
    for (path, product, sku) in [
        (WRITE, json!({"product_id": "storage", "validate_only": false}), "gb-hour"),
        (OLDER_WRITE, json!({"product_id": "storage"}), "gb-hour"),
        (INSTANCE_WRITE, json!({"product_instance_id": "saas-1", "dry_run": null}), "seat"),
    ] {
        let [first, second] = [fresh_uuid(), fresh_uuid()];
        // As the quick start has it: snake_case, a bare number, microseconds; and a member of the future.
        let mut body = product.clone();
        body["usage_records"] = json!([
            {"uuid": first, "sku_id": sku, "quantity": 1, "timestamp": "2026-11-20T11:59:10.591128Z"},
            {"uuid": second.to_uppercase(), "skuId": sku, "quantity": "9223372036854775807",
             "timestamp": "2026-11-20T14:00:00.123456789+02:00", "note": {"of": ["another", "version"]}},
            {"uuid": first, "sku_id": sku, "quantity": 2e0, "timestamp": "2026-11-20T12:00:00Z"},
        ]);
        let answer = call(Method::POST, path).json(&body).send(server.api).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        assert_eq!(
            answer.json(),
            json!({
                "accepted": [{"uuid": first}, {"uuid": second.to_uppercase()}],
                "rejected": [{"uuid": first, "reason": "DUPLICATE"}],
            })
        );
        assert_eq!(answer.headers["meterd-duplicate-conflicts"], first);
        // Exactly what was sent is there.
        let answer =
            call(Method::GET, &format!("/v1/usageRecords/{second}")).send(server.api).await;
        let stored = &answer.json()["record"];
        assert_eq!(stored["quantity"], "9223372036854775807");
        assert_eq!(stored["usageTime"], "2026-11-20T12:00:00.123456789Z");
    }
    let answer = call(Method::POST, WRITE)
        .json(json!({"productId": "storage", "usageRecords": [{}]}))
        .send(server.api)
        .await;
    assert_eq!(
        answer.json(),
        json!({"accepted": [], "rejected": [{"uuid": "", "reason": "INVALID_ID"}]})
    );
    server.stop().await;
}

#[tokio::test]
async fn whole_requests_that_are_wrong_name_every_member() {
    let server = TestServer::start().await;
    let records: Vec<Value> = (0..26).map(|_| record(&fresh_uuid())).collect();
    let body = json!({"productId": "p".repeat(51), "usageRecords": records});
    let answer = call(Method::POST, WRITE).json(body).send(server.api).await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::BAD_REQUEST, &json!(3)));
    assert_eq!(answer.fields(), ["product_id", "usage_records"]);
    server.stop().await;
}

#[tokio::test]
async fn credentials_are_looked_at_before_the_body() {
    let server = TestServer::start().await;
    for body in ["{}", "{", "not even JSON"] {
        let answer = call(Method::POST, WRITE).anonymous().json(body).send(server.api).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["code"], 16);
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"meterd\"");
        let answer = call(Method::POST, WRITE)
            .anonymous()
            .header("authorization", "Bearer wrong")
            .json(body)
            .send(server.api)
            .await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refusal() {
    let server = TestServer::start().await;
    let body = json!({"productId": "storage", "usageRecords": [record(&fresh_uuid())]}).to_string();
    let request = |token: &str, content_type: &str, close: &str| {
        format!(
            "POST {WRITE} HTTP/1.1\r\nHost: meterd\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\n{close}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests = [
        request("wrong", "application/json", ""),
        request(TOKEN, "text/plain", ""),
        request(TOKEN, "application/json", "").replace(WRITE, "/nowhere"),
        request(TOKEN, "application/json", "Connection: close\r\n"),
    ];
    let said = say(server.api, requests.concat().as_bytes()).await;
    let statuses: Vec<&str> =
        said.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses, ["401", "415", "404", "200"], "{said}");
    server.stop().await;
}

#[tokio::test]
async fn paths_verbs_types_and_sizes() {
    let server = TestServer::start().await;
    let at = async |method: Method, target: &str| call(method, target).send(server.api).await;
    for target in [
        "/",
        "/v1",
        "/v1/usageRecord",
        "/v1/usageRecords/a/b",
        "/v1/productUsage",
        "/v1/productUsage:other",
        "/V1/usageRecords",
    ] {
        let answer = at(Method::GET, target).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::NOT_FOUND, &json!(5)),
            "{target}"
        );
        assert_eq!(answer.reason(), "NO_SUCH_PATH");
    }
    for (method, target, allow) in [
        (Method::POST, "/v1/usageRecords", "GET, HEAD"),
        (Method::PUT, "/v1/catalog/products/a", "GET, DELETE, HEAD"),
        (Method::GET, WRITE, "POST"),
        (Method::OPTIONS, "/v1/productUsage:query", "POST"),
        (Method::POST, "/openapi.json", "GET, HEAD"),
    ] {
        let answer = at(method, target).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{target}");
        assert_eq!(
            (answer.headers["allow"].to_str().unwrap(), &answer.json()["code"]),
            (allow, &json!(12))
        );
    }
    let answer = call(Method::POST, WRITE)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("{}")
        .send(server.api)
        .await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let answer = call(Method::POST, WRITE).body("{}").send(server.api).await;
    assert_eq!(
        answer.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "a body that does not say what it is"
    );
    let answer = call(Method::POST, "/meterd.v1.CatalogService/ListProducts")
        .json("{}")
        .send(server.api)
        .await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.json()["message"].as_str().unwrap().contains("gRPC method"));
    let answer = call(Method::POST, WRITE).json(" ".repeat(5 << 20)).send(server.api).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE")
    );
    assert_eq!(answer.headers["connection"], "close");
    assert_eq!(at(Method::HEAD, "/v1/catalog/products").await.status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn parameters_and_members_in_every_spelling() {
    let server = TestServer::start().await;
    let uuids: Vec<String> = (0..3).map(|_| fresh_uuid()).collect();
    let records: Vec<Value> = uuids.iter().map(|uuid| record(uuid)).collect();
    call(Method::POST, WRITE)
        .json(json!({"productId": "storage", "usageRecords": records}))
        .send(server.api)
        .await;
    for query in
        ["pageSize=2&productIds=storage&productIds=saas", "page_size=2&product_ids=storage&"]
    {
        let answer = call(Method::GET, &format!("/v1/usageRecords?{query}")).send(server.api).await;
        assert_eq!(answer.json()["records"].as_array().unwrap().len(), 2, "{query}");
    }
    let answer = call(Method::GET, "/v1/usageRecords?pageSiz=2&page_size=x").send(server.api).await;
    assert_eq!(
        (answer.status, answer.fields()),
        (StatusCode::BAD_REQUEST, vec!["pageSiz".to_owned(), "page_size".to_owned()])
    );
    let query = |granularity: Value, group_by: &str| json!({"interval": "2026-11-20/P1D", "granularity": granularity, group_by: ["USAGE_DIMENSION_SKU"], "filter": null});
    let mut answers = Vec::new();
    for body in [query(json!("GRANULARITY_DAY"), "groupBy"), query(json!(2), "group_by")] {
        let mut answer =
            call(Method::POST, "/v1/productUsage:query").json(body).send(server.api).await.json();
        // Another text each time.
        assert!(answer.as_object_mut().unwrap().remove("asOf").is_some());
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["rows"][0]["quantity"], "9");
    assert_eq!(answers[0]["rows"][0]["productId"], "", "written though empty");
    // A misspelt filter must not silently widen a query.
    let body = json!({"interval": "2026-11-20/P1D", "filter": {"productId": ["storage"]}});
    let answer = call(Method::POST, "/v1/productUsage:query").json(body).send(server.api).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["message"].as_str().unwrap().contains("productId"), "{}", answer.json());
    let answer = call(Method::POST, "/v1/productUsage:query")
        .json("{\n  \"interval\": 5,,\n}")
        .send(server.api)
        .await;
    assert!(
        answer.json()["message"].as_str().unwrap().contains("line 2 column 17"),
        "{}",
        answer.json()
    );
    server.stop().await;
}

#[tokio::test]
async fn headers_deadlines_and_limits_are_those_of_every_call() {
    let calls = CallLimits { calls_in_flight_max: 0, ..CallLimits::default() };
    let server = TestServer::start().await;
    let answer = call(Method::GET, "/v1/usageRecords")
        .header("x-request-id", "mine")
        .header("grpc-timeout", "1n")
        .send(server.api)
        .await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!(4)));
    assert_eq!(answer.headers["x-request-id"], "mine");
    let answer =
        call(Method::GET, "/v1/usageRecords").header("grpc-timeout", "soon").send(server.api).await;
    assert_eq!(
        (answer.status, answer.fields()),
        (StatusCode::BAD_REQUEST, vec!["grpc-timeout".to_owned()])
    );
    let metrics = call(Method::GET, "/metrics").send(server.admin).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = "meterd_calls_total{method=\"/meterd.v1.UsageReportService/ListUsageRecords\",code=\"DEADLINE_EXCEEDED\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    server.stop().await;

    let full = TestServer::with(Setup { calls, ..Setup::default() }).await;
    let answer = call(Method::GET, "/v1/usageRecords").send(full.api).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_CALLS")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    full.stop().await;
}

#[tokio::test]
async fn bodies_may_be_compressed_both_ways() {
    let server = TestServer::start().await;
    let body = json!({"productId": "storage", "usageRecords": [record(&fresh_uuid())]}).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let answer = call(Method::POST, WRITE)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip")
        .body(gzip.clone())
        .send(server.api)
        .await;
    assert_eq!(
        (answer.status, &answer.headers["content-encoding"]),
        (StatusCode::OK, &"gzip".parse().unwrap())
    );
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut text)
        .unwrap();
    assert!(text.starts_with("{\"accepted\":[{\"uuid\":"), "{text}");
    for (encoding, body, status) in [
        ("gzip", gzip[..gzip.len() / 2].to_vec(), StatusCode::BAD_REQUEST),
        ("zstd", gzip, StatusCode::BAD_REQUEST),
        ("br", vec![0], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("gzip", bomb(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = call(Method::POST, WRITE)
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .body(body)
            .send(server.api)
            .await;
        assert_eq!(answer.status, status, "{encoding}: {}", answer.json());
    }
    server.stop().await;
}

/// 64 MiB of spaces.
fn bomb() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        gzip.write_all(&[b' '; 1 << 20]).unwrap();
    }
    gzip.finish().unwrap()
}

#[tokio::test]
async fn one_request_is_never_taken_for_two() {
    let server = TestServer::start().await;
    let uuid = fresh_uuid();
    let body = json!({"productId": "storage", "usageRecords": [record(&uuid)]}).to_string();
    let head = format!(
        "POST {WRITE} HTTP/1.1\r\nHost: meterd\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    );
    let length = body.len();
    let smuggled = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    let answers = |said: &str| said.matches("HTTP/1.1 ").count();

    // Two lengths that differ.
    let said = say(
        server.api,
        format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{body}{smuggled}")
            .as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 400") && answers(&said) == 1, "{said}");
    // A length, and chunks: the chunks count, and nothing after them.
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
    ] {
        let said = say(
            server.api,
            format!("{head}{both}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{smuggled}").as_bytes(),
        )
        .await;
        assert!(said.starts_with("HTTP/1.1 400") && answers(&said) == 1, "{said}");
    }
    // Encodings that are no chunks, lengths that are no numbers, chunks that lie.
    for (lines, rest) in [
        ("Transfer-Encoding: gzip, identity", ""),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("Content-Length: +5", ""),
        ("Content-Length: 5, 6", ""),
        ("Transfer-Encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "2\r\n{}X\r\n0\r\n\r\n"),
    ] {
        let said =
            say(server.api, format!("{head}{lines}\r\n\r\n{rest}{smuggled}").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400") && answers(&said) == 1, "{lines}: {said}");
    }
    // A body that is longer than its length: cut JSON is refused, and what is left of it is no request.
    let said = say(
        server.api,
        format!("{head}Content-Length: {}\r\n\r\n{body}{smuggled}", length - 2).as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 400") && answers(&said) == 1, "{said}");
    // A body that is refused for its size or type, unread or read in vain.
    for lines in [
        "Content-Length: 9999999".to_owned(),
        // Two types.
        format!(
            "Content-Type: text/plain\r\nConnection: close\r\nContent-Length: {}",
            smuggled.len()
        ),
    ] {
        let said = say(server.api, format!("{head}{lines}\r\n\r\n{smuggled}").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 4") && answers(&said) == 1, "{lines}: {said}");
    }
    // A body that ends early.
    let said = say_all(
        server.api,
        format!("{head}Content-Length: {}\r\n\r\n{body}", length + 5).as_bytes(),
    )
    .await;
    assert!(answers(&said) == 0 || said.starts_with("HTTP/1.1 400"), "{said}");
    // Nothing of all that was taken.
    let answer = call(Method::GET, &format!("/v1/usageRecords/{uuid}")).send(server.api).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.json());
    // Whereas two requests in a row are two.
    let last = smuggled.replacen("Content-Length", "Connection: close\r\nContent-Length", 1);
    let said = say(server.api, format!("{smuggled}{last}").as_bytes()).await;
    assert_eq!(answers(&said), 2, "{said}");
    server.stop().await;
}
