//! The quick way between JSON and messages: it is taken, and it says what the other way says.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::{
    super::{
        dialect::{DIALECTS, Dialect, UnknownMembers},
        fuzzing::{read_alike, written_alike},
        json, made_up,
        quick::plan::Plan,
        rule::{self, Binding},
    },
    pool, spelling,
};
use crate::{api::pb, domain::fuzzing::Choices};

const WRITE: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";

/// The bindings of this binary, and of the test's proto in both dialects.
static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    let real = DescriptorPool::decode(pb::DESCRIPTOR_SET).unwrap();
    let mut bindings = rule::bindings(&real, DIALECTS).unwrap();
    bindings.extend(rule::bindings(&pool(), super::DIALECTS).unwrap());
    bindings
});

/// Every message that is asked or answered.
static PLANS: LazyLock<Vec<(MessageDescriptor, Plan)>> = LazyLock::new(|| {
    let messages = BINDINGS.iter().flat_map(|each| [each.method.input(), each.method.output()]);
    let plans =
        messages.map(|message| Some((message.clone(), Plan::of(&message, &Dialect::OURS)?)));
    plans.flatten().collect()
});

fn write() -> &'static Binding {
    BINDINGS.iter().find(|binding| binding.grpc_path.as_str() == WRITE).unwrap()
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

/// As the library writes it.
fn library_json(message: &prost_reflect::DynamicMessage) -> Option<serde_json::Value> {
    let options = Dialect::OURS.serialize_options();
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

#[test]
fn what_clients_write_is_read_quickly() {
    let plan = write().quick_request.as_ref().unwrap();
    let quick = |text: &str| read_alike(plan, &write().method.input(), text.as_bytes());
    for text in [
        "{}",
        " { } ",
        r#"{"productId":"p","usageRecords":[]}"#,
        r#"{"product_id":"p","usage_records":[{"sku_id":"s","quantity":-7},{}]}"#,
        r#"{"validateOnly":true,"usageRecords":[{"uuid":"6f1f4b0e-8c1d-4d6e-9a55-2b8f5a1c7d10","skuId":"s","quantity":"42","timestamp":"2026-11-20T11:58:00.25Z"}]}"#,
        r#"{"productId":"\u00e9\n"}"#,
    ] {
        assert!(quick(text), "{text}");
    }
    for text in [
        "",
        "null",
        "[]",
        "{} {}",
        r#"{"productId":"p","product_id":"p"}"#,
        r#"{"productId":null}"#,
        r#"{"productId":7}"#,
        r#"{"nope":7}"#,
        r#"{"validateOnly":"true"}"#,
        r#"{"usageRecords":{}}"#,
        r#"{"usageRecords":[{"quantity":1.0}]}"#,
        r#"{"usageRecords":[{"quantity":9223372036854775808}]}"#,
        r#"{"usageRecords":[{"quantity":1,"quantity":1}]}"#,
        r#"{"usageRecords":[{"timestamp":"2026-11-20T11:58:00+02:00"}]}"#,
        r#"{"usageRecords":[null]}"#,
    ] {
        assert!(!quick(text), "{text}");
    }
}

fn plan_of(name: &str) -> &'static (MessageDescriptor, Plan) {
    PLANS.iter().find(|(message, _)| message.full_name() == name).unwrap()
}

#[test]
fn every_form_of_field() {
    let (message, plan) = plan_of("rest.test.Everything");
    let quick = |text: &str| read_alike(plan, message, text.as_bytes());
    assert!(quick(r#"{"vendor_name":"v","present":0,"colors":[1,"COLOR_RED"],"unsigned":"7"}"#));
    assert!(quick(r#"{"numbers":[],"colors":[],"inners":[]}"#));
    assert!(!quick(r#"{"vendorName":"v"}"#));
    // What is left to the library.
    for text in [r#"{"left":"l"}"#, r#"{"pause":"1s"}"#, r#"{"fraction":1}"#, r#"{"counts":{}}"#] {
        assert!(!quick(text), "{text}");
    }
}

#[test]
fn names_that_cross() {
    // A name in JSON stands above another field's name in the proto.
    let (message, plan) = plan_of("rest.test.Nested");
    assert!(read_alike(plan, message, br#"{"first":"a","second":"b","inside":[{"first":"c"}]}"#));
}

#[test]
fn messages_in_messages_without_end() {
    let (message, plan) = plan_of("rest.test.Nested");
    let binding = BINDINGS.iter().find(|binding| binding.method.output() == *message).unwrap();
    for depth in [1, 10, 15, 16, 17, 63, 64, 99, 100, 101, 126, 127, 128, 10_000] {
        let text = r#"{"inside":["#.repeat(depth) + &"]}".repeat(depth);
        // Objects and lists count, and serde_json stops at 128.
        assert_eq!(read_alike(plan, message, text.as_bytes()), depth < 64, "{depth}");
        let bytes = (0..depth).fold(Vec::new(), |inner, _| {
            let mut outer = vec![3 << 3 | 2];
            prost::encoding::encode_varint(inner.len() as u64, &mut outer);
            [outer, inner].concat()
        });
        assert_eq!(written_alike(binding, &bytes), depth < 16, "{depth}");
    }
}

#[test]
fn times() {
    let input = write().method.input();
    let plan = write().quick_request.as_ref().unwrap();
    let quick = |time: &str| {
        let text = format!(r#"{{"usageRecords":[{{"timestamp":"{time}"}}]}}"#);
        read_alike(plan, &input, text.as_bytes())
    };
    for time in [
        "0001-01-01T00:00:00Z",
        "1900-02-28T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "1970-01-01T00:00:00Z",
        "2000-02-29T00:00:00.000000001Z",
        "2026-11-20T12:34:56.1Z",
        "9999-12-31T23:59:59.999999999Z",
    ] {
        assert!(quick(time), "{time}");
    }
    for time in [
        "0000-12-31T23:59:59Z",
        "1900-02-29T00:00:00Z",
        "2026-00-20T12:00:00Z",
        "2026-13-20T12:00:00Z",
        "2026-11-00T12:00:00Z",
        "2026-11-31T12:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T12:60:00Z",
        "2026-11-20T12:00:60Z",
        "2026-11-20T12:00:00.Z",
        "2026-11-20T12:00:00.1234567890Z",
        "2026-11-20T12:00:00.1 Z",
        "2026-11-20t12:00:00Z",
        "2026-11-20T12:00:00z",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00:00+00:00",
        "2026-11-20T12:00:0:Z",
        "+2026-11-20T12:00:00Z",
        "",
    ] {
        assert!(!quick(time), "{time}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_write_as_the_library_spells_it_is_read_quickly(bytes in choices()) {
        let message = made_up::message(&write().method.input(), &mut Choices::new(&bytes), 0);
        let input = write().method.input();
        let text = library_json(&message).map(|value| value.to_string()).unwrap_or_default();
        // The library writes times that it does not read.
        if json::message(text.as_bytes(), &input, UnknownMembers::Refuse).is_ok() {
            let plan = write().quick_request.as_ref().unwrap();
            prop_assert!(read_alike(plan, &input, text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn times_of_any_shape(time in "[0-9]{3}[0-9/]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.][0-9:]{0,10})?Z?") {
        let text = format!(r#"{{"usageRecords":[{{"timestamp":"{time}"}}]}}"#);
        read_alike(write().quick_request.as_ref().unwrap(), &write().method.input(), text.as_bytes());
    }

    #[test]
    fn requests_in_any_spelling(bytes in choices()) {
        let choices = &mut Choices::new(&bytes);
        let (descriptor, plan) = &PLANS[choices.place(PLANS.len() - 1)];
        let message = made_up::message(descriptor, choices, 0);
        if let Some(value) = library_json(&message) {
            for _ in 0..8 {
                read_alike(plan, descriptor, spelling::text(&value, descriptor, choices).as_bytes());
            }
        }
    }

    #[test]
    fn answers_whole_and_damaged(bytes in choices()) {
        let choices = &mut Choices::new(&bytes);
        let binding = &BINDINGS[choices.place(BINDINGS.len() - 1)];
        let bytes = made_up::message(&binding.method.output(), choices, 0).encode_to_vec();
        written_alike(binding, &bytes);
        for _ in 0..8 {
            written_alike(binding, &made_up::damaged(bytes.clone(), choices));
        }
    }

    #[test]
    fn what_was_read_from_json_is_written_quickly(bytes in choices()) {
        let choices = &mut Choices::new(&bytes);
        let output = write().method.output();
        let message = made_up::message(&output, choices, 0);
        let text = library_json(&message).unwrap().to_string();
        let read = json::message(text.as_bytes(), &output, UnknownMembers::Refuse).unwrap();
        let known = !text.contains("77");
        prop_assert_eq!(written_alike(write(), &read.encode_to_vec()), known);
    }
}
