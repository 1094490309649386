//! Questions about API usage, answered later: a query is started, runs on a thread of its own, and its rows are read
//! page by page until they expire.
//!
//! A query that is started is on the disk, and so is what became of it. One that a restart interrupts runs again, from
//! the beginning. Queries that ask for the same at the same moment share one *computation*, its run and its rows; each has
//! its own id and its own end.

mod answer;
mod computation;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod interval;
mod job;
mod kept;
mod operation;
mod query;
mod registry;
mod removal;
mod request;
pub(in crate::service) mod rows;
#[cfg(test)]
mod testing;
mod turns;
mod words;
mod worker;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use uuid::Uuid;

use self::{
    computation::{Moment, NamesDigest, Question},
    job::{Job, Progress, StoredJob},
    query::{Query, Shape},
    registry::{Admitted, Asked, Registry},
    rows::{SORT_MEMORY_BYTES_DEFAULT, SpillOptions},
};
use super::{
    ServiceError,
    access::Access,
    clock::Clock,
    committer::{Admission, Committer},
    disk_reserve::DiskReserve,
};
use crate::{
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
    },
    store::{
        StoreError, UsageStore,
        document::{Collection, DOCUMENT_BYTES_MAX, Page},
    },
};

pub use self::{
    answer::{QueryRow, RowsPage},
    job::{Failure, JobState},
    operation::Operation,
    registry::QueryStatistics,
    request::QueryRequest,
    rows::Metric,
};

/// Bounds of what queries take.
#[derive(Debug, Clone, Copy)]
pub struct QueryLimits {
    /// Queries that run at once. Default 2.
    pub workers: usize,
    /// Queries of one organization that may wait or run; one client may have three quarters of them. Default 20.
    pub unfinished_max: usize,
    /// Queries of one organization that may be kept, finished or not; one client may have three quarters of them. For
    /// another one, the oldest finished one of the client with most is removed. Default 10,000.
    pub kept_max: usize,
    /// Bytes of results of one organization that may be kept, likewise. Default 1 GiB.
    pub result_bytes_max: u64,
    /// Bytes of results of all organizations that may be kept. Default 16 GiB.
    pub result_bytes_total_max: u64,
    /// How long results are kept. Default 24 hours.
    pub retention: SignedDuration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            workers: 2,
            unfinished_max: 20,
            kept_max: 10_000,
            result_bytes_max: 1 << 30,
            result_bytes_total_max: 16 << 30,
            retention: SignedDuration::from_hours(24),
        }
    }
}

/// A query, for whoever asks how far it has come.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Its identity.
    pub id: String,
    /// What started it.
    pub operation: Operation,
    /// What became of it.
    pub state: JobState,
    /// Totals read so far.
    pub totals_read: u64,
    /// Rows written so far.
    pub rows_written: u64,
    /// When it was started.
    pub created: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// When its result is removed.
    pub expires: Option<Timestamp>,
}

/// What the use case and its workers share.
struct Shared {
    store: Arc<dyn UsageStore>,
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
    registry: Registry,
    spill: SpillOptions,
}

impl Shared {
    /// What a query would see that is started now.
    fn moment(&self, organization: &OrganizationId, query: &Query, shape: &Shape) -> Moment {
        let names = NamesDigest::is_needed(query, shape)
            .then(|| NamesDigest::of(&self.access.client_names(organization)));
        Moment { through: self.store.statistics().last_sequence, names }
    }

    /// Lets a query in and writes it; answers its id. Blocks.
    fn start(&self, asked: Asked, text: &[u8], moment: &Moment) -> Result<String, ServiceError> {
        let Admitted { job, is_shared, evicted } = self.registry.admit(asked, moment)?;
        removal::remove_all(self, &evicted);
        let written = if is_shared { self.write_sharing(&job) } else { self.write_new(&job, text) };
        if let Err(error) = written {
            self.registry.forget(&job);
            return Err(error.into());
        }
        if !is_shared {
            self.registry.enqueue(&job.computation);
        }
        Ok(job.id.clone())
    }

    /// Writes a query whose result is its own, to be computed.
    fn write_new(&self, job: &Job, text: &[u8]) -> Result<(), StoreError> {
        let parts = text.chunks(DOCUMENT_BYTES_MAX);
        let pages: Vec<Page> =
            (0..).zip(parts).map(|(first, body)| Page { first, body: body.to_vec() }).collect();
        let document = job.document(&job.progress())?;
        let book = job.computation.query_book();
        self.store.write_pages(job.organization(), &book, &pages, &[document])
    }

    /// Writes a query that has the result of others.
    fn write_sharing(&self, job: &Job) -> Result<(), StoreError> {
        // Whoever writes the end of that result knows this one already, or has written it before.
        let _finishing = job.computation.finishing.lock();
        self.store.write_documents(&[job.document(&job.progress())?])
    }

    /// Writes that a query is cancelled and then shows it, unless it is over. Blocks.
    fn cancel(&self, job: &Job) {
        let computation = &job.computation;
        let _finishing = computation.finishing.lock();
        if job.progress().is_over() {
            return;
        }
        let is_last = self.registry.unshare(job);
        let now = self.clock.now();
        let progress = Progress { state: JobState::Cancelled, finished: Some(now) };
        let organization = job.organization();
        let written = (|| {
            if is_last {
                self.store.remove_pages(organization, &computation.rows_book())?;
            }
            self.store.write_documents(&[job.document(&progress)?])
        })();
        if let Err(error) = written {
            // It runs again after the restart that the store asks for.
            tracing::error!(query = job.id, %error, "the end of a usage query is lost");
            return;
        }
        *job.cancelled.lock() = Some(now);
        if is_last {
            *computation.progress.lock() = progress;
            // Not before: one that runs again after a restart needs it. What is left of it goes with the result.
            if let Err(error) = self.store.remove_pages(organization, &computation.query_book()) {
                tracing::warn!(query = job.id, %error, "a query that is over cannot be removed");
            }
        }
    }
}

/// The use case.
pub struct UsageQueries {
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for UsageQueries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageQueries").finish_non_exhaustive()
    }
}

impl UsageQueries {
    /// Reads what was started before, and goes on with what is not finished. Sorts that need more than their memory
    /// use nameless files in `spill`. Neither they nor results are written while less is free than `disk` reserves.
    ///
    /// # Errors
    /// [`ServiceError`] if the store cannot be read or no thread can be started.
    pub fn start(
        store: Arc<dyn UsageStore>,
        committer: Arc<Committer>,
        access: Arc<Access>,
        clock: Arc<dyn Clock>,
        limits: QueryLimits,
        spill: PathBuf,
        disk: Arc<DiskReserve>,
    ) -> Result<Self, ServiceError> {
        let registry = Registry::new(limits);
        let documents = store.documents(Collection::Queries)?.into_iter();
        registry.restore(documents.map(StoredJob::from_document).collect::<Result<_, _>>()?);
        let memory_bytes = SORT_MEMORY_BYTES_DEFAULT;
        let spill = SpillOptions { directory: spill, memory_bytes, disk };
        let shared = Arc::new(Shared { store, access, clock, registry, spill });
        let threads = (0..limits.workers.max(1)).map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("query-{number}"))
                .spawn(move || worker::work(&shared))
                .map_err(|error| ServiceError::Internal(error.to_string().into()))
        });
        let threads = Mutex::new(threads.collect::<Result<Vec<_>, _>>()?);
        Ok(Self { shared, committer, threads })
    }

    /// Starts a query of the caller's organization, about a client if the operation is about one. On return it is on
    /// the disk.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] with every broken rule; [`ServiceError::NotFound`] for a client that the
    /// organization does not have and never had usage of; [`ServiceError::TooManyQueries`];
    /// [`ServiceError::BelowReserve`]; [`ServiceError::Unavailable`] if the store does not take writes.
    pub async fn query(
        &self,
        caller: &Caller,
        operation: Operation,
        client: Option<&str>,
        request: &QueryRequest,
    ) -> Result<String, ServiceError> {
        let now = self.shared.clock.now();
        let client = match client {
            Some(id) => Some(self.known_client(caller, id).await?),
            None => None,
        };
        let organization = &caller.organization;
        let (query, shape) = request::read(operation, organization, client.as_ref(), request, now)?;
        let internal = |error: serde_json::Error| ServiceError::Internal(error.to_string().into());
        let text = query.to_json().map_err(internal)?;
        let asked = Asked {
            id: Uuid::new_v4().to_string(),
            organization: organization.clone(),
            operation,
            client,
            started_by: caller.client.clone(),
            created: now,
            question: Question::new(&text, &shape).map_err(internal)?,
            shape: shape.clone(),
        };
        let shared = Arc::clone(&self.shared);
        let starting = tokio::task::spawn_blocking(move || {
            shared.spill.disk.check()?;
            let moment = shared.moment(&asked.organization, &query, &shape);
            shared.start(asked, &text, &moment)
        });
        starting.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?
    }

    /// Up to `size` rows of a query, as far as they are there. `operations` are those that it may have been started by,
    /// and it must be about `client`.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if the organization has no such query, or its result has expired;
    /// [`ServiceError::InvalidArgument`] if the cursor is not one of this query; [`ServiceError::DataLoss`] if rows that
    /// were written are not there.
    pub async fn result(
        &self,
        caller: &Caller,
        operations: &[Operation],
        client: Option<&str>,
        id: &str,
        after: &str,
        size: usize,
    ) -> Result<RowsPage, ServiceError> {
        let job = self.find(caller, id)?;
        let is_meant = operations.contains(&job.operation)
            && job.client.as_ref().map(ClientId::as_str) == client;
        if !is_meant {
            return Err(no_query(id));
        }
        let tokens = answer::cursors(self.shared.store.token_key(), &job)?;
        let from: u64 = tokens.decode(after)?.unwrap_or(0);
        let state = job.progress().state;
        let JobState::Succeeded { rows } = state else {
            return Ok(RowsPage { state, rows: Vec::new(), next: None });
        };
        let read_from = Arc::clone(&job);
        let read = move |store: &dyn UsageStore| answer::rows(store, &read_from, from, size);
        let found = self.committer.read(caller, Admission::Refuse, read).await?;
        let next = from + found.len() as u64;
        if found.len() < size && next < rows {
            // They may have expired just now. Otherwise a part must not pass for the whole.
            self.find(caller, id)?;
            let what = format!("rows of the query {id} from {next} are missing");
            return Err(ServiceError::DataLoss(what.into()));
        }
        let next = if next < rows { Some(tokens.encode(&next)?) } else { None };
        Ok(RowsPage { state, rows: found, next })
    }

    /// How far a query has come.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn job(&self, caller: &Caller, id: &str) -> Result<JobView, ServiceError> {
        Ok(self.view(&*self.find(caller, id)?))
    }

    /// Ends a query that is not over; answers what became of it. Others that share its result go on.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<JobView, ServiceError> {
        let job = self.find(caller, id)?;
        let (shared, cancelled) = (Arc::clone(&self.shared), Arc::clone(&job));
        let cancelling = tokio::task::spawn_blocking(move || shared.cancel(&cancelled));
        cancelling.await.map_err(|error| ServiceError::Internal(error.to_string().into()))?;
        Ok(self.view(&job))
    }

    /// Removes a query and, unless others share it, its result; one that is not over is ended.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<(), ServiceError> {
        let job = self.find(caller, id)?;
        if !self.shared.registry.hide(&job) {
            return Err(no_query(id));
        }
        let shared = Arc::clone(&self.shared);
        let removing = tokio::task::spawn_blocking(move || removal::remove(&shared, &job));
        removing.await.map_err(|error| ServiceError::Internal(error.to_string().into()))
    }

    /// Figures for metrics.
    #[must_use]
    pub fn statistics(&self) -> QueryStatistics {
        self.shared.registry.statistics()
    }

    /// Stops the workers and waits for them; what runs is run again after the next start. Blocks.
    pub fn shut_down(&self) {
        self.shared.registry.close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic of a query was caught inside.
            let _ = thread.join();
        }
    }

    fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Job>, ServiceError> {
        let now = self.shared.clock.now();
        self.shared.registry.find(&caller.organization, id, now).ok_or_else(|| no_query(id))
    }

    fn view(&self, job: &Job) -> JobView {
        let Progress { state, finished } = job.progress();
        JobView {
            id: job.id.clone(),
            operation: job.operation,
            state,
            totals_read: job.computation.totals_read.load(Ordering::Relaxed),
            rows_written: job.computation.rows_written.load(Ordering::Relaxed),
            created: job.created,
            finished,
            expires: finished.map(|finished| self.shared.registry.expires(finished)),
        }
    }

    /// A client that is registered, or calls right now, or has called.
    async fn known_client(&self, caller: &Caller, id: &str) -> Result<ClientId, ServiceError> {
        let no_client = || ServiceError::not_found("client", id);
        let client = ClientId::new(id).map_err(|_| no_client())?;
        let organization = caller.organization.clone();
        let is_registered = self.shared.access.client(&organization, id).is_ok();
        if is_registered || client == caller.client {
            return Ok(client);
        }
        let wanted = client.clone();
        let read = move |store: &dyn UsageStore| store.has_api_usage(&organization, &wanted);
        if self.committer.read(caller, Admission::Refuse, read).await? {
            Ok(client)
        } else {
            Err(no_client())
        }
    }
}

impl Drop for UsageQueries {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn no_query(id: &str) -> ServiceError {
    ServiceError::not_found("query", id)
}
