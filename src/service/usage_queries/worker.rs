//! Running queries, on a few threads of their own.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Shared,
    job::{Failure, Job, JobState, Progress},
    query::Query,
    registry::Next,
    rows::{RowGrouper, RowsError},
};
use crate::{
    domain::{api_usage::ApiTotalsQuery, id::ClientId},
    store::{StoreError, document::Page},
};

/// Pages written at once: with each write the disk is waited for.
const PAGES_PER_WRITE: usize = 32;

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Runs queries until the registry is closed.
pub(super) fn work(shared: &Shared) {
    loop {
        match shared.registry.next() {
            Next::Run(job) => {
                run(shared, &job);
                shared.registry.ran(&job);
            }
            Next::Sweep => sweep(shared),
            Next::Close => return,
        }
    }
}

fn run(shared: &Shared, job: &Arc<Job>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| rows(shared, job)));
    // What did not come to its end runs again after the restart.
    if shared.registry.is_closed() && job.stop.load(Ordering::Relaxed) {
        return;
    }
    // It was cancelled meanwhile: what was written since then is for nobody.
    if job.progress().is_over() {
        if let Err(error) = shared.store.remove_pages(&job.organization, &job.rows_book()) {
            tracing::warn!(query = job.id, %error, "rows of a cancelled query cannot be removed");
        }
        return;
    }
    let state = match outcome {
        Ok(Ok(rows)) => JobState::Succeeded { rows },
        Ok(Err(RunError::Rows(RowsError::Cancelled))) => JobState::Cancelled,
        Ok(Err(RunError::Rows(RowsError::TooManyRows { rows_max }))) => {
            JobState::Failed(Failure::OfRequest(format!(
                "there are more than {rows_max} rows; shorten the interval, filter, or group by less"
            )))
        }
        Ok(Err(RunError::Rows(error @ RowsError::CountTooLarge))) => {
            JobState::Failed(Failure::OfRequest(error.to_string()))
        }
        Ok(Err(error)) => {
            tracing::error!(query = job.id, %error, "a usage query failed");
            JobState::Failed(Failure::OfServer)
        }
        Err(_) => {
            tracing::error!(query = job.id, "a usage query panicked");
            JobState::Failed(Failure::OfServer)
        }
    };
    finish(shared, job, state);
}

/// Writes what became of a query and then shows it, unless it is over. Blocks.
pub(super) fn finish(shared: &Shared, job: &Job, state: JobState) {
    let _finishing = job.finishing.lock();
    if job.progress().is_over() {
        return;
    }
    let progress = Progress { state, finished: Some(shared.clock.now()) };
    let written = (|| {
        if !matches!(progress.state, JobState::Succeeded { .. }) {
            shared.store.remove_pages(&job.organization, &job.rows_book())?;
        }
        shared.store.write_documents(&[job.document(&progress)?])
    })();
    match written {
        Ok(()) => {
            *job.progress.lock() = progress;
            // Not before: one that runs again after a restart needs it. What is left of it goes with the result.
            if let Err(error) = shared.store.remove_pages(&job.organization, &job.query_book()) {
                tracing::warn!(query = job.id, %error, "a query that is over cannot be removed");
            }
        }
        // It runs again after the restart that the store asks for.
        Err(error) => tracing::error!(query = job.id, %error, "the end of a usage query is lost"),
    }
}

/// Writes the rows of a query; answers how many there are.
fn rows(shared: &Shared, job: &Job) -> Result<u64, RunError> {
    let Shared { store, access, spill, .. } = shared;
    let Query { days, filter, client_names } = read_query(shared, job)?;
    // A run that was interrupted may have left some.
    store.remove_pages(&job.organization, &job.rows_book())?;
    let names = access.client_names(&job.organization);
    let name_of =
        |client: &ClientId| names.get(client).cloned().unwrap_or_else(|| client.to_string());
    let mut grouper = RowGrouper::new(&job.shape.plan, spill, &name_of, &job.stop);
    // Names are few, clients are few: each is looked at once.
    let mut has_name: HashMap<ClientId, bool> = HashMap::new();
    let query = ApiTotalsQuery { organization: job.organization.clone(), days, filter };
    let mut problem = None;
    let visited = store.api_totals(&query, &mut |series, day, class, total| {
        let is_wanted = client_names.is_empty()
            || *has_name
                .entry(series.client.clone())
                .or_insert_with_key(|client| client_names.contains(&name_of(client)));
        if !is_wanted {
            return Ok(());
        }
        job.totals_read.fetch_add(1, Ordering::Relaxed);
        grouper.add(series, day, class, total).map_err(|error| {
            problem = Some(error);
            StoreError::GivenUp
        })
    });
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    visited?;
    let mut pages = Vec::new();
    let rows = grouper.write_pages(|first, body| {
        job.rows_written.store(first, Ordering::Relaxed);
        pages.push(Page { first, body });
        if pages.len() == PAGES_PER_WRITE {
            store.write_pages(&job.organization, &job.rows_book(), &pages, &[])?;
            pages.clear();
        }
        Ok::<_, RunError>(())
    })?;
    store.write_pages(&job.organization, &job.rows_book(), &pages, &[])?;
    job.rows_written.store(rows, Ordering::Relaxed);
    Ok(rows)
}

fn read_query(shared: &Shared, job: &Job) -> Result<Query, StoreError> {
    let mut text = Vec::new();
    let mut number = 0;
    let book = job.query_book();
    while let Some(page) = shared.store.page_at(&job.organization, &book, number)?
        && page.first == number
    {
        text.extend_from_slice(&page.body);
        number += 1;
    }
    let damaged = || StoreError::Damaged(format!("the query {}", job.id).into());
    Query::from_json(&text).ok_or_else(damaged)
}

/// Removes what has expired. Blocks.
fn sweep(shared: &Shared) {
    for job in shared.registry.expired(shared.clock.now()) {
        let removed = (|| {
            shared.store.remove_pages(&job.organization, &job.rows_book())?;
            shared.store.remove_pages(&job.organization, &job.query_book())?;
            shared.store.write_documents(&[job.removal()])
        })();
        match removed {
            Ok(()) => shared.registry.forget(&job),
            Err(error) => {
                tracing::warn!(query = job.id, %error, "an expired result cannot be removed");
            }
        }
    }
}
