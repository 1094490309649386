use jiff::SignedDuration;
use uuid::Uuid;

use super::{self_metering::AnsweredApi, *};
use crate::{
    domain::{
        api_usage::{ApiFilter, ApiTotalsQuery, HttpMethod, HttpStatus, StatusClass},
        asset_usage::{DayRange, UsageDay},
        id::{PlatformName, TemplateUri},
        limits::API_EVENTS_MAX,
    },
    service::{
        api_usage::self_metering::SelfMetering,
        clock::ManualClock,
        committer::CommitterLimits,
        testing::{Mishap, TestStore, caller, clock, now, organization},
    },
    store::UsageStore,
};

struct Bench {
    store: Arc<TestStore>,
    clock: Arc<ManualClock>,
    usage: Arc<ApiUsage>,
}

impl Bench {
    fn new() -> Self {
        let store = TestStore::with_catalog(&[]);
        let clock = clock();
        let committer = Committer::start(
            Arc::clone(&store) as _,
            Arc::clone(&clock) as _,
            CommitterLimits::default(),
        )
        .unwrap();
        let window = AcceptanceWindow::default();
        let usage = Arc::new(ApiUsage::new(committer, Arc::clone(&clock) as _, window));
        Self { store, clock, usage }
    }

    async fn record(&self, events: Vec<ReportedEvent>) -> Vec<EventVerdict> {
        self.usage.record(&caller("acme"), events).await.unwrap()
    }

    /// Template, client, user, platform, day, class, events and calls.
    fn totals(&self, name: &str) -> Vec<String> {
        let day = |number| UsageDay::from_number(number).unwrap();
        let query = ApiTotalsQuery {
            organization: organization(name),
            days: DayRange { start: day(0), end: day(40_000) },
            filter: ApiFilter::default(),
        };
        let mut found = Vec::new();
        let mut visit =
            |series: &crate::domain::api_usage::ApiSeries, day: UsageDay, class, total| {
                let class: StatusClass = class;
                found.push(format!(
                    "{} {} {} {:?} {:?} {} {class:?} {total}",
                    series.method,
                    series.template_uri,
                    series.client,
                    series.user.as_ref().map(|user| user.as_str()),
                    series.platform.as_ref().map(|platform| platform.as_str()),
                    day.date()
                ));
                Ok(())
            };
        self.store.api_totals(&query, &mut visit).unwrap();
        found
    }
}

fn event(uuid: u128) -> ReportedEvent {
    ReportedEvent {
        uuid: Uuid::from_u128(uuid).to_string(),
        client_id: String::new(),
        user_id: String::new(),
        template_uri: "/v1/things/{id}".to_owned(),
        http_method: "GET".to_owned(),
        status: 200,
        platform: String::new(),
        timestamp: Some(now()),
        count: 1,
    }
}

fn rejected(reason: EventRejection) -> EventVerdict {
    EventVerdict::Rejected { reason, conflict: false }
}

#[tokio::test]
async fn every_rule_is_judged_in_the_order_of_the_contract() {
    type Spoil = fn(&mut ReportedEvent);
    let bench = Bench::new();
    let spoils: [(Spoil, EventRejection); 11] = [
        (|event| event.uuid = "1".to_owned(), EventRejection::InvalidId),
        (|event| event.client_id = "a\u{7}".to_owned(), EventRejection::InvalidClientId),
        (|event| event.user_id = " a".to_owned(), EventRejection::InvalidUserId),
        (|event| event.template_uri = String::new(), EventRejection::InvalidTemplateUri),
        (|event| event.http_method = "get".to_owned(), EventRejection::InvalidHttpMethod),
        (|event| event.status = 99, EventRejection::InvalidStatus),
        (|event| event.platform = "\n".to_owned(), EventRejection::InvalidPlatform),
        (|event| event.count = 0, EventRejection::InvalidCount),
        (|event| event.timestamp = None, EventRejection::InvalidTimestamp),
        (
            |event| event.timestamp = Some(now() + SignedDuration::from_secs(31)),
            EventRejection::InvalidTimestamp,
        ),
        (
            |event| event.timestamp = Some(now() - SignedDuration::from_secs(3601)),
            EventRejection::Expired,
        ),
    ];
    // Each alone, and each with all that are looked for later.
    for (at, (spoil, reason)) in spoils.iter().enumerate() {
        let mut alone = event(1);
        spoil(&mut alone);
        let mut with_more = alone.clone();
        for (spoil, later) in spoils.iter().skip(at + 1) {
            if later > reason {
                spoil(&mut with_more);
            }
        }
        spoil(&mut with_more);
        assert_eq!(bench.record(vec![alone, with_more]).await, [rejected(*reason); 2]);
    }
    assert_eq!(bench.totals("acme"), Vec::<String>::new(), "nothing was left behind");
    assert_eq!(bench.record(vec![event(1)]).await, [EventVerdict::Accepted], "nor was the uuid");
}

#[tokio::test]
async fn a_uuid_counts_once_and_a_duplicate_that_differs_is_told_apart() {
    let bench = Bench::new();
    let different = ReportedEvent { status: 500, ..event(2) };
    let duplicate =
        |conflict| EventVerdict::Rejected { reason: EventRejection::Duplicate, conflict };
    let verdicts = bench.record(vec![event(1), event(2), event(1), different.clone()]).await;
    assert_eq!(
        verdicts,
        [EventVerdict::Accepted, EventVerdict::Accepted, duplicate(false), duplicate(true)]
    );
    assert_eq!(bench.record(vec![different, event(2)]).await, [duplicate(true), duplicate(false)]);
    let by_other = bench.usage.record(&caller("other"), vec![event(1)]).await.unwrap();
    assert_eq!(by_other, [EventVerdict::Accepted], "organizations do not see each other's");
    assert_eq!(
        bench.totals("acme"),
        ["GET /v1/things/{id} client None None 2026-11-20 Success 2 in 2 records"]
    );
}

#[tokio::test]
async fn what_makes_a_whole_request_fail_is_named_at_once() {
    let bench = Bench::new();
    let fields = |outcome: Result<_, ServiceError>| match outcome {
        Err(ServiceError::InvalidArgument(violations)) => {
            violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let caller = caller("acme");
    let record = |events| bench.usage.record(&caller, events);
    assert_eq!(fields(record(Vec::new()).await), ["events"]);
    let too_many = (0..=API_EVENTS_MAX as u128).map(event).collect();
    assert_eq!(fields(record(too_many).await), ["events"]);
    let long = ReportedEvent {
        client_id: "c".repeat(51),
        user_id: "u".repeat(51),
        template_uri: "/".repeat(201),
        platform: "p".repeat(51),
        http_method: "G".repeat(17),
        ..event(1)
    };
    assert_eq!(
        fields(record(vec![event(2), long]).await),
        [
            "events[1].client_id",
            "events[1].user_id",
            "events[1].template_uri",
            "events[1].http_method",
            "events[1].platform"
        ]
    );
    assert_eq!(bench.totals("acme"), Vec::<String>::new());
}

fn api(template: &str) -> Arc<AnsweredApi> {
    Arc::new(AnsweredApi {
        template_uri: TemplateUri::new(template).unwrap(),
        method: HttpMethod::Post,
        platform: PlatformName::new("grpc").unwrap(),
    })
}

fn status(status: u16) -> HttpStatus {
    HttpStatus::new(status).unwrap()
}

#[tokio::test]
async fn calls_of_our_own_are_stored_by_the_day_on_which_they_were_answered() {
    let bench = Bench::new();
    let metering = SelfMetering::new(Arc::clone(&bench.usage), Arc::clone(&bench.clock) as _);
    metering.store().await.unwrap();
    assert_eq!(bench.totals("acme"), Vec::<String>::new());
    let (caller, things) = (caller("acme"), api("/v1/things"));
    for number in [200, 201, 429, 200] {
        assert!(metering.count(&caller, &things, status(number)));
    }
    bench.clock.advance(SignedDuration::from_hours(12));
    assert!(metering.count(&caller, &things, status(200)));
    metering.store().await.unwrap();
    metering.store().await.unwrap();
    let of = |rest: &str| format!("POST /v1/things client None Some(\"grpc\") {rest}");
    assert_eq!(
        bench.totals("acme"),
        [
            of("2026-11-20 Success 3 in 2 records"),
            of("2026-11-20 TooManyRequests 1 in 1 records"),
            of("2026-11-21 Success 1 in 1 records")
        ]
    );
}

#[tokio::test]
async fn calls_of_our_own_that_could_not_be_stored_are_stored_later_and_once() {
    let bench = Bench::new();
    let metering = SelfMetering::new(Arc::clone(&bench.usage), Arc::clone(&bench.clock) as _);
    let (caller, things) = (caller("acme"), api("/v1/things"));
    metering.count(&caller, &things, status(200));
    bench.store.plan(Mishap::Fail);
    assert!(metering.store().await.is_err());
    metering.count(&caller, &things, status(200));
    metering.store().await.unwrap();
    metering.store().await.unwrap();
    assert_eq!(
        bench.totals("acme"),
        ["POST /v1/things client None Some(\"grpc\") 2026-11-20 Success 2 in 2 records"]
    );
}

#[tokio::test]
async fn kinds_of_calls_beyond_the_limit_are_not_counted_and_said_so() {
    let bench = Bench::new();
    let metering = SelfMetering::new(Arc::clone(&bench.usage), Arc::clone(&bench.clock) as _);
    let caller = caller("acme");
    let apis: Vec<_> = (0..=10_000).map(|number| api(&format!("/{number}"))).collect();
    let count = |number: usize| metering.count(&caller, &apis[number], status(200));
    assert!((0..10_000).all(count));
    assert!(!count(10_000));
    assert!(count(1), "kinds that are known go on");
    metering.store().await.unwrap();
    assert!(count(10_000));
    assert_eq!(bench.totals("acme").len(), 10_000);
}
