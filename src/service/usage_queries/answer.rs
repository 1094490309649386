//! Rows of a result, as they are shown.

use jiff::civil;

use super::{
    JobState, Metric,
    job::Job,
    rows::{Column, PageRows, Row, RowsError},
};
use crate::{
    service::{ServiceError, page::PageTokens},
    store::{StoreError, UsageStore},
};

/// Some rows of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsPage {
    /// What became of the query.
    pub state: JobState,
    /// The rows; none unless it has succeeded.
    pub rows: Vec<QueryRow>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// Calls that have something in common. Has what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRow {
    /// The first day of the day, week or month.
    pub date: Option<civil::Date>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The client's name; its id if it has none.
    pub client_name: Option<String>,
    /// The organization.
    pub organization: Option<String>,
    /// The user; empty for calls on behalf of none.
    pub user: Option<String>,
    /// Which API.
    pub template_uri: Option<String>,
    /// How it was called.
    pub http_method: Option<String>,
    /// Through what; empty for calls that did not say.
    pub platform: Option<String>,
    /// How many calls.
    pub counts: Vec<(Metric, u128)>,
}

impl QueryRow {
    /// A count, if it was asked for.
    #[must_use]
    pub fn count(&self, metric: Metric) -> Option<u128> {
        self.counts.iter().find(|(known, _)| *known == metric).map(|(_, count)| *count)
    }
}

/// The cursors of a query.
pub(super) fn cursors(key: [u8; 16], job: &Job) -> Result<PageTokens, ServiceError> {
    let tokens = PageTokens::new(key, &("usage query", job.organization().as_str(), &job.id))?;
    Ok(tokens.called("after", "the cursor of its page before"))
}

/// Reads up to `size` rows from the one of number `from`.
pub(super) fn rows(
    store: &dyn UsageStore,
    job: &Job,
    from: u64,
    size: usize,
) -> Result<Vec<QueryRow>, StoreError> {
    let damaged = |_: RowsError| {
        StoreError::Damaged(format!("rows of the query {} from {from}", job.id).into())
    };
    let mut found = Vec::new();
    let mut next = from;
    let book = job.computation.rows_book();
    while found.len() < size
        && let Some(page) = store.page_at(job.organization(), &book, next)?
    {
        let mut rows = PageRows::open(&job.computation.shape.plan, &page.body).map_err(damaged)?;
        let end = page.first + u64::from(rows.rows_left());
        if end <= next {
            break;
        }
        rows.pass_over(next - page.first).map_err(damaged)?;
        for row in rows.take(size - found.len()) {
            found.push(shown(job, row.map_err(damaged)?));
            next += 1;
        }
    }
    Ok(found)
}

fn shown(job: &Job, Row { date, values, counts }: Row) -> QueryRow {
    let shape = &job.computation.shape;
    let organization = shape.organization.then(|| job.organization().to_string());
    let counts = shape.metrics.iter().map(|metric| (*metric, counts.metric(*metric))).collect();
    let mut row = QueryRow { date, organization, counts, ..QueryRow::default() };
    for (column, value) in shape.plan.columns.iter().zip(values) {
        let slot = match column {
            Column::ClientId => &mut row.client_id,
            Column::ClientName => &mut row.client_name,
            Column::UserId => &mut row.user,
            Column::TemplateUri => &mut row.template_uri,
            Column::HttpMethod => &mut row.http_method,
            Column::Platform => &mut row.platform,
        };
        *slot = Some(value);
    }
    row
}
