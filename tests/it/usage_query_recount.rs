//! Two hundred thousand random events over 60 days, asked for by all operations, grouped, filtered and sorted in many
//! ways: every row equal to a naive recount, in the order that was asked for.
//!
//! `METERD_RECOUNT_SEED` repeats a run, `METERD_RECOUNT_EVENTS` sets how many events (default 200,000) and
//! `METERD_RECOUNT_QUERIES` how many jobs (default 60).

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, ToSpan as _, civil::Date};
use meterd::{
    api::pb::meterd::v1 as pb,
    domain::{
        api_usage::{ApiEvent, ApiFilter, ApiTotalsQuery, HttpMethod, StatusClass},
        asset_usage::{DayRange, UsageDay},
        id::ClientId,
        quantity::Total,
    },
    store::{
        UsageStore,
        memory::MemoryStore,
        sled::{SledStore, StoreOptions},
    },
};
use tonic::transport::Channel;

use crate::support::{
    random::Random,
    server::{Setup, TestServer, noon},
    usage::{Calls, api_totals, commit_events, event, organization},
};

const DAYS: i64 = 60;
const CLIENTS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];
const USERS: [&str; 4] = ["", "ann", "bob", "zoë"];
const TEMPLATES: [&str; 6] = ["/a", "/a/{id}", "/a/{id}/b", "/b", "/ä/{id}", "/z"];
const METHODS: [HttpMethod; 4] =
    [HttpMethod::Get, HttpMethod::Post, HttpMethod::Delete, HttpMethod::Options];
const PLATFORMS: [&str; 3] = ["", "ios", "web"];
const STATUSES: [u16; 10] = [100, 200, 204, 301, 400, 404, 429, 499, 500, 503];
const METRICS: [&str; 6] =
    ["Requests", "Status200", "Status300", "Status400", "Status429", "Status500"];

/// Two clients of one name, one with a name of its own, and two without.
fn name_of(client: &str) -> &str {
    match client {
        "c0" | "c2" => "Mobile apps",
        "c1" => "Billing",
        other => other,
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn random_event(random: &mut Random, uuid: u128) -> ApiEvent {
    let calls = Calls {
        client: random.one_of(&CLIENTS),
        user: random.one_of(&USERS),
        template: random.one_of(&TEMPLATES),
        method: random.one_of(&METHODS),
        platform: random.one_of(&PLATFORMS),
        status: random.one_of(&STATUSES),
        count: 1 + random.below(1000) as i64,
    };
    let seconds = random.below(DAYS as usize * 86_400) as i64;
    event(uuid, &calls, noon() - SignedDuration::from_secs(seconds))
}

/// A row by its dimensions, and its six counts in the order of [`METRICS`].
type Row = (Vec<String>, [u64; 6]);

/// What a job asks for.
#[derive(Debug, Clone)]
struct Job {
    first: Date,
    last: Date,
    granularity: &'static str,
    groups: Vec<&'static str>,
    sort: Vec<(&'static str, &'static str)>,
    clients: Vec<&'static str>,
    users: Vec<&'static str>,
    templates: Vec<&'static str>,
    methods: Vec<HttpMethod>,
    platforms: Vec<&'static str>,
}

const GROUPS: [&str; 6] =
    ["OauthClientName", "OauthClientId", "UserId", "HttpMethod", "TemplateUri", "Platform"];

fn some<T: Clone>(random: &mut Random, values: &[T]) -> Vec<T> {
    match random.below(3) {
        0 => (0..1 + random.below(2)).map(|_| random.one_of(values)).collect(),
        _ => Vec::new(),
    }
}

fn random_job(random: &mut Random) -> Job {
    let today = noon().to_zoned(jiff::tz::TimeZone::UTC).date();
    let first = today - (random.below(DAYS as usize + 5) as i64).days();
    let last = first + (random.below(DAYS as usize) as i64).days();
    let mut groups: Vec<&str> = GROUPS.into_iter().filter(|_| random.below(2) == 0).collect();
    if random.below(4) == 0 {
        groups.reverse();
    }
    let grouped = if groups.is_empty() { GROUPS.to_vec() } else { groups.clone() };
    let mut fields: Vec<&str> = grouped.into_iter().chain(METRICS).chain(["Date"]).collect();
    let mut sort = Vec::new();
    for _ in 0..random.below(4) {
        let field = fields.remove(random.below(fields.len()));
        sort.push((field, random.one_of(&["Asc", "Desc", ""])));
    }
    Job {
        first,
        last,
        granularity: random.one_of(&["Day", "Week", "Month", ""]),
        groups,
        sort,
        clients: some(random, &CLIENTS),
        users: some(random, &USERS[1..]),
        templates: some(random, &TEMPLATES),
        methods: some(random, &METHODS[..3]),
        platforms: some(random, &PLATFORMS[1..]),
    }
}

impl Job {
    fn request(&self) -> pb::CreateOrganizationAggregatesJobRequest {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        pb::CreateOrganizationAggregatesJobRequest {
            interval: format!("{}T00:00:00/{}T23:59:59.999", self.first, self.last),
            granularity: self.granularity.to_owned(),
            sort_by: self
                .sort
                .iter()
                .map(|(field, order)| pb::UsageQuerySortBy {
                    field_name: (*field).to_owned(),
                    order: (*order).to_owned(),
                })
                .collect(),
            metrics: Vec::new(),
            template_uris: texts(&self.templates),
            http_methods: self.methods.iter().map(HttpMethod::to_string).collect(),
            platforms: texts(&self.platforms),
            group_by: texts(&self.groups),
            user_ids: texts(&self.users),
            oauth_client_ids: texts(&self.clients),
        }
    }

    fn wants(&self, event: &ApiEvent) -> bool {
        fn allows(wanted: &[&str], value: &str) -> bool {
            wanted.is_empty() || wanted.contains(&value)
        }
        let series = &event.series;
        let date = UsageDay::of_instant(event.time).date();
        self.first <= date
            && date <= self.last
            && allows(&self.clients, series.client.as_str())
            && allows(&self.users, series.user.as_ref().map_or("", |user| user.as_str()))
            && allows(&self.templates, series.template_uri.as_str())
            && (self.methods.is_empty() || self.methods.contains(&series.method))
            && allows(&self.platforms, series.platform.as_ref().map_or("", |name| name.as_str()))
    }

    /// What rows have, beside the date: a client's id comes with its name.
    fn columns(&self) -> Vec<&'static str> {
        let mut columns =
            if self.groups.is_empty() { GROUPS.to_vec() } else { self.groups.clone() };
        if let Some(id) = columns.iter().position(|column| *column == "OauthClientId")
            && !columns.contains(&"OauthClientName")
        {
            columns.insert(id + 1, "OauthClientName");
        }
        columns
    }
}

fn bucket(date: Date, granularity: &str) -> Date {
    match granularity {
        "Week" => date - i64::from(date.weekday().to_monday_zero_offset()).days(),
        "Month" => date.first_of_month(),
        _ => date,
    }
}

fn value(column: &str, event: &ApiEvent) -> String {
    let series = &event.series;
    match column {
        "OauthClientName" | "ClientName" => name_of(series.client.as_str()).to_owned(),
        "OauthClientId" | "OAuthClientId" => series.client.to_string(),
        "UserId" => series.user.as_ref().map_or("", |user| user.as_str()).to_owned(),
        "HttpMethod" => series.method.to_string(),
        "TemplateUri" => series.template_uri.to_string(),
        "Platform" => series.platform.as_ref().map_or("", |name| name.as_str()).to_owned(),
        other => panic!("{other}"),
    }
}

fn count(counts: &mut [u64; 6], event: &ApiEvent) {
    let calls = event.count.get() as u64;
    let status = event.status.get();
    let is_counted = [
        true,
        (200..300).contains(&status),
        (300..400).contains(&status),
        (400..500).contains(&status),
        status == 429,
        (500..600).contains(&status),
    ];
    for (count, is_counted) in counts.iter_mut().zip(is_counted) {
        *count += u64::from(is_counted) * calls;
    }
}

/// The rows that a job must find, in their order.
fn expected(job: &Job, events: &[ApiEvent]) -> Vec<Row> {
    let columns = job.columns();
    let mut rows: BTreeMap<Vec<String>, [u64; 6]> = BTreeMap::new();
    for event in events.iter().filter(|event| job.wants(event)) {
        let date = bucket(UsageDay::of_instant(event.time).date(), job.granularity);
        let values = columns.iter().map(|column| value(column, event));
        let key = [date.to_string()].into_iter().chain(values).collect();
        count(rows.entry(key).or_default(), event);
    }
    let mut rows: Vec<Row> = rows.into_iter().collect();
    rows.sort_by(|one, other| {
        let by_fields = job.sort.iter().map(|(field, order)| {
            let ordering = if let Some(metric) = METRICS.iter().position(|name| name == field) {
                one.1[metric].cmp(&other.1[metric])
            } else {
                let at = columns.iter().position(|column| column == field).map_or(0, |at| at + 1);
                one.0[at].cmp(&other.0[at])
            };
            if *order == "Desc" { ordering.reverse() } else { ordering }
        });
        by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| one.0.cmp(&other.0))
    });
    rows
}

type Queries = pb::usage_query_service_client::UsageQueryServiceClient<
    tonic::service::interceptor::InterceptedService<Channel, crate::support::server::Bearer>,
>;

/// All rows of a job, page by page.
async fn found(queries: &mut Queries, job: &Job, page_size: i32) -> Vec<Row> {
    let started = queries.create_organization_aggregates_job(job.request()).await.unwrap();
    let job_id = started.into_inner().id;
    let mut after = String::new();
    let mut rows = Vec::new();
    loop {
        let request = pb::GetOrganizationAggregatesJobRequest {
            job_id: job_id.clone(),
            page_size,
            after: after.clone(),
        };
        let page = queries.get_organization_aggregates_job(request).await.unwrap().into_inner();
        match page.query_status.as_str() {
            "Queued" | "Running" => {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                continue;
            }
            "Succeeded" => {}
            other => panic!("{other}: {:?}", page.error_body),
        }
        rows.extend(page.entities.into_iter().map(|row| shown(job, row)));
        let Some(next) = page.next_uri else { return rows };
        after = next.split_once("after=").unwrap().1.to_owned();
    }
}

fn shown(job: &Job, row: pb::OrganizationUsage) -> Row {
    let client = row.oauth_client.unwrap_or_default();
    let values = job.columns().into_iter().map(|column| match column {
        "OauthClientName" => client.name.clone().unwrap(),
        "OauthClientId" => client.id.clone().unwrap(),
        "UserId" => row.user.as_ref().map(|user| user.id.clone()).unwrap_or_default(),
        "HttpMethod" => row.http_method.clone().unwrap(),
        "TemplateUri" => row.template_uri.clone().unwrap(),
        _ => row.platform.clone().unwrap(),
    });
    let counts = [
        row.request_count,
        row.status200,
        row.status300,
        row.status400,
        row.status429,
        row.status500,
    ];
    let key = [row.date.clone()].into_iter().chain(values).collect();
    (key, counts.map(|count| count.unwrap() as u64))
}

fn assert_same(found: &[Row], expected: &[Row], what: &dyn std::fmt::Debug) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = differs {
        panic!("row {at}: {:?}, recounted {:?}\n{what:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "{what:?}");
}

async fn register(server: &TestServer) {
    for client in CLIENTS.into_iter().filter(|client| name_of(client) != *client) {
        let request = pb::CreateClientRequest {
            client_id: client.to_owned(),
            name: name_of(client).to_owned(),
            ..pb::CreateClientRequest::default()
        };
        server.access().create_client(request).await.unwrap();
    }
}

/// The totals that both stores visit are the same.
fn compare_stores(sled: &dyn UsageStore, memory: &dyn UsageStore) {
    let today = UsageDay::of_instant(noon()).number();
    let day = |number| UsageDay::from_number(number).unwrap();
    for filter in [
        ApiFilter::default(),
        ApiFilter { clients: vec![ClientId::new("c3").unwrap()], ..ApiFilter::default() },
        ApiFilter { methods: vec![HttpMethod::Delete], ..ApiFilter::default() },
    ] {
        let query = ApiTotalsQuery {
            organization: organization("default"),
            days: DayRange { start: day(today - DAYS), end: day(today + 1) },
            filter,
        };
        let ours: Vec<(_, _, StatusClass, Total)> = api_totals(sled, &query);
        assert_eq!(ours, api_totals(memory, &query));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_count_is_that_of_a_recount() {
    let seed = number("METERD_RECOUNT_SEED", uuid::Uuid::new_v4().as_u64_pair().0);
    println!("METERD_RECOUNT_SEED={seed}");
    let mut random = Random::new(seed);
    let events: Vec<ApiEvent> = (0..number("METERD_RECOUNT_EVENTS", 200_000))
        .map(|at| random_event(&mut random, u128::from(at) << 64 | u128::from(random_bits(at))))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(directory.path());
    options.memtable_keys_max = 20_000;
    options.rollup_rows_max = 3_000;
    let sled = Arc::new(SledStore::open(options).unwrap());
    let memory = MemoryStore::new();
    for events in events.chunks(1000) {
        commit_events(&*sled, "default", events.to_vec(), noon()).unwrap();
        commit_events(&memory, "default", events.to_vec(), noon()).unwrap();
    }
    compare_stores(&*sled, &memory);
    let store = Arc::<SledStore>::clone(&sled) as _;
    let setup = Setup { store, ..Setup::default() };
    let server = TestServer::with(setup).await;
    register(&server).await;
    let mut queries = server.queries();
    let (mut rows, mut empty) = (0, 0);
    for _ in 0..number("METERD_RECOUNT_QUERIES", 60) {
        let job = random_job(&mut random);
        let found = found(&mut queries, &job, 1000).await;
        assert_same(&found, &expected(&job, &events), &job);
        rows += found.len();
        empty += usize::from(found.is_empty());
    }
    println!("{rows} rows equal, {empty} results empty");
    older_operations(&mut queries, &mut random, &events).await;
    server.stop().await;
}

fn random_bits(at: u64) -> u64 {
    Random::new(at).next()
}

/// The rows of an older query.
async fn older_rows(
    queries: &mut Queries,
    started: pb::StartedQuery,
    client: &str,
) -> Vec<pb::UsageRow> {
    loop {
        let execution_id = started.execution_id.clone();
        let result = if client.is_empty() {
            let request = pb::GetOrganizationQueryResultRequest { execution_id };
            queries.get_organization_query_result(request).await
        } else {
            let client_id = client.to_owned();
            let request = pb::GetClientQueryResultRequest { client_id, execution_id };
            queries.get_client_query_result(request).await
        };
        let result = result.unwrap().into_inner();
        match result.query_status.as_str() {
            "Running" => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            "Complete" => return result.results,
            other => panic!("{other}: {:?}", result.failure),
        }
    }
}

/// The operations that are no jobs, over the same events.
async fn older_operations(queries: &mut Queries, random: &mut Random, events: &[ApiEvent]) {
    let today = UsageDay::of_instant(noon()).date();
    for granularity in ["Day", "Week", "Month", ""] {
        for client in ["", "c1", "c4"] {
            let groups = match random.below(3) {
                0 => vec![],
                1 => vec!["TemplateUri", "HttpMethod"],
                _ => vec!["HttpMethod", "OAuthClientId", "OrganizationId"],
            };
            let first = today - (random.below(DAYS as usize) as i64).days();
            // The end is not part of the interval.
            let interval = format!("{first}T00:00:00Z/{today}T00:00:00Z");
            let granularity = granularity.to_owned();
            let group_by: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            let started = if client.is_empty() {
                let request = pb::StartOrganizationQueryRequest {
                    interval,
                    granularity: granularity.clone(),
                    metrics: Vec::new(),
                    group_by,
                };
                queries.start_organization_query(request).await
            } else {
                let request = pb::StartClientQueryRequest {
                    client_id: client.to_owned(),
                    interval,
                    granularity: granularity.clone(),
                    metrics: Vec::new(),
                    group_by,
                };
                queries.start_client_query(request).await
            };
            if first == today {
                assert!(started.is_err(), "an interval without a day");
                continue;
            }
            let rows = older_rows(queries, started.unwrap().into_inner(), client).await;
            let mut expected: BTreeMap<Vec<String>, [u64; 6]> = BTreeMap::new();
            for event in events {
                let date = UsageDay::of_instant(event.time).date();
                let is_wanted = client.is_empty() || event.series.client.as_str() == client;
                if !is_wanted || date < first || date >= today {
                    continue;
                }
                let date = match granularity.as_str() {
                    "" => String::new(),
                    granularity => format!("{}T00:00:00.000Z", bucket(date, granularity)),
                };
                let values = groups.iter().map(|group| match *group {
                    "OrganizationId" => "default".to_owned(),
                    group => value(group, event),
                });
                let key = [date].into_iter().chain(values).collect();
                count(expected.entry(key).or_default(), event);
            }
            let found: Vec<Row> = rows.iter().map(|row| older(row, &groups)).collect();
            let expected: Vec<Row> = expected.into_iter().collect();
            assert_same(&found, &expected, &(granularity, client, groups, first));
        }
    }
}

fn older(row: &pb::UsageRow, groups: &[&str]) -> Row {
    let values = groups.iter().map(|group| match *group {
        "OAuthClientId" => {
            let id = row.client_id.clone().unwrap();
            assert_eq!(row.client_name.as_deref(), Some(name_of(&id)));
            id
        }
        "OrganizationId" => row.organization_id.clone().unwrap(),
        "TemplateUri" => row.template_uri.clone().unwrap(),
        _ => row.http_method.clone().unwrap(),
    });
    let counts =
        [row.requests, row.status200, row.status300, row.status400, row.status429, row.status500];
    let key = [row.date.clone().unwrap_or_default()].into_iter().chain(values).collect();
    (key, counts.map(|count| count.unwrap() as u64))
}
