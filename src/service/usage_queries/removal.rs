//! Removing queries from the disk: those that are deleted, evicted or expired.

use std::sync::{Arc, atomic::Ordering};

use super::{Shared, job::Job, registry::Hold};
use crate::store::StoreError;

/// Removes a query that nobody finds any more, and the pages that it alone had. What cannot be removed now is tried again
/// with what has expired. Blocks.
pub(super) fn remove(shared: &Shared, job: &Arc<Job>) {
    match try_remove(shared, job) {
        Ok(true) => shared.registry.removed(job),
        // The worker that runs it does, when it notices.
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(query = job.id, %error, "a result cannot be removed");
        }
    }
}

/// Removes all of some queries.
pub(super) fn remove_all(shared: &Shared, jobs: &[Arc<Job>]) {
    jobs.iter().for_each(|job| remove(shared, job));
}

/// False if the pages are still written to.
fn try_remove(shared: &Shared, job: &Arc<Job>) -> Result<bool, StoreError> {
    let Shared { store, registry, clock, .. } = shared;
    let computation = &job.computation;
    if registry.hold(computation) == Hold::Shared {
        store.write_documents(&[job.removal()])?;
        return Ok(true);
    }
    let may_have_pages =
        computation.bytes_written.load(Ordering::Relaxed) > 0 || !computation.progress().is_over();
    if may_have_pages {
        // A crash from here on leaves no result with a part of its rows.
        store.write_documents(&[job.removed_document(clock.now())?])?;
        // Asked after that: a run that ends later finds the query among those that are to be removed.
        if registry.hold(computation) == Hold::Running {
            return Ok(false);
        }
    }
    store.remove_pages(&computation.organization, &computation.rows_book())?;
    store.remove_pages(&computation.organization, &computation.query_book())?;
    store.write_documents(&[job.removal()])?;
    Ok(true)
}

/// Removes what has expired, and what could not be removed before. Blocks.
pub(super) fn sweep(shared: &Shared) {
    remove_all(shared, &shared.registry.expire(shared.clock.now()));
}
