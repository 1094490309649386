//! What usage queries answer about API usage.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{Auditor, Books, Invariant, reading::auditor};
use crate::{
    domain::{api_usage::ApiEvent, id::OrganizationId, limits::PAGE_SIZE_MAX},
    service::usage_queries::{JobState, Metric, Operation, QueryRequest, QueryRow},
};

/// What rows have in common: date, client, method, template; with a job user and platform as well.
type Key = (Option<Date>, [String; 5]);
/// How often: all calls, then by status.
type Counts = [u128; 6];

const METRICS: [Metric; 6] = [
    Metric::Requests,
    Metric::Status200,
    Metric::Status300,
    Metric::Status400,
    Metric::Status429,
    Metric::Status500,
];

/// Days of one query.
const QUERY_DAYS: i64 = 30;

/// Queries are over in moments.
const QUERY_PATIENCE: Duration = Duration::from_secs(120);

fn key(event: &ApiEvent, by_user: bool) -> Key {
    let series = &event.series;
    let shown = |text: Option<String>| text.filter(|_| by_user).unwrap_or_default();
    let date = event.time.to_zoned(TimeZone::UTC).date();
    let texts = [
        series.client.to_string(),
        series.method.to_string(),
        series.template_uri.to_string(),
        shown(series.user.as_ref().map(ToString::to_string)),
        shown(series.platform.as_ref().map(ToString::to_string)),
    ];
    (Some(date), texts)
}

fn count(counts: &mut Counts, event: &ApiEvent) {
    let status = event.status.get();
    let counted = [
        true,
        (200..300).contains(&status),
        (300..400).contains(&status),
        (400..500).contains(&status),
        status == 429,
        (500..600).contains(&status),
    ];
    for (count, is_counted) in counts.iter_mut().zip(counted) {
        *count += if is_counted { event.count.get().unsigned_abs().into() } else { 0_u128 };
    }
}

impl Books<'_> {
    /// Starts a query, waits for its end, and reads its rows.
    fn query(
        &self,
        organization: &OrganizationId,
        operation: Operation,
        request: &QueryRequest,
    ) -> anyhow::Result<Vec<QueryRow>> {
        let queries = &self.world.engine()?.queries;
        let caller = auditor(organization)?;
        let id = self.world.wait(queries.query(&caller, operation, None, request));
        let id = id.context("cannot start a usage query")?;
        let began = Instant::now();
        loop {
            match queries.job(&caller, &id)?.state {
                JobState::Succeeded { .. } => break,
                JobState::Queued | JobState::Running if began.elapsed() < QUERY_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                state => anyhow::bail!("the usage query {request:?} came to {state:?}"),
            }
        }
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let operations = [operation];
            let asked = queries.result(&caller, &operations, None, &id, &after, PAGE_SIZE_MAX);
            let page = self.world.wait(asked).context("cannot read the rows of a query")?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => after = next,
                None => return Ok(rows),
            }
        }
    }
}

impl Auditor {
    /// API usage of yesterday and today, by everything there is.
    pub(in crate::cli::simulate) fn recent_api_usage(
        &mut self,
        books: Books<'_>,
        truth: Timestamp,
    ) -> anyhow::Result<()> {
        let today = truth.to_zoned(TimeZone::UTC).date();
        let first = today.checked_sub(1.day()).context("yesterday")?;
        let interval = format!("{first}T00:00:00Z/{today}T23:59:59Z");
        let request = QueryRequest { interval, ..QueryRequest::default() };
        let operation = Operation::OrganizationJob;
        self.compare_api_usage(books, operation, &request, (first, today), true)
    }

    /// API usage of the whole time, in the vendor's older way.
    pub(in crate::cli::simulate) fn all_api_usage(
        &mut self,
        books: Books<'_>,
    ) -> anyhow::Result<()> {
        let date = |instant: Timestamp| instant.to_zoned(TimeZone::UTC).date();
        let mut first = date(books.plan.period.start).checked_sub(2.days())?;
        let end = date(books.plan.period.end).checked_add(3.days())?;
        while first < end {
            let after = first.checked_add(QUERY_DAYS.days())?.min(end);
            let group_by = ["OAuthClientId", "TemplateUri", "HttpMethod"];
            let request = QueryRequest {
                interval: format!("{first}/{after}"),
                granularity: "Day".into(),
                group_by: group_by.map(str::to_owned).into(),
                ..QueryRequest::default()
            };
            let days = (first, after.yesterday()?);
            let operation = Operation::OrganizationQuery;
            self.compare_api_usage(books, operation, &request, days, false)?;
            first = after;
        }
        Ok(())
    }

    fn compare_api_usage(
        &mut self,
        books: Books<'_>,
        operation: Operation,
        request: &QueryRequest,
        (first, last): (Date, Date),
        by_user: bool,
    ) -> anyhow::Result<()> {
        for organization in &books.plan.organizations {
            let mut expected: BTreeMap<Key, Counts> = BTreeMap::new();
            for event in books.model.api.of_days(organization, first, last) {
                count(expected.entry(key(event, by_user)).or_default(), event);
            }
            let mut actual: BTreeMap<Key, Counts> = BTreeMap::new();
            for row in books.query(organization, operation, request)? {
                let (key, counts) = shown(row);
                let is_new = actual.insert(key.clone(), counts).is_none();
                self.check(Invariant::ApiUsage, is_new, || format!("{key:?} comes in two rows"));
            }
            let what = format!("API usage of {organization}");
            self.compare(Invariant::ApiUsage, &what, &expected, &actual);
        }
        Ok(())
    }
}

/// A row, as the model counts.
fn shown(row: QueryRow) -> (Key, Counts) {
    let counts = METRICS.map(|metric| row.count(metric).unwrap_or_default());
    let texts = [row.client_id, row.http_method, row.template_uri, row.user, row.platform];
    ((row.date, texts.map(Option::unwrap_or_default)), counts)
}
