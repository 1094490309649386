use jiff::Timestamp;
use prost::Message as _;

use super::*;
use crate::{
    api::pb::envoy::data::accesslog::v3::HttpRequestProperties,
    domain::{
        api_usage::ApiEvent,
        caller::Caller,
        id::{ClientId, OrganizationId},
    },
    service::{
        acceptance::AcceptanceWindow,
        access_log::{AccessLogHeaders, AccessLogRules, Digest, DropReason, IgnoredValue, Tally},
    },
};

/// Written by `tests/clients/envoy_messages.py` with the official protos, which have ten times as many members.
const RECORDED: &[u8] = include_bytes!("../../../../tests/fixtures/envoy_access_log.bin");

fn recorded() -> Vec<StreamAccessLogsMessage> {
    let mut rest = RECORDED;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        messages.push(StreamAccessLogsMessage::decode_length_delimited(&mut rest).unwrap());
    }
    messages
}

/// Template, method, client, user, platform, status, time and count.
fn told(event: &ApiEvent) -> String {
    let series = &event.series;
    let named = |name: Option<String>| name.unwrap_or_else(|| "-".to_owned());
    format!(
        "{} {} {} {} {} {} {} ×{}",
        series.template_uri,
        series.method,
        series.client,
        named(series.user.as_ref().map(ToString::to_string)),
        named(series.platform.as_ref().map(ToString::to_string)),
        event.status.get(),
        event.time,
        event.count.get()
    )
}

#[test]
fn messages_of_envoy_are_counted() {
    let messages = recorded();
    let identifier = messages[0].identifier.clone().unwrap();
    assert_eq!((&*identifier.node.unwrap().id, &*identifier.log_name), ("edge-1", "meterd"));
    let rules = AccessLogRules::new(&["/v1/products/{id}".to_owned()], AccessLogHeaders::default());
    let rules = rules.unwrap();
    let caller = Caller {
        organization: OrganizationId::new("acme").unwrap(),
        client: ClientId::new("edge").unwrap(),
    };
    let noon: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let Digest { events, tally } = rules.digest(
        &caller,
        messages.into_iter().flat_map(entries_from_proto),
        &AcceptanceWindow::default(),
        noon,
    );
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        [
            "/v1/orders/{order} GET shop u-1 web 200 2026-11-20T11:59:55.25Z ×2",
            "/v1/orders/{order} GET shop u-1 web 499 2026-11-20T11:59:50.25Z ×1",
            "/v1/products/{id} POST edge - - 201 2026-11-20T11:59:50.25Z ×1",
            "/v1/products/{id} PATCH edge - - 404 2026-11-20T11:59:50.25Z ×1",
            "/v1/products/{id} HEAD edge - - 304 2026-11-20T11:59:50.25Z ×1",
            "/v1/products/{id} OPTIONS edge - - 204 2026-11-20T12:00:00Z ×1",
            "/{unmatched} DELETE edge - - 503 2026-11-20T11:59:50.25Z ×1",
            "health GET edge - - 429 2026-11-20T11:59:50.25Z ×1",
        ]
    );
    let expected = Tally {
        calls: 0,
        dropped: [
            (DropReason::UnknownMethod, 1),
            (DropReason::InvalidStatus, 1),
            (DropReason::NotHttp, 2),
            (DropReason::UnknownKind, 1),
        ]
        .into(),
        ignored: [(IgnoredValue::Client, 1), (IgnoredValue::Time, 1)].into(),
    };
    assert_eq!(tally, expected);
}

#[test]
fn only_the_end_of_a_request_is_a_call() {
    let kind_of = |number, intermediate_log_entry| {
        let common = AccessLogCommon {
            access_log_type: number,
            intermediate_log_entry,
            ..AccessLogCommon::default()
        };
        kind(&common)
    };
    use AccessLogType as Type;
    use EntryKind::{Completed, NotHttp, Partial, Unknown};
    for (number, expected) in [
        (Type::NotSet as i32, Completed),
        (Type::TcpUpstreamConnected as i32, NotHttp),
        (Type::TcpPeriodic as i32, NotHttp),
        (Type::TcpConnectionEnd as i32, NotHttp),
        (Type::DownstreamStart as i32, Partial),
        (Type::DownstreamPeriodic as i32, Partial),
        (Type::DownstreamEnd as i32, Completed),
        (Type::UpstreamPoolReady as i32, Partial),
        (Type::UpstreamPeriodic as i32, Partial),
        (Type::UpstreamEnd as i32, Partial),
        (Type::DownstreamTunnelSuccessfullyEstablished as i32, Partial),
        (Type::UdpTunnelUpstreamConnected as i32, NotHttp),
        (Type::UdpPeriodic as i32, NotHttp),
        (Type::UdpSessionEnd as i32, NotHttp),
        (14, Unknown),
        (-1, Unknown),
    ] {
        assert_eq!(kind_of(number, false), expected, "{number}");
        assert_eq!(kind_of(number, true), Partial, "{number}");
    }
}

#[test]
fn every_method_of_ours_is_one_of_envoys() {
    for number in 1..=9 {
        let theirs = RequestMethod::try_from(number).unwrap();
        assert_eq!(method(theirs).unwrap().as_str(), theirs.as_str_name());
    }
    // A number that is not known yet is no method, and not the first of them.
    let request = HttpRequestProperties { request_method: 10, ..Default::default() };
    assert_eq!(method(request.request_method()), None);
    assert_eq!(HttpMethod::ALL.len(), 9);
}

#[test]
fn nonsense_is_no_time() {
    let entry = |timestamp: Option<(i64, i32)>, length: Option<(i64, i32)>| {
        let common_properties = Some(Box::new(AccessLogCommon {
            start_time: timestamp.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
            duration: length.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
            ..AccessLogCommon::default()
        }));
        let entry =
            from_http(HttpAccessLogEntry { common_properties, request: None, response: None });
        (entry.start_time.is_some(), entry.duration)
    };
    assert_eq!(entry(None, None), (false, None));
    assert_eq!(entry(Some((i64::MAX, 0)), Some((-1, 0))), (false, None));
    assert_eq!(entry(Some((0, 0)), Some((i64::MIN, i32::MIN))), (true, None));
    let half = SignedDuration::from_millis(1500);
    assert_eq!(entry(Some((0, 0)), Some((1, 500_000_000))), (true, Some(half)));
    assert_eq!(
        from_http(HttpAccessLogEntry::default()),
        AccessLogEntry { kind: EntryKind::Completed, ..AccessLogEntry::default() }
    );
}
