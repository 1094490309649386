//! What is kept of one organization's queries, and which of it goes first when that is too much.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

use super::{
    computation::{Computation, Question},
    job::Job,
};
use crate::domain::id::ClientId;

type Starter = Option<ClientId>;

/// The queries of one organization.
#[derive(Debug, Default)]
pub(super) struct Kept {
    jobs: BTreeMap<String, Arc<Job>>,
    // Id of a computation → those that share it, oldest first. One that was cancelled shares nothing any more.
    sharers: HashMap<String, Vec<Arc<Job>>>,
    // The newest computation of each question.
    newest: HashMap<Question, Arc<Computation>>,
    /// Bytes of all of their rows.
    pub(super) bytes: u64,
}

/// What a client has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Queries.
    Count,
    /// Bytes of rows. Those that are shared are counted with the oldest query that shares them.
    Bytes,
}

/// What one client of an organization may have of what that may have.
pub(super) fn share(of_organization: u64) -> u64 {
    (of_organization - of_organization.div_ceil(4)).max(1)
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Job>> {
        self.jobs.get(id)
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// Takes a query in; its result is not shared before [`Self::offer`].
    pub(super) fn insert(&mut self, job: Arc<Job>) {
        if job.cancelled.lock().is_none() {
            let sharers = self.sharers.entry(job.computation.id.clone()).or_default();
            if sharers.is_empty() {
                self.bytes += job.computation.bytes_written.load(Ordering::Relaxed);
            }
            sharers.push(Arc::clone(&job));
            sharers.sort_by_key(|sharer| sharer.created);
        }
        self.jobs.insert(job.id.clone(), job);
    }

    /// Lets queries to come share a computation.
    pub(super) fn offer(&mut self, computation: &Arc<Computation>) {
        if let Some(question) = computation.question {
            self.newest.insert(question, Arc::clone(computation));
        }
    }

    /// The newest computation of a question.
    pub(super) fn newest(&self, question: &Question) -> Option<&Arc<Computation>> {
        self.newest.get(question)
    }

    /// Those that share a computation.
    pub(super) fn sharers(&self, computation: &Computation) -> &[Arc<Job>] {
        self.sharers.get(&computation.id).map(Vec::as_slice).unwrap_or_default()
    }

    /// A computation under an id.
    pub(super) fn computation(&self, id: &str) -> Option<&Arc<Computation>> {
        self.sharers.get(id)?.first().map(|job| &job.computation)
    }

    /// Ends a query's part in its computation; true if nothing shares that any more.
    pub(super) fn unshare(&mut self, job: &Job) -> bool {
        let computation = &job.computation;
        let Some(sharers) = self.sharers.get_mut(&computation.id) else { return false };
        let before = sharers.len();
        sharers.retain(|sharer| sharer.id != job.id);
        if sharers.len() == before || !sharers.is_empty() {
            return false;
        }
        self.sharers.remove(&computation.id);
        self.bytes = self.bytes.saturating_sub(computation.bytes_written.load(Ordering::Relaxed));
        if let Some(question) = computation.question
            && self.newest.get(&question).is_some_and(|newest| Arc::ptr_eq(newest, computation))
        {
            self.newest.remove(&question);
        }
        true
    }

    /// Forgets a query.
    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<Job>> {
        self.jobs.remove(id)
    }

    /// How much each client has.
    pub(super) fn by_client(&self, measure: Measure) -> HashMap<Starter, u64> {
        let mut found: HashMap<Starter, u64> = HashMap::new();
        match measure {
            Measure::Count => {
                for job in self.jobs.values() {
                    *found.entry(job.started_by.clone()).or_default() += 1;
                }
            }
            Measure::Bytes => {
                for job in self.sharers.values().filter_map(|sharers| sharers.first()) {
                    let bytes = job.computation.bytes_written.load(Ordering::Relaxed);
                    *found.entry(job.started_by.clone()).or_default() += bytes;
                }
            }
        }
        found
    }

    /// The oldest finished query of a client, or of the client that has most; none of those that wait or run.
    pub(super) fn oldest(&self, measure: Measure, of: Option<&Starter>) -> Option<&Arc<Job>> {
        let amounts = self.by_client(measure);
        let candidates: Box<dyn Iterator<Item = &Arc<Job>>> = match measure {
            Measure::Count => Box::new(self.jobs.values()),
            Measure::Bytes => {
                let oldest = self.sharers.values().filter_map(|sharers| sharers.first());
                Box::new(
                    oldest.filter(|job| job.computation.bytes_written.load(Ordering::Relaxed) > 0),
                )
            }
        };
        candidates
            .filter(|job| of.is_none_or(|client| job.started_by == *client))
            .filter_map(|job| Some((job.progress().finished?, job)))
            .min_by_key(|(finished, job)| {
                let amount = amounts.get(&job.started_by).copied().unwrap_or_default();
                (std::cmp::Reverse(amount), *finished, &job.id)
            })
            .map(|(_, job)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::usage_queries::testing::{client, job, sharing, succeed};

    fn kept(jobs: &[&Arc<Job>]) -> Kept {
        let mut kept = Kept::default();
        jobs.iter().for_each(|job| kept.insert(Arc::clone(job)));
        kept
    }

    #[test]
    fn client_may_have_three_quarters() {
        for (all, part) in [(20, 15), (10_000, 7_500), (1, 1), (2, 1), (3, 2), (1 << 30, 3 << 28)] {
            assert_eq!(share(all), part, "{all}");
        }
    }

    #[test]
    fn the_oldest_of_the_greediest_client_goes_first() {
        let modest = job("0", "alpha", "modest");
        let greedy = ["1", "2", "3"].map(|id| job(id, "alpha", "greedy"));
        succeed(&modest, 1);
        succeed(&greedy[1], 20);
        succeed(&greedy[2], 10);
        let kept = kept(&[&modest, &greedy[0], &greedy[1], &greedy[2]]);
        let oldest = |of| kept.oldest(Measure::Count, of).map(|job| job.id.as_str());
        // That which still waits is not taken.
        assert_eq!(oldest(None), Some("3"));
        let (modest, nobody) = (Some(client("modest")), Some(client("nobody")));
        assert_eq!(oldest(Some(&modest)), Some("0"));
        assert_eq!(oldest(Some(&nobody)), None);
        assert_eq!(kept.by_client(Measure::Count)[&Some(client("greedy"))], 3);
    }

    #[test]
    fn shared_rows_count_once_and_with_their_oldest_query() {
        let first = job("1", "alpha", "first");
        let second = sharing("2", "second", &first.computation);
        first.computation.bytes_written.store(100, Ordering::Relaxed);
        succeed(&first, 1);
        let mut kept = kept(&[&first, &second]);
        assert_eq!(kept.bytes, 100);
        assert_eq!(kept.by_client(Measure::Bytes), [(Some(client("first")), 100)].into());
        assert_eq!(kept.oldest(Measure::Bytes, None).unwrap().id, "1");
        assert!(!kept.unshare(&first));
        kept.remove("1");
        assert_eq!(kept.by_client(Measure::Bytes), [(Some(client("second")), 100)].into());
        assert!(kept.unshare(&second));
        assert!(!kept.unshare(&second), "only once");
        assert_eq!(kept.bytes, 0);
        assert!(kept.oldest(Measure::Bytes, None).is_none());
    }
}
