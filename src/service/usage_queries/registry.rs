//! Every query that is kept, and those that wait for their turn.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::{
    Operation, QueryLimits,
    computation::{Computation, Moment, Question},
    job::{Job, JobState, StoredJob},
    kept::{Kept, Measure, share},
    query::Shape,
    turns::Turns,
};
use crate::{
    domain::id::{ClientId, OrganizationId},
    service::ServiceError,
};

/// How often what has expired is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Suggested to callers who have too many queries under way.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Inner {
    organizations: HashMap<OrganizationId, Kept>,
    turns: Turns,
    // Nobody sees them any more, and what they had on the disk may be there still.
    removing: Vec<Arc<Job>>,
    // When what has expired was last looked for.
    swept: Option<Instant>,
    is_closed: bool,
    evicted: u64,
    shared: u64,
}

/// The registry.
#[derive(Debug)]
pub(super) struct Registry {
    limits: QueryLimits,
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What a worker is to do next.
pub(super) enum Next {
    /// Run a computation, then call [`Registry::ran`].
    Run(Arc<Computation>),
    /// Look for what has expired.
    Sweep,
    /// End.
    Close,
}

/// Who needs the pages of a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Queries that share it.
    Shared,
    /// None, and its run has not noticed yet.
    Running,
    /// Nobody.
    Free,
}

/// What is asked by whom.
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) organization: OrganizationId,
    pub(super) operation: Operation,
    pub(super) client: Option<ClientId>,
    pub(super) started_by: ClientId,
    pub(super) created: Timestamp,
    pub(super) question: Question,
    pub(super) shape: Shape,
}

/// A query that was let in.
pub(super) struct Admitted {
    pub(super) job: Arc<Job>,
    /// Whether it has the result of an equal one, so that nothing is to be computed for it.
    pub(super) is_shared: bool,
    /// Queries that had to go for it; they are to be removed from the disk.
    pub(super) evicted: Vec<Arc<Job>>,
}

/// There is no room for more rows of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// It alone has more than it may.
    #[error(
        "the result has more than {bytes_max} bytes, the most that the results of one client may have (--query-results-size-max); shorten the interval, filter, or group by less"
    )]
    TooLarge {
        /// How many it may have.
        bytes_max: u64,
    },
    /// The results that run at the same time have more than there may be, and nothing can be removed for them.
    #[error(
        "the results of queries that run at the same time have more than {bytes_max} bytes; start it again when others have ended"
    )]
    Taken {
        /// How many there may be.
        bytes_max: u64,
    },
}

/// Figures about queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStatistics {
    /// Queries that are kept, finished or not.
    pub kept: usize,
    /// Bytes of their rows.
    pub result_bytes: u64,
    /// Computations that wait for a worker.
    pub waiting: usize,
    /// Computations that run.
    pub running: usize,
    /// Results that were removed before they expired because there were too many, since the start.
    pub evicted: u64,
    /// Queries that got the result of an equal one, since the start.
    pub shared: u64,
}

impl Registry {
    pub(super) fn new(limits: QueryLimits) -> Self {
        Self { limits, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a query in: with the result of an equal one if that sees all that `moment` does, or with one of its own that
    /// shall not run yet.
    ///
    /// # Errors
    /// [`ServiceError::TooManyQueries`] if its organization or its client has too many.
    pub(super) fn admit(&self, asked: Asked, moment: &Moment) -> Result<Admitted, ServiceError> {
        let mut inner = self.inner.lock();
        let QueryLimits { unfinished_max, kept_max, .. } = self.limits;
        let Asked { id, organization, operation, client, started_by, created, question, shape } =
            asked;
        let started_by = Some(started_by);
        let of_organization = inner.organizations.entry(organization.clone()).or_default();
        check_unfinished(of_organization, started_by.as_ref(), unfinished_max)?;
        let mut evicted = Vec::new();
        let client_max = share(kept_max as u64);
        loop {
            let counts = inner.of(&organization).by_client(Measure::Count);
            let of_client = counts.get(&started_by).copied().unwrap_or_default();
            let kept = inner.of(&organization);
            let oldest = if of_client >= client_max {
                kept.oldest(Measure::Count, Some(&started_by))
            } else if kept.len() >= kept_max {
                kept.oldest(Measure::Count, None)
            } else {
                break;
            };
            let Some(oldest) = oldest.cloned() else {
                let what = format!(
                    "{} queries of the organization are kept, at most {kept_max} may be (--query-results-max), and none of them has ended",
                    kept.len()
                );
                return Err(refused(what));
            };
            inner.evict(&oldest);
            evicted.push(oldest);
        }
        let kept = inner.of(&organization);
        let equal = kept.newest(&question).filter(|equal| equal.serves(moment)).cloned();
        let is_shared = equal.is_some();
        let computation = equal.unwrap_or_else(|| {
            let (id, by) = (id.clone(), started_by.clone());
            let organization = organization.clone();
            Arc::new(Computation::new(id, organization, by, Some(question), created, shape))
        });
        let job = Arc::new(Job::new(id, operation, client, started_by, created, computation));
        kept.insert(Arc::clone(&job));
        inner.shared += u64::from(is_shared);
        Ok(Admitted { job, is_shared, evicted })
    }

    /// Takes queries in that were there before a restart.
    pub(super) fn restore(&self, mut stored: Vec<StoredJob>) {
        // Those that share a result are one again, and one that says how it ended says it for all.
        stored.sort_by_key(|stored| !stored.job.progress().is_over());
        let mut inner = self.inner.lock();
        let mut unfinished: Vec<Arc<Computation>> = Vec::new();
        for StoredJob { mut job, is_removed } in stored {
            let kept = inner.of(job.organization());
            if job.cancelled.lock().is_none() && !is_removed {
                match kept.computation(&job.computation.id).cloned() {
                    Some(known) => job.computation = known,
                    None if job.progress().is_over() => {}
                    None => unfinished.push(Arc::clone(&job.computation)),
                }
            }
            let job = Arc::new(job);
            if is_removed {
                inner.removing.push(job);
            } else {
                kept.insert(job);
            }
        }
        unfinished.sort_by_key(|computation| computation.created);
        unfinished.into_iter().for_each(|computation| inner.turns.add(computation));
    }

    /// Forgets a query that could not be written.
    pub(super) fn forget(&self, job: &Arc<Job>) {
        let mut inner = self.inner.lock();
        inner.of(job.organization()).remove(&job.id);
        inner.unshare(job);
    }

    /// Lets a computation run as soon as there is a worker for it, and be shared.
    pub(super) fn enqueue(&self, computation: &Arc<Computation>) {
        let mut inner = self.inner.lock();
        inner.of(&computation.organization).offer(computation);
        inner.turns.add(Arc::clone(computation));
        self.changed.notify_one();
    }

    /// A query, unless its result has expired.
    pub(super) fn find(
        &self,
        organization: &OrganizationId,
        id: &str,
        now: Timestamp,
    ) -> Option<Arc<Job>> {
        let inner = self.inner.lock();
        let job = inner.organizations.get(organization)?.get(id)?;
        (!self.has_expired(job, now)).then(|| Arc::clone(job))
    }

    /// When the result of a query that ended at `finished` is removed.
    pub(super) fn expires(&self, finished: Timestamp) -> Timestamp {
        finished.saturating_add(self.limits.retention).unwrap_or(Timestamp::MAX)
    }

    fn has_expired(&self, job: &Job, now: Timestamp) -> bool {
        job.progress().finished.is_some_and(|finished| self.expires(finished) <= now)
    }

    /// Hides every query whose result has expired, and names all that are to be removed from the disk.
    pub(super) fn expire(&self, now: Timestamp) -> Vec<Arc<Job>> {
        let mut inner = self.inner.lock();
        let jobs = inner.organizations.values().flat_map(Kept::jobs);
        let expired: Vec<Arc<Job>> =
            jobs.filter(|job| self.has_expired(job, now)).cloned().collect();
        for job in &expired {
            inner.hide(job);
        }
        inner.removing.clone()
    }

    /// Those that share a computation.
    pub(super) fn sharers(&self, computation: &Computation) -> Vec<Arc<Job>> {
        let inner = self.inner.lock();
        let kept = inner.organizations.get(&computation.organization);
        kept.map(|kept| kept.sharers(computation).to_vec()).unwrap_or_default()
    }

    /// Ends a query's part in its computation, and the run of that if no other query shares it; true if none does.
    pub(super) fn unshare(&self, job: &Job) -> bool {
        self.inner.lock().unshare(job)
    }

    /// Hides a query that is to be removed from the disk: nobody finds it from then on.
    pub(super) fn hide(&self, job: &Arc<Job>) -> bool {
        self.inner.lock().hide(job)
    }

    /// Who needs the pages of a computation.
    pub(super) fn hold(&self, computation: &Arc<Computation>) -> Hold {
        let inner = self.inner.lock();
        let kept = inner.organizations.get(&computation.organization);
        if kept.is_some_and(|kept| !kept.sharers(computation).is_empty()) {
            Hold::Shared
        } else if inner.turns.is_running(computation) && !has_result(computation) {
            Hold::Running
        } else {
            Hold::Free
        }
    }

    /// Notes that a query is removed from the disk.
    pub(super) fn removed(&self, job: &Arc<Job>) {
        self.inner.lock().removing.retain(|removing| !Arc::ptr_eq(removing, job));
    }

    /// Adds bytes to a result that grows. Names those queries that had to go for them, which are to be removed from the
    /// disk.
    ///
    /// # Errors
    /// [`NoRoom`]; the bytes are added all the same, until the result is taken back.
    pub(super) fn grow(
        &self,
        computation: &Arc<Computation>,
        bytes: u64,
    ) -> Result<Vec<Arc<Job>>, NoRoom> {
        let mut inner = self.inner.lock();
        let QueryLimits { result_bytes_max, result_bytes_total_max, .. } = self.limits;
        let client_max = share(result_bytes_max);
        let organization = &computation.organization;
        let kept = inner.of(organization);
        let own = bytes + computation.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        let Some(first) = kept.sharers(computation).first().cloned() else {
            return Ok(Vec::new());
        };
        kept.bytes += bytes;
        if own > client_max {
            return Err(NoRoom::TooLarge { bytes_max: client_max });
        }
        let mut evicted = Vec::new();
        loop {
            let kept = inner.of(organization);
            // No client has more than all of them.
            let of_client = match kept.bytes > client_max {
                true => kept.by_client(Measure::Bytes).get(&first.started_by).copied(),
                false => None,
            };
            let (oldest, bytes_max) = if of_client.is_some_and(|bytes| bytes > client_max) {
                (kept.oldest(Measure::Bytes, Some(&first.started_by)).cloned(), client_max)
            } else if kept.bytes > result_bytes_max {
                (kept.oldest(Measure::Bytes, None).cloned(), result_bytes_max)
            } else if inner.bytes() > result_bytes_total_max {
                (inner.oldest_of_all().cloned(), result_bytes_total_max)
            } else {
                return Ok(evicted);
            };
            let Some(oldest) = oldest else {
                return Err(NoRoom::Taken { bytes_max });
            };
            inner.evict(&oldest);
            evicted.push(oldest);
        }
    }

    /// Takes the bytes of a result back that there will not be.
    pub(super) fn shrink(&self, computation: &Arc<Computation>) {
        let mut inner = self.inner.lock();
        let bytes = computation.bytes_written.swap(0, Ordering::Relaxed);
        let kept = inner.of(&computation.organization);
        if !kept.sharers(computation).is_empty() {
            kept.bytes = kept.bytes.saturating_sub(bytes);
        }
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Next {
        let mut inner = self.inner.lock();
        loop {
            if inner.is_closed {
                return Next::Close;
            }
            // Whatever there is to run: on a busy server results expire as well.
            let now = Instant::now();
            let sweep = *inner.swept.get_or_insert(now) + SWEEP_INTERVAL;
            if sweep <= now {
                inner.swept = Some(now);
                return Next::Sweep;
            }
            if let Some(computation) = inner.turns.take() {
                if begin(&computation) {
                    return Next::Run(computation);
                }
                inner.turns.end(&computation);
                continue;
            }
            self.changed.wait_until(&mut inner, sweep);
        }
    }

    /// A computation has had its turn. Names the queries that waited for that with their removal.
    pub(super) fn ran(&self, computation: &Arc<Computation>) -> Vec<Arc<Job>> {
        let mut inner = self.inner.lock();
        inner.turns.end(computation);
        let removing = inner.removing.iter();
        removing.filter(|job| Arc::ptr_eq(&job.computation, computation)).cloned().collect()
    }

    /// Whether the server shuts down.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.lock().is_closed
    }

    /// Stops what runs, and lets nothing begin.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        for computation in inner.turns.running() {
            computation.stop.store(true, Ordering::Relaxed);
        }
        self.changed.notify_all();
    }

    pub(super) fn statistics(&self) -> QueryStatistics {
        let inner = self.inner.lock();
        QueryStatistics {
            kept: inner.organizations.values().map(Kept::len).sum(),
            result_bytes: inner.bytes(),
            waiting: inner.turns.waiting_count(),
            running: inner.turns.running().len(),
            evicted: inner.evicted,
            shared: inner.shared,
        }
    }
}

impl Inner {
    fn of(&mut self, organization: &OrganizationId) -> &mut Kept {
        self.organizations.entry(organization.clone()).or_default()
    }

    fn bytes(&self) -> u64 {
        self.organizations.values().map(|kept| kept.bytes).sum()
    }

    /// The oldest finished result of the greediest client of the organization that has most.
    fn oldest_of_all(&self) -> Option<&Arc<Job>> {
        let mut organizations: Vec<&Kept> = self.organizations.values().collect();
        organizations.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.bytes));
        organizations.into_iter().find_map(|kept| kept.oldest(Measure::Bytes, None))
    }

    fn unshare(&mut self, job: &Job) -> bool {
        let is_last = self.of(job.organization()).unshare(job);
        if is_last {
            job.computation.stop.store(true, Ordering::Relaxed);
        }
        is_last
    }

    fn hide(&mut self, job: &Arc<Job>) -> bool {
        if self.of(job.organization()).remove(&job.id).is_none() {
            return false;
        }
        self.unshare(job);
        if self.of(job.organization()).is_empty() {
            self.organizations.remove(job.organization());
        }
        self.removing.push(Arc::clone(job));
        true
    }

    fn evict(&mut self, job: &Arc<Job>) {
        self.hide(job);
        self.evicted += 1;
    }
}

/// Whether the run has written all that it will. One that was cancelled may not have noticed.
fn has_result(computation: &Computation) -> bool {
    matches!(computation.progress().state, JobState::Succeeded { .. } | JobState::Failed(_))
}

/// Shows that a computation runs, unless it was cancelled just now.
fn begin(computation: &Computation) -> bool {
    let mut progress = computation.progress.lock();
    if progress.is_over() || computation.stop.load(Ordering::Relaxed) {
        return false;
    }
    progress.state = JobState::Running;
    true
}

fn refused(what: String) -> ServiceError {
    ServiceError::TooManyQueries { what, retry_after: RETRY_AFTER }
}

fn check_unfinished(
    kept: &Kept,
    client: Option<&ClientId>,
    unfinished_max: usize,
) -> Result<(), ServiceError> {
    let unfinished: Vec<&Arc<Job>> = kept.jobs().filter(|job| !job.progress().is_over()).collect();
    if unfinished.len() >= unfinished_max {
        let what = format!(
            "{} queries of the organization are not finished, at most {unfinished_max} may be; wait for one to end, or delete one",
            unfinished.len()
        );
        return Err(refused(what));
    }
    let of_client = unfinished.iter().filter(|job| job.started_by.as_ref() == client).count();
    let client_max = share(unfinished_max as u64);
    if of_client as u64 >= client_max {
        let what = format!(
            "{of_client} queries of the client are not finished, at most {client_max} of the organization's {unfinished_max} may be; wait for one to end, or delete one"
        );
        return Err(refused(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
