//! Times as text (RFC 3339).

use jiff::Timestamp;
use prost::Message as _;

use super::{Subject, read_alike};
use crate::{
    api::{
        convert::time,
        pb::yandex::cloud::marketplace::metering::v1::WriteImageProductUsageRequest,
        rest::{dialect::UnknownMembers, json, rule::Binding},
    },
    domain::fuzzing::Choices,
};

/// A request with times.
const WRITE: &str = "/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write";

/// A text that is nearly a time, or one.
pub(super) fn made_up(choices: &mut Choices<'_>) -> String {
    let year = choices.of(&["0000", "0001", "1677", "1900", "1969", "2024", "2026", "9999", "026"]);
    let separators = choices.of(&[("-", ":"), ("-", ":"), ("-", ":"), ("", ""), ("/", ".")]);
    let two = |choices: &mut Choices<'_>, most: usize| match choices.pick(8) {
        0 => choices.of(&["00", "60", "61", "24", "5", "005"]).to_owned(),
        _ => format!("{:02}", 1 + choices.pick(most)),
    };
    let (month, day) = (two(choices, 12), two(choices, 31));
    let (hour, minute, second) = (two(choices, 23), two(choices, 59), two(choices, 59));
    let between = choices.of(&["T", "T", "T", "t", " ", "_"]);
    let fraction = match choices.pick(4) {
        0 => String::new(),
        1 => format!(".{}", choices.number()),
        2 => format!(".{:09}", choices.number() % 1_000_000_000),
        _ => choices.of(&[".", ".0", ",5", ".999999999", ".9999999999", ".5 "]).to_owned(),
    };
    let zone = choices.of(&[
        "Z", "Z", "Z", "z", "", "+00:00", "-00:00", "+02:00", "-23:59", "+24:00", "+0200", "+02",
        "[UTC]", "Z[UTC]",
    ]);
    let (date, clock) = separators;
    format!(
        "{year}{date}{month}{date}{day}{between}{hour}{clock}{minute}{clock}{second}{fraction}{zone}"
    )
}

impl Subject {
    /// A text is the same instant whoever reads it, and the text of an instant is read quickly.
    ///
    /// # Panics
    /// If not.
    pub fn timestamp(&self, text: &str) {
        let binding = self.bindings.iter().find(|binding| binding.grpc_path.as_str() == WRITE);
        let Some(binding) = binding else { panic!("{WRITE} has no binding") };
        let Some(read) = by_request(binding, text) else { return };
        let Some(instant) = time::from_proto(read) else { return };
        assert_eq!(time::to_proto(instant), read, "{text}");
        // Only one of the libraries has leap seconds.
        if let Ok(parsed) = text.parse::<Timestamp>()
            && !text.contains(":60")
        {
            assert_eq!(parsed, instant, "{text}");
        }
        let spelled = instant.to_string();
        assert_eq!(by_request(binding, &spelled), Some(read), "{spelled} of {text}");
        assert!(is_quick(binding, &spelled), "{spelled} of {text}");
    }
}

fn body(text: &str) -> String {
    serde_json::json!({ "usageRecords": [{ "timestamp": text }] }).to_string()
}

fn is_quick(binding: &Binding, text: &str) -> bool {
    let plan = binding.quick_request.as_ref().expect("a write is read quickly");
    read_alike(plan, &binding.method.input(), body(text).as_bytes())
}

/// The time of a request with this text.
fn by_request(binding: &Binding, text: &str) -> Option<prost_types::Timestamp> {
    let is_quick = is_quick(binding, text);
    let message =
        json::message(body(text).as_bytes(), &binding.method.input(), UnknownMembers::Refuse);
    assert!(!is_quick || message.is_ok(), "{text}");
    let bytes = message.ok()?.encode_to_vec();
    let request = WriteImageProductUsageRequest::decode(bytes.as_slice()).expect("such a request");
    request.usage_records.first()?.timestamp
}
