//! Every query that is kept, and those that wait for their turn.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::{
    QueryLimits,
    job::{Job, JobState},
};
use crate::{domain::id::OrganizationId, service::ServiceError};

/// How often what has expired is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Suggested to callers whose organization has too many queries under way.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Inner {
    jobs: HashMap<OrganizationId, BTreeMap<String, Arc<Job>>>,
    // In the order of their start.
    waiting: Vec<Arc<Job>>,
    running: Vec<Arc<Job>>,
    // When what has expired was last looked for.
    swept: Option<Instant>,
    is_closed: bool,
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
    /// Run a query, then call [`Registry::ran`].
    Run(Arc<Job>),
    /// Look for what has expired.
    Sweep,
    /// End.
    Close,
}

impl Registry {
    pub(super) fn new(limits: QueryLimits) -> Self {
        Self { limits, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a query in that shall not run yet.
    ///
    /// # Errors
    /// [`ServiceError::TooManyQueries`] if its organization has too many.
    pub(super) fn admit(&self, job: &Arc<Job>) -> Result<(), ServiceError> {
        let mut inner = self.inner.lock();
        let of_organization = inner.jobs.entry(job.organization.clone()).or_default();
        let (mut unfinished, mut rows) = (0, 0);
        for progress in of_organization.values().map(|job| job.progress()) {
            unfinished += usize::from(!progress.is_over());
            rows += progress.rows();
        }
        let QueryLimits { unfinished_max, kept_max, rows_kept_max, .. } = self.limits;
        let refused =
            |what: String, retry_after| ServiceError::TooManyQueries { what, retry_after };
        if unfinished >= unfinished_max {
            let what = format!("{unfinished} queries of the organization are not finished");
            return Err(refused(what, Some(RETRY_AFTER)));
        }
        if of_organization.len() >= kept_max {
            let kept = of_organization.len();
            return Err(refused(format!("{kept} results of the organization are kept"), None));
        }
        if rows >= rows_kept_max {
            return Err(refused(format!("{rows} rows of the organization are kept"), None));
        }
        of_organization.insert(job.id.clone(), Arc::clone(job));
        Ok(())
    }

    /// Takes a query in that was there before a restart.
    pub(super) fn restore(&self, job: Job) {
        let job = Arc::new(job);
        let mut inner = self.inner.lock();
        if !job.progress().is_over() {
            inner.waiting.push(Arc::clone(&job));
            inner.waiting.sort_by_key(|job| job.created);
        }
        let of_organization = inner.jobs.entry(job.organization.clone()).or_default();
        of_organization.insert(job.id.clone(), job);
    }

    /// Forgets a query.
    pub(super) fn forget(&self, job: &Job) {
        let mut inner = self.inner.lock();
        if let Some(of_organization) = inner.jobs.get_mut(&job.organization) {
            of_organization.remove(&job.id);
        }
    }

    /// Lets a query run as soon as there is a worker for it.
    pub(super) fn enqueue(&self, job: Arc<Job>) {
        self.inner.lock().waiting.push(job);
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
        let job = inner.jobs.get(organization)?.get(id)?;
        (!self.has_expired(job, now)).then(|| Arc::clone(job))
    }

    /// When the result of a query that ended at `finished` is removed.
    pub(super) fn expires(&self, finished: Timestamp) -> Timestamp {
        finished.saturating_add(self.limits.retention).unwrap_or(Timestamp::MAX)
    }

    fn has_expired(&self, job: &Job, now: Timestamp) -> bool {
        job.progress().finished.is_some_and(|finished| self.expires(finished) <= now)
    }

    /// Every query whose result has expired.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<Arc<Job>> {
        let inner = self.inner.lock();
        let jobs = inner.jobs.values().flat_map(BTreeMap::values);
        jobs.filter(|job| self.has_expired(job, now)).cloned().collect()
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
            // Cancelled ones have nothing to wait for.
            inner.waiting.retain(|job| !job.progress().is_over());
            if let Some(at) = next_in_turn(&inner) {
                let job = inner.waiting.remove(at);
                let mut progress = job.progress.lock();
                // It may have been cancelled just now.
                if progress.is_over() {
                    continue;
                }
                progress.state = JobState::Running;
                drop(progress);
                inner.running.push(Arc::clone(&job));
                return Next::Run(job);
            }
            self.changed.wait_until(&mut inner, sweep);
        }
    }

    /// A query has had its turn.
    pub(super) fn ran(&self, job: &Arc<Job>) {
        self.inner.lock().running.retain(|other| !Arc::ptr_eq(other, job));
    }

    /// Whether the server shuts down.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.lock().is_closed
    }

    /// Stops what runs, and lets nothing begin.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        for job in &inner.running {
            job.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        self.changed.notify_all();
    }
}

/// The oldest query of an organization that has the fewest running: one organization's many queries do not hold up
/// another's few.
fn next_in_turn(inner: &Inner) -> Option<usize> {
    let running_of = |organization: &OrganizationId| {
        inner.running.iter().filter(|job| job.organization == *organization).count()
    };
    let waiting = inner.waiting.iter().enumerate();
    waiting.min_by_key(|(at, job)| (running_of(&job.organization), *at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::usage_queries::{
        Operation,
        query::Shape,
        rows::{Bucket, RowPlan},
    };

    #[test]
    fn what_has_expired_is_looked_for_however_much_there_is_to_run() {
        let registry = Registry::new(QueryLimits::default());
        let plan =
            RowPlan { bucket: Bucket::Day, columns: Vec::new(), sort: Vec::new(), rows_max: 1 };
        let shape = Shape { plan, metrics: Vec::new(), organization: false };
        let organization = OrganizationId::new("alpha").unwrap();
        for id in ["one", "two"] {
            let (id, organization) = (id.to_owned(), organization.clone());
            let operation = Operation::OrganizationJob;
            let started = Timestamp::UNIX_EPOCH;
            let job = Job::new(id, organization, operation, None, started, shape.clone());
            registry.enqueue(Arc::new(job));
        }
        assert!(matches!(registry.next(), Next::Run(_)));
        registry.inner.lock().swept = Instant::now().checked_sub(SWEEP_INTERVAL);
        assert!(matches!(registry.next(), Next::Sweep));
        assert!(matches!(registry.next(), Next::Run(_)));
    }
}
