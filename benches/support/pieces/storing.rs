//! The store: looking uuids up, committing, adding up.

use std::{hint::black_box, sync::Arc, time::Duration};

use jiff::SignedDuration;
use meterd::{
    domain::{
        calendar::{QuarterHour, QuarterRange},
        id::{OrganizationId, ProductId},
        totals::{TotalsQuery, UsageFilter},
        usage::Submission,
    },
    store::{
        CommitGroup, Probe, Probed, UsageStore as _,
        sled::{SledStore, StoreOptions},
    },
};
use tempfile::TempDir;

use super::{
    Work,
    inputs::{Numbers, RECORDS, now},
};

/// Calls of one group under load.
const CALLS: usize = 64;
/// Groups in a store that is not empty.
const GROUPS: usize = 8;

/// A store in a directory of its own.
struct Stored {
    // Dropped before its directory.
    store: SledStore,
    _directory: TempDir,
    numbers: Numbers,
}

impl Stored {
    fn empty(memtable_keys_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            memtable_keys_max,
            cache_bytes: 64 << 20,
            ..StoreOptions::new(directory.path())
        };
        let store = SledStore::open(options).unwrap();
        Self { store, _directory: directory, numbers: Numbers::from(1) }
    }

    /// A store of 12,800 records whose index is four runs of two levels, all but the last group's.
    fn filled() -> (Self, Vec<Arc<Submission>>) {
        let mut stored = Self::empty(CALLS * RECORDS);
        let mut submissions = Vec::new();
        for _ in 0..GROUPS {
            let group = stored.group(CALLS);
            stored.store.commit(&group, now()).unwrap();
            submissions.extend(group.submissions.into_iter().map(|probed| probed.report));
            // One group, one run: which runs are merged must not depend on who is faster.
            while !stored.store.is_idle() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        (stored, submissions)
    }

    /// Calls with new uuids, looked up as they are before they queue.
    fn group(&mut self, calls: usize) -> CommitGroup {
        let probed = |_| {
            let report = Arc::new(self.numbers.submission());
            let probe = match self.store.probe((&report).into()) {
                Probe::Settled(probe) => probe,
                Probe::NeedsRead => self.store.settle((&report).into()).unwrap(),
            };
            Probed { report, probe }
        };
        (0..calls).map(probed).collect::<Vec<_>>().into()
    }
}

/// Committing 64 calls: encoding, the memtable, the totals, and sled's part on this thread.
pub(super) fn commit_group() -> Box<dyn Work> {
    Box::new(Committing::of(CALLS))
}

/// Committing one call.
pub(super) fn commit_lone() -> Box<dyn Work> {
    Box::new(Committing::of(1))
}

struct Committing {
    stored: Stored,
    calls: usize,
    group: CommitGroup,
}

impl Committing {
    fn of(calls: usize) -> Self {
        Self { stored: Stored::empty(512 << 10), calls, group: CommitGroup::default() }
    }
}

impl Work for Committing {
    fn prepare(&mut self) {
        self.group = self.stored.group(self.calls);
    }

    fn run(&mut self) {
        black_box(self.stored.store.commit(&self.group, now()).unwrap());
    }
}

/// Asking the filters for 64 calls' uuids that are new.
pub(super) fn probe() -> Box<dyn Work> {
    let (mut stored, _) = Stored::filled();
    // The filters' seed is random, and so is which uuids they are wrong about. A call that has one would end early.
    let mut submissions = Vec::new();
    while submissions.len() < CALLS {
        let submission = stored.numbers.submission();
        if matches!(stored.store.probe((&submission).into()), Probe::Settled(_)) {
            submissions.push(submission);
        }
    }
    Box::new(Probing { stored, submissions })
}

struct Probing {
    stored: Stored,
    submissions: Vec<Submission>,
}

impl Work for Probing {
    fn run(&mut self) {
        for submission in &self.submissions {
            let probe = self.stored.store.probe(black_box(submission.into()));
            assert!(matches!(black_box(probe), Probe::Settled(_)));
        }
    }
}

/// Finding one call's uuids that are in runs: filters, fences, pages.
pub(super) fn look_up() -> Box<dyn Work> {
    let (stored, submissions) = Stored::filled();
    // One uuid of each of 25 calls, so that they are in pages of several runs.
    let mut known = Submission::clone(submissions.first().unwrap());
    let others = submissions.iter().step_by(CALLS * (GROUPS - 1) / RECORDS);
    known.records = others.map(|one| one.records.first().unwrap().clone()).take(RECORDS).collect();
    Box::new(LookingUp { stored, known })
}

struct LookingUp {
    stored: Stored,
    known: Submission,
}

impl Work for LookingUp {
    fn run(&mut self) {
        let found = self.stored.store.settle(black_box((&self.known).into())).unwrap();
        assert_eq!(found.known.iter().flatten().count(), RECORDS);
        black_box(found);
    }
}

/// A month of one product, read for a report.
pub(super) fn totals() -> Box<dyn Work> {
    let (stored, _) = Stored::filled();
    let query = TotalsQuery {
        organization: OrganizationId::new("acme").unwrap(),
        range: QuarterRange {
            start: QuarterHour::of(now() - SignedDuration::from_hours(24 * 30)),
            end: QuarterHour::of(now()),
        },
        filter: UsageFilter {
            products: vec![ProductId::new("product-7").unwrap()],
            ..UsageFilter::default()
        },
    };
    Box::new(AddingUp { stored, query })
}

struct AddingUp {
    stored: Stored,
    query: TotalsQuery,
}

impl Work for AddingUp {
    fn run(&mut self) {
        let mut totals = 0;
        let mut visit = |series: &_, quarter, total| {
            black_box((series, quarter, total));
            totals += 1;
            Ok(())
        };
        self.stored.store.totals(black_box(&self.query), &mut visit).unwrap();
        assert!(totals > 100);
    }
}
