//! The bodies of the fuzz targets, on what proptest comes up with.

use std::sync::LazyLock;

use http::Method;
use proptest::prelude::*;

use super::super::fuzzing::Subject;

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| Subject::new().unwrap());

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
}

/// Paths made of pieces that mean something.
fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "/v1",
        "/catalog",
        "/products",
        "/productInstances",
        "/usageRecords",
        "/productUsage",
        ":query",
        ":apply",
        ":",
        "%2F",
        "%",
        "{",
        "}",
        "*",
        "a",
        "é",
        ".",
        "..",
        "//",
        "/marketplace/v1/metering/imageProductUsage/write",
        "?",
        "#",
        "\0",
        "v0",
        "{v0}",
    ]);
    prop_oneof![prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()), ".*"]
}

fn query() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "pageSize",
        "page_size",
        "productIds",
        "product_ids",
        "usageInterval",
        "pageToken",
        "=",
        "&",
        "1",
        "-1",
        "99999999999",
        "true",
        "a",
        "%20",
        "+",
        ".",
        "filter",
        "%FF",
        "",
        ";",
        "[0]",
    ]);
    prop_oneof![prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat()), ".*"]
}

fn json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "1",
        "-1",
        "1e3",
        "1.5",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "\"\"",
        "\"1\"",
        "\"a\"",
        "\"é\\u0000\"",
        "\"productId\":",
        "\"product_id\":",
        "\"usageRecords\":[{",
        "\"usage_records\":[",
        "}]",
        "\"quantity\":",
        "\"timestamp\":",
        "\"2026-11-20T12:00:00Z\"",
        "\"skuId\":",
        "\"uuid\":",
        "\"validateOnly\":",
        "\"interval\":",
        "\"granularity\":",
        "\"GRANULARITY_DAY\"",
        "\"filter\":{",
        "\"groupBy\":[",
        "\"nope\":",
        " ",
        "\n",
    ]);
    prop_oneof![prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat()), ".*"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths(method in method(), path in path()) {
        SUBJECT.path(&method, &path);
    }

    #[test]
    fn queries(query in query()) {
        SUBJECT.query(&query);
    }

    #[test]
    fn bodies(json in json()) {
        SUBJECT.json(json.as_bytes());
    }

    #[test]
    fn bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        SUBJECT.json(&body);
    }

    #[test]
    fn answers(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        SUBJECT.answer(&bytes);
    }
}
