//! Running queries, on a few threads of their own.

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Shared,
    computation::{Computation, Moment, NamesDigest},
    job::{Failure, JobState, Progress},
    query::Query,
    registry::{Next, NoRoom},
    removal,
    rows::{RowGrouper, RowsError},
};
use crate::{
    domain::{api_usage::ApiTotalsQuery, id::ClientId},
    service::disk_reserve::BelowReserve,
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
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl From<BelowReserve> for RunError {
    fn from(below: BelowReserve) -> Self {
        Self::Rows(below.into())
    }
}

/// Runs queries until the registry is closed.
pub(super) fn work(shared: &Shared) {
    loop {
        match shared.registry.next() {
            Next::Run(computation) => {
                run(shared, &computation);
                removal::remove_all(shared, &shared.registry.ran(&computation));
            }
            Next::Sweep => removal::sweep(shared),
            Next::Close => return,
        }
    }
}

fn run(shared: &Shared, computation: &Arc<Computation>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| rows(shared, computation)));
    // What did not come to its end runs again after the restart.
    if shared.registry.is_closed() && computation.stop.load(Ordering::Relaxed) {
        return;
    }
    // It was cancelled meanwhile: what was written since then is of no use.
    if computation.progress().is_over() {
        let rows = computation.rows_book();
        if let Err(error) = shared.store.remove_pages(&computation.organization, &rows) {
            let query = &computation.id;
            tracing::warn!(query, %error, "rows of a cancelled query cannot be removed");
        }
        return;
    }
    let state = match outcome {
        Ok(Ok(rows)) => JobState::Succeeded { rows },
        Ok(Err(error)) => state_after(&computation.id, error),
        Err(_) => {
            tracing::error!(query = computation.id, "a usage query panicked");
            JobState::Failed(Failure::OfServer)
        }
    };
    finish(shared, computation, state);
}

fn state_after(query: &str, error: RunError) -> JobState {
    let failure = match error {
        RunError::Rows(RowsError::Cancelled) => return JobState::Cancelled,
        RunError::Rows(RowsError::TooManyRows { rows_max }) => Failure::OfRequest(format!(
            "there are more than {rows_max} rows; shorten the interval, filter, or group by less"
        )),
        RunError::NoRoom(no_room) => Failure::OfRequest(no_room.to_string()),
        RunError::Rows(RowsError::BelowReserve(below)) => Failure::Unavailable(below.to_string()),
        RunError::Rows(RowsError::Spill(error)) if error.kind() == io::ErrorKind::StorageFull => {
            let text = "the disk is full, and the sort of the rows needs a file; free or add space";
            tracing::warn!(query, %error, "a usage query failed: the disk is full");
            Failure::Unavailable(text.to_owned())
        }
        RunError::Store(StoreError::SnapshotTooOld) => {
            let text = "the usage asked for changes faster than it can be read; ask for less of it at once";
            Failure::Unavailable(text.to_owned())
        }
        error => {
            tracing::error!(query, %error, "a usage query failed");
            Failure::OfServer
        }
    };
    JobState::Failed(failure)
}

/// Writes what became of a computation for all queries that share it and then shows it, unless it is over. Blocks.
fn finish(shared: &Shared, computation: &Arc<Computation>, state: JobState) {
    let _finishing = computation.finishing.lock();
    if computation.progress().is_over() {
        return;
    }
    let organization = &computation.organization;
    let progress = Progress { state, finished: Some(shared.clock.now()) };
    // Those that come now wait for `finishing`, and then find it over.
    let sharers = shared.registry.sharers(computation);
    let written = (|| {
        if !matches!(progress.state, JobState::Succeeded { .. }) {
            shared.store.remove_pages(organization, &computation.rows_book())?;
            shared.registry.shrink(computation);
        }
        let documents: Vec<_> =
            sharers.iter().map(|job| job.document(&progress)).collect::<Result<_, _>>()?;
        shared.store.write_documents(&documents)
    })();
    match written {
        Ok(()) => {
            *computation.progress.lock() = progress;
            // Not before: one that runs again after a restart needs it. What is left of it goes with the result.
            if let Err(error) = shared.store.remove_pages(organization, &computation.query_book()) {
                let query = &computation.id;
                tracing::warn!(query, %error, "a query that is over cannot be removed");
            }
        }
        // It runs again after the restart that the store asks for.
        Err(error) => {
            tracing::error!(query = computation.id, %error, "the end of a usage query is lost");
        }
    }
}

/// Writes the rows of a query; answers how many there are.
fn rows(shared: &Shared, computation: &Arc<Computation>) -> Result<u64, RunError> {
    let Shared { store, access, spill, .. } = shared;
    let organization = &computation.organization;
    let shape = &computation.shape;
    let query = read_query(shared, computation)?;
    // A run that was interrupted may have left some.
    store.remove_pages(organization, &computation.rows_book())?;
    let names = access.client_names(organization);
    let digest = NamesDigest::is_needed(&query, shape).then(|| NamesDigest::of(&names));
    let moment = Moment { through: store.statistics().last_sequence, names: digest };
    *computation.seen.lock() = Some(moment);
    let Query { days, filter, client_names } = query;
    let name_of =
        |client: &ClientId| names.get(client).cloned().unwrap_or_else(|| client.to_string());
    let mut grouper = RowGrouper::new(&shape.plan, spill, &name_of, &computation.stop);
    // Names are few, clients are few: each is looked at once.
    let mut has_name: HashMap<ClientId, bool> = HashMap::new();
    let query = ApiTotalsQuery { organization: organization.clone(), days, filter };
    let mut problem = None;
    let visited = store.api_totals(&query, &mut |series, day, class, total| {
        let is_wanted = client_names.is_empty()
            || *has_name
                .entry(series.client.clone())
                .or_insert_with_key(|client| client_names.contains(&name_of(client)));
        if !is_wanted {
            return Ok(());
        }
        computation.totals_read.fetch_add(1, Ordering::Relaxed);
        grouper.add(series, day, class, total).map_err(|error| {
            problem = Some(error);
            StoreError::GivenUp
        })
    });
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    // What came while it read may be in it, too.
    let through = visited?.max(moment.through);
    *computation.seen.lock() = Some(Moment { through, ..moment });
    let mut pages = Vec::new();
    let rows = grouper.write_pages(|first, body| {
        computation.rows_written.store(first, Ordering::Relaxed);
        pages.push(Page { first, body });
        if pages.len() == PAGES_PER_WRITE {
            write_rows(shared, computation, &pages)?;
            pages.clear();
        }
        Ok::<_, RunError>(())
    })?;
    write_rows(shared, computation, &pages)?;
    computation.rows_written.store(rows, Ordering::Relaxed);
    Ok(rows)
}

/// Writes pages of rows if disk and limits have room for them, after others were removed if they must.
fn write_rows(
    shared: &Shared,
    computation: &Arc<Computation>,
    pages: &[Page],
) -> Result<(), RunError> {
    let bytes = pages.iter().map(|page| page.body.len() as u64).sum();
    removal::remove_all(shared, &shared.registry.grow(computation, bytes)?);
    shared.spill.disk.check()?;
    let organization = &computation.organization;
    Ok(shared.store.write_pages(organization, &computation.rows_book(), pages, &[])?)
}

fn read_query(shared: &Shared, computation: &Computation) -> Result<Query, StoreError> {
    let mut text = Vec::new();
    let mut number = 0;
    let book = computation.query_book();
    while let Some(page) = shared.store.page_at(&computation.organization, &book, number)?
        && page.first == number
    {
        text.extend_from_slice(&page.body);
        number += 1;
    }
    let damaged = || StoreError::Damaged(format!("the query {}", computation.id).into());
    Query::from_json(&text).ok_or_else(damaged)
}
