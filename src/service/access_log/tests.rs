use std::{collections::BTreeSet, future::ready};

use super::*;
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiReport},
        limits::API_EVENTS_MAX,
        verdict::{Decision, Original},
    },
    service::testing::{caller, now},
};

fn rules() -> AccessLogRules {
    let templates = ["/v1/products/{id}", "/v1/products/search"].map(str::to_owned);
    AccessLogRules::new(&templates, AccessLogHeaders::default()).unwrap()
}

/// A GET of something that has no template, answered with 200 a second ago.
fn entry() -> AccessLogEntry {
    AccessLogEntry {
        path: "/secret/17".into(),
        method: Some(HttpMethod::Get),
        status: Some(200),
        start_time: Some(now() - SignedDuration::from_secs(1)),
        ..AccessLogEntry::default()
    }
}

fn with_headers(headers: &[(&str, &str)]) -> AccessLogEntry {
    let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    AccessLogEntry { headers: owned.collect(), ..entry() }
}

fn digest(entries: impl IntoIterator<Item = AccessLogEntry>) -> Digest {
    rules().digest(&caller("acme"), entries, &AcceptanceWindow::default(), now())
}

/// The one event of an entry, and the values of it that were ignored.
fn event(entry: AccessLogEntry) -> (ApiEvent, Vec<IgnoredValue>) {
    let Digest { mut events, tally } = digest([entry]);
    assert_eq!((events.len(), tally.dropped.len()), (1, 0));
    let event = events.pop().unwrap();
    assert_eq!(event.count.get(), 1);
    (event, tally.ignored.into_keys().collect())
}

#[test]
fn templates_come_from_the_route_the_configuration_or_nowhere() {
    let long = format!("/{}", "x".repeat(200));
    let none = &[][..];
    let bad = &[IgnoredValue::RouteName][..];
    for (route_name, original_path, path, template, ignored) in [
        ("/v2/{x}", "", "/v1/products/1", "/v2/{x}", none),
        ("products", "", "/v1/products/1?q#f", "/v1/products/{id}", none),
        ("products", "", "/v1/products/search", "/v1/products/search", none),
        ("products", "/v1/products/1?q", "/internal/1", "/v1/products/{id}", none),
        ("products", "/internal/1", "/v1/products/1", "products", none),
        ("products", "", "/elsewhere", "products", none),
        ("", "", "/v1/products/1", "/v1/products/{id}", none),
        ("", "", "/elsewhere", "/{unmatched}", none),
        ("", "", "", "/{unmatched}", none),
        (&long, "", "/v1/products/1", "/v1/products/{id}", bad),
        (&long, "", "/elsewhere", "/{unmatched}", bad),
        (" products", "", "/elsewhere", "/{unmatched}", bad),
    ] {
        let entry = AccessLogEntry {
            route_name: route_name.into(),
            original_path: original_path.into(),
            path: path.into(),
            ..entry()
        };
        let (event, passed_over) = event(entry);
        let case = format!("{route_name} {original_path} {path}");
        assert_eq!(event.series.template_uri.as_str(), template, "{case}");
        assert_eq!(passed_over, ignored, "{case}");
    }
}

#[test]
fn who_called_is_in_headers() {
    let long = "x".repeat(51);
    let (client, user, platform) =
        (IgnoredValue::Client, IgnoredValue::User, IgnoredValue::Platform);
    for (headers, expected, ignored) in [
        (&[][..], "client - -", &[][..]),
        (
            &[("x-client-id", "shop"), ("x-user-id", "ann"), ("x-platform", "ios")],
            "shop ann ios",
            &[],
        ),
        (&[("x-client-id", ""), ("x-user-id", ""), ("x-platform", "")], "client - -", &[]),
        (
            &[("x-client-id", &long), ("x-user-id", "a\nb"), ("x-platform", " web")],
            "client - -",
            &[client, user, platform],
        ),
        (&[("x-client-id", &long), ("x-user-id", "ann")], "client ann -", &[client]),
        (&[("X-Client-Id", "shop"), ("authorization", "secret")], "client - -", &[]),
    ] {
        let (event, passed_over) = event(with_headers(headers));
        let series = event.series;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let user = or_none(series.user.map(|user| user.to_string()));
        let platform = or_none(series.platform.map(|platform| platform.to_string()));
        let who = format!("{} {user} {platform}", series.client);
        assert_eq!((&*who, &*passed_over), (expected, ignored), "{headers:?}");
    }
}

#[test]
fn headers_have_the_names_that_were_configured() {
    let headers = AccessLogHeaders { client: "x-tenant".into(), ..AccessLogHeaders::default() };
    let rules = AccessLogRules::new(&[], headers).unwrap();
    let entry = with_headers(&[("x-client-id", "no"), ("x-tenant", "yes"), ("x-user-id", "ann")]);
    let digest = rules.digest(&caller("acme"), [entry], &AcceptanceWindow::default(), now());
    let series = &digest.events[0].series;
    assert_eq!((series.client.as_str(), series.user.as_ref().unwrap().as_str()), ("yes", "ann"));
}

#[test]
fn calls_without_an_answer_are_499_and_impossible_ones_are_dropped() {
    for (status, expected) in [
        (None, Some(499)),
        (Some(0), Some(499)),
        (Some(99), None),
        (Some(100), Some(100)),
        (Some(101), Some(101)),
        (Some(429), Some(429)),
        (Some(599), Some(599)),
        (Some(600), None),
        (Some(65_736), None),
        (Some(u32::MAX), None),
    ] {
        let Digest { events, tally } = digest([AccessLogEntry { status, ..entry() }]);
        let counted = events.first().map(|event| event.status.get());
        assert_eq!(counted, expected, "{status:?}");
        let dropped = tally.dropped.get(&DropReason::InvalidStatus).copied();
        assert_eq!(dropped, expected.is_none().then_some(1), "{status:?}");
    }
}

#[test]
fn what_is_no_call_is_not_counted_and_what_is_lost_is() {
    for (kind, method, dropped) in [
        (EntryKind::Partial, Some(HttpMethod::Get), None),
        (EntryKind::Partial, None, None),
        (EntryKind::NotHttp, None, Some(DropReason::NotHttp)),
        (EntryKind::Unknown, Some(HttpMethod::Get), Some(DropReason::UnknownKind)),
        (EntryKind::Completed, None, Some(DropReason::UnknownMethod)),
    ] {
        let entry = AccessLogEntry { kind, method, ..entry() };
        let Digest { events, tally } = digest([entry.clone(), entry]);
        assert!(events.is_empty());
        let expected = Tally {
            dropped: dropped.into_iter().map(|reason| (reason, 2)).collect(),
            ..Tally::default()
        };
        assert_eq!(tally, expected, "{kind:?} {method:?}");
    }
}

#[test]
fn calls_count_when_they_ended_unless_that_is_no_time_to_count() {
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
    // It is noon; an hour back and 30 s ahead are accepted.
    for (start_time, duration, expected, ignored) in [
        (at("2026-11-20T11:59:00Z"), seconds(5), "2026-11-20T11:59:05Z", false),
        (at("2026-11-20T11:59:00Z"), None, "2026-11-20T11:59:00Z", false),
        (None, seconds(5), "2026-11-20T12:00:00Z", false),
        (None, None, "2026-11-20T12:00:00Z", false),
        (at("2026-11-20T11:00:00Z"), None, "2026-11-20T11:00:00Z", false),
        (at("2026-11-20T10:59:59Z"), None, "2026-11-20T12:00:00Z", true),
        (at("2026-11-19T12:00:00Z"), seconds(86_000), "2026-11-20T11:53:20Z", false),
        (at("2026-11-20T12:00:30Z"), None, "2026-11-20T12:00:30Z", false),
        (at("2026-11-20T12:00:31Z"), None, "2026-11-20T12:00:00Z", true),
        (at("0001-01-01T00:00:00Z"), None, "2026-11-20T12:00:00Z", true),
        (at("2026-11-20T11:59:00Z"), Some(SignedDuration::MAX), "2026-11-20T12:00:00Z", true),
    ] {
        let (event, passed_over) = event(AccessLogEntry { start_time, duration, ..entry() });
        let case = format!("{start_time:?} {duration:?}");
        assert_eq!(event.time.to_string(), expected, "{case}");
        assert_eq!(passed_over, if ignored { vec![IgnoredValue::Time] } else { vec![] }, "{case}");
    }
}

#[test]
fn calls_that_are_alike_are_one_event() {
    let after_midnight: Timestamp = "2026-11-21T00:00:10Z".parse().unwrap();
    let ago = |seconds| AccessLogEntry {
        start_time: Some(after_midnight - SignedDuration::from_secs(seconds)),
        ..entry()
    };
    let entries = [
        ago(9),
        ago(1),
        ago(5),
        // The day before.
        ago(11),
        ago(3000),
        // Others.
        AccessLogEntry { status: Some(201), ..ago(1) },
        AccessLogEntry { method: Some(HttpMethod::Post), ..ago(1) },
        AccessLogEntry { headers: [("x-user-id".into(), "ann".into())].into(), ..ago(1) },
        AccessLogEntry { route_name: "/other".into(), ..ago(1) },
    ];
    let Digest { events, tally } =
        rules().digest(&caller("acme"), entries, &AcceptanceWindow::default(), after_midnight);
    assert_eq!(tally, Tally::default());
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            let series = &event.series;
            let template = series.template_uri.as_str();
            let user = series.user.as_ref().map(|user| user.as_str());
            (
                template,
                series.method,
                user,
                event.status.get(),
                event.time.to_string(),
                event.count.get(),
            )
        })
        .collect();
    told.sort();
    let (get, post) = (HttpMethod::Get, HttpMethod::Post);
    let time = |text: &str| text.to_owned();
    assert_eq!(
        told,
        [
            ("/other", get, None, 200, time("2026-11-21T00:00:09Z"), 1),
            ("/{unmatched}", get, None, 200, time("2026-11-20T23:59:59Z"), 2),
            ("/{unmatched}", get, None, 200, time("2026-11-21T00:00:09Z"), 3),
            ("/{unmatched}", get, None, 201, time("2026-11-21T00:00:09Z"), 1),
            ("/{unmatched}", get, Some("ann"), 200, time("2026-11-21T00:00:09Z"), 1),
            ("/{unmatched}", post, None, 200, time("2026-11-21T00:00:09Z"), 1),
        ]
    );
    let uuids: BTreeSet<_> = events.iter().map(|event| event.uuid).collect();
    assert_eq!(uuids.len(), events.len());
}

/// A digest of so many events, of two calls each.
fn large(events: usize) -> Digest {
    let entry = |number| with_headers(&[("x-user-id", &format!("user-{number}"))]);
    digest((0..events).chain(0..events).map(entry))
}

#[tokio::test]
async fn reports_are_of_a_size_that_the_store_takes() {
    for (events, expected) in [
        (0, vec![]),
        (1, vec![1]),
        (API_EVENTS_MAX, vec![API_EVENTS_MAX]),
        (2 * API_EVENTS_MAX + 1, vec![API_EVENTS_MAX, API_EVENTS_MAX, 1]),
    ] {
        let mut sizes = Vec::new();
        let store = |report: ApiReport| {
            assert_eq!(report.caller, caller("acme"));
            sizes.push(report.events.len());
            ready(Ok(vec![Decision::Accepted; report.events.len()]))
        };
        let (tally, outcome) = large(events).store_with(&caller("acme"), store).await;
        outcome.unwrap();
        assert_eq!(sizes, expected);
        assert_eq!(tally, Tally { calls: 2 * events as u64, ..Tally::default() });
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_told() {
    let mut reports = 0;
    let store = |report: ApiReport| {
        reports += 1;
        if reports == 2 {
            return ready(Err(ServiceError::Unavailable("planned".into())));
        }
        let mut decisions = vec![Decision::Accepted; report.events.len()];
        decisions[0] = Decision::Duplicate(Original::InSubmission(0));
        ready(Ok(decisions))
    };
    let (tally, outcome) = large(3 * API_EVENTS_MAX).store_with(&caller("acme"), store).await;
    assert!(matches!(outcome, Err(ServiceError::Unavailable(_))));
    assert_eq!(reports, 2);
    let expected = Tally {
        calls: 2 * 999,
        dropped: [(DropReason::NotStored, 2 * 2001)].into(),
        ..Tally::default()
    };
    assert_eq!(tally, expected);
}
