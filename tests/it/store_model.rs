//! The sled store against the memory store: random histories, and after every step the same answers.
//!
//! Memtables of a few dozen keys and starved filters make flushes, merges, page reads and false
//! positives happen all the time. `METERD_MODEL_CASES` sets the number of histories.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        api_usage::{ApiEvent, ApiFilter, ApiReport, ApiTotalsQuery, HttpMethod, NewSeries},
        asset_usage::{
            AssetBatch, AssetFilter, AssetTotalsQuery, AssetUsage, DayRange, StoredBatch, UsageDay,
        },
        calendar::{QuarterHour, QuarterRange},
        id::{AssetId, BatchId, OrganizationId, PlatformName, UserId},
        interval::HalfOpenInterval,
        quantity::Quantity,
        record_scan::{DroppedThrough, RecordPosition, RecordScan},
        series_limits::SeriesLimits,
        totals::UsageFilter,
        usage::{Submission, UsageRecord},
        verdict::{Decision, Original},
    },
    store::{
        CommitGroup, StoreError, UsageStore,
        memory::MemoryStore,
        sled::{FaultAction, FaultPoint, Faults, SledStore, StoreOptions, verify},
    },
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::usage::{
    Calls, all_records, all_totals, api_totals, asset_totals, caller, dropped, event, organization,
    probed, record, scanned, target, totals,
};

const ORGANIZATIONS: [&str; 3] = ["alpha", "beta", "gamma"];
const START_SECONDS: i64 = 1_790_000_000;
/// There are 432 in each organization, so histories reach both limits.
const SERIES: SeriesLimits = SeriesLimits { organization_series_max: 150, series_max: 400 };

/// One record, by numbers: the uuid is drawn from a small range, so duplicates are common.
#[derive(Debug, Clone)]
pub struct Draft {
    uuid: u16,
    sku: u8,
    quantity: i64,
    seconds_ago: u32,
}

#[derive(Debug, Clone)]
pub struct Call {
    organization: usize,
    product: u8,
    instance: bool,
    client: u8,
    validate_only: bool,
    drafts: Vec<Draft>,
}

/// One line of a batch, by numbers.
#[derive(Debug, Clone)]
pub struct Line {
    asset: u8,
    quantity: i32,
    days_ago: u16,
}

/// A batch; its id is drawn from a small range, so ids are taken again and again.
#[derive(Debug, Clone)]
pub struct BatchDraft {
    organization: usize,
    id: u8,
    client: u8,
    lines: Vec<Line>,
}

/// Calls of an API, by numbers.
#[derive(Debug, Clone)]
pub struct EventDraft {
    uuid: u16,
    client: u8,
    template: u8,
    user: u8,
    method: u8,
    status: u16,
    count: i64,
    hours_ago: u16,
}

/// Events of API usage that are reported together.
#[derive(Debug, Clone)]
pub struct ReportDraft {
    organization: usize,
    coarsened: bool,
    events: Vec<EventDraft>,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// Calls, reports of API usage and batches that arrive together.
    Commit {
        calls: Vec<Call>,
        reports: Vec<ReportDraft>,
        batches: Vec<BatchDraft>,
    },
    /// A call that is probed now and committed with the next step's calls.
    ProbeAhead(Call),
    MoveClock(i32),
    WaitForBackground,
    Reopen,
    /// Drops what was stored longer ago than so many seconds, some of it or all; or fails in it.
    Drop(u16, Dropping),
    /// A background step fails, then the store is opened again.
    BreakBackground(u8),
    /// A commit fails before or after its write, then the store is opened again.
    BreakCommit(u8, Call, ReportDraft, BatchDraft),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropping {
    Some,
    All,
    Failing,
}

fn draft() -> impl Strategy<Value = Draft> {
    (0..600_u16, 0..4_u8, prop_oneof![1..100_i64, Just(i64::MAX)], 0..90_000_u32)
        .prop_map(|(uuid, sku, quantity, seconds_ago)| Draft { uuid, sku, quantity, seconds_ago })
}

fn call() -> impl Strategy<Value = Call> {
    (
        0..3_usize,
        0..3_u8,
        any::<bool>(),
        0..2_u8,
        prop::bool::weighted(0.1),
        prop::collection::vec(draft(), 1..40),
    )
        .prop_map(|(organization, product, instance, client, validate_only, drafts)| Call {
            organization,
            product,
            instance,
            client,
            validate_only,
            drafts,
        })
}

fn batch() -> impl Strategy<Value = BatchDraft> {
    let line = (0..12_u8, 1..i32::MAX, 0..900_u16).prop_map(|(asset, quantity, days_ago)| Line {
        asset,
        quantity,
        days_ago,
    });
    // Some need several parts in the log.
    let lines = prop_oneof![
        4 => prop::collection::vec(line.clone(), 1..20),
        1 => prop::collection::vec(line, 200..400),
    ];
    (0..3_usize, 0..40_u8, 0..2_u8, lines).prop_map(|(organization, id, client, lines)| {
        BatchDraft { organization, id, client, lines }
    })
}

fn report() -> impl Strategy<Value = ReportDraft> {
    let count = prop_oneof![1..100_i64, Just(i64::MAX)];
    let numbers = (0..2_u8, 0..5_u8, 0..4_u8, 0..9_u8, 100..600_u16);
    let event = (0..400_u16, numbers, count, 0..4_000_u16).prop_map(
        |(uuid, (client, template, user, method, status), count, hours_ago)| EventDraft {
            uuid,
            client,
            template,
            user,
            method,
            status,
            count,
            hours_ago,
        },
    );
    let events = prop_oneof![
        1 => prop::collection::vec(event.clone(), 1..4),
        2 => prop::collection::vec(event, 1..60),
    ];
    (0..3_usize, any::<bool>(), events).prop_map(|(organization, coarsened, events)| ReportDraft {
        organization,
        coarsened,
        events,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (
            prop::collection::vec(call(), 1..5),
            prop::collection::vec(report(), 0..3),
            prop::collection::vec(batch(), 0..3),
        )
            .prop_map(|(calls, reports, batches)| Step::Commit { calls, reports, batches }),
        3 => (prop::collection::vec(report(), 0..3), prop::collection::vec(batch(), 1..5))
            .prop_map(|(reports, batches)| Step::Commit { calls: Vec::new(), reports, batches }),
        3 => call().prop_map(Step::ProbeAhead),
        2 => (-5000..5000_i32).prop_map(Step::MoveClock),
        2 => Just(Step::WaitForBackground),
        1 => Just(Step::Reopen),
        2 => (
            0..6000_u16,
            prop_oneof![Just(Dropping::Some), Just(Dropping::All), Just(Dropping::Failing)],
        )
            .prop_map(|(ago, how)| Step::Drop(ago, how)),
        1 => (0..8_u8).prop_map(Step::BreakBackground),
        1 => (0..6_u8, call(), report(), batch()).prop_map(|(passes, call, report, batch)| {
            Step::BreakCommit(passes, call, report, batch)
        }),
    ]
}

/// Compares two lists, and shows the first difference rather than both.
fn assert_same<T: PartialEq + std::fmt::Debug>(ours: &[T], theirs: &[T], what: &str) {
    let differs = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
    if let Some(at) = differs {
        panic!("{what}: at {at}: {:?}, the model says {:?}", ours[at], theirs[at]);
    }
    assert_eq!(ours.len(), theirs.len(), "{what}: of different length");
}

/// The oracle, as proptest wants it: all state is in the memory store of the test itself.
pub struct Model;

impl ReferenceStateMachine for Model {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        step().boxed()
    }

    fn apply((): (), _: &Step) {}
}

pub struct Stores {
    directory: TempDir,
    faults: Faults,
    sled: Option<SledStore>,
    memory: Arc<MemoryStore>,
    now: Timestamp,
    ahead: Vec<meterd::store::Probed<Arc<Submission>>>,
}

impl Stores {
    fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new(self.directory.path());
        options.memtable_keys_max = 60;
        options.rollup_rows_max = 40;
        options.filter_bits_per_key = 3;
        options.merge_fan_in = 3;
        options.runs_max = 8;
        options.series = SERIES;
        options.cache_bytes = 8 << 20;
        options.faults = self.faults.clone();
        options
    }

    fn sled(&self) -> &SledStore {
        self.sled.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.ahead.clear();
        self.sled = None;
        self.sled = Some(SledStore::open(self.options()).unwrap());
    }

    fn submission(&self, call: &Call) -> Submission {
        let record_of = |draft: &Draft| -> UsageRecord {
            let ago = SignedDuration::from_secs(i64::from(draft.seconds_ago));
            record(
                u128::from(draft.uuid) << 64,
                &format!("sku-{}", draft.sku),
                draft.quantity,
                self.now - ago,
            )
        };
        let product = format!("product-{}", call.product);
        let instance = call.instance.then(|| format!("instance-{}", call.product));
        Submission {
            caller: caller(ORGANIZATIONS[call.organization], &format!("client-{}", call.client)),
            target: target(&product, instance.as_deref()),
            records: call.drafts.iter().map(record_of).collect(),
            validate_only: call.validate_only,
        }
    }

    fn batch(&self, draft: &BatchDraft) -> AssetBatch {
        let usage_of = |line: &Line| AssetUsage {
            asset: AssetId::new(&format!("{:048}", line.asset)).unwrap(),
            quantity: Quantity::new(i64::from(line.quantity)).unwrap(),
            day: UsageDay::from_number(20_777 - i64::from(line.days_ago)).unwrap(),
        };
        AssetBatch {
            caller: caller(ORGANIZATIONS[draft.organization], &format!("client-{}", draft.client)),
            id: BatchId::new(&format!("batch-{}", draft.id)).unwrap(),
            usages: draft.lines.iter().map(usage_of).collect(),
        }
    }

    fn report(&self, draft: &ReportDraft) -> ApiReport {
        let event_of = |draft: &EventDraft| {
            let calls = Calls {
                client: &format!("client-{}", draft.client),
                user: ["", "ann", "bob", "carol"][usize::from(draft.user)],
                template: &format!("/v1/{:0150}/{{id}}", draft.template),
                method: HttpMethod::ALL[usize::from(draft.method)],
                platform: ["web", "", "ios", ""][usize::from(draft.user)],
                status: draft.status,
                count: draft.count,
            };
            let ago = SignedDuration::from_hours(i64::from(draft.hours_ago));
            event(u128::from(draft.uuid) << 64, &calls, self.now - ago)
        };
        ApiReport {
            caller: caller(ORGANIZATIONS[draft.organization], "reporter"),
            events: draft.events.iter().map(event_of).collect(),
            new_series: if draft.coarsened { NewSeries::Coarsened } else { NewSeries::Refused },
        }
    }

    fn commit(&mut self, calls: &[Call], reports: &[ReportDraft], batches: &[BatchDraft]) {
        let mut submissions = std::mem::take(&mut self.ahead);
        submissions
            .extend(calls.iter().map(|call| probed(self.sled(), Arc::new(self.submission(call)))));
        let reports = reports.iter().map(|draft| probed(self.sled(), self.report(draft)));
        let api_reports = reports.collect();
        let batches = batches.iter().map(|draft| self.batch(draft)).collect();
        let group = CommitGroup { submissions, api_reports, batches };
        let ours = self.sled().commit(&group, self.now).unwrap();
        let theirs = self.memory.commit(&group, self.now).unwrap();
        assert_eq!(ours.batches, theirs.batches);
        for batch in &group.batches {
            self.compare_batch(batch);
        }
        let events = ours.api_reports.iter().zip(&theirs.api_reports);
        for (probed, (ours, theirs)) in group.api_reports.iter().zip(events) {
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => (ours, theirs),
                (ours, theirs) => {
                    assert_eq!(ours, theirs);
                    continue;
                }
            };
            for ((event, ours), theirs) in probed.report.events.iter().zip(ours).zip(theirs) {
                self.compare_event(&probed.report.caller.organization, event, *ours, *theirs);
            }
        }
        let (ours, theirs) = (ours.submissions, theirs.submissions);
        for ((probed, ours), theirs) in group.submissions.iter().zip(&ours).zip(&theirs) {
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => (ours, theirs),
                (ours, theirs) => {
                    assert_eq!(ours, theirs);
                    continue;
                }
            };
            for ((record, ours), theirs) in probed.report.records.iter().zip(ours).zip(theirs) {
                self.compare_decision(&probed.report, record, *ours, *theirs);
            }
        }
    }

    /// What was stored then may be gone.
    fn assert_dropped(&self, stored_time: Timestamp) {
        let through = self.dropped().expect("something was dropped").stored_time;
        assert!(stored_time <= through, "{stored_time} is gone, only up to {through} was dropped");
    }

    fn dropped(&self) -> Option<DroppedThrough> {
        // An organization that is not known yet has nothing to list.
        ORGANIZATIONS.iter().find_map(|name| dropped(self.sled(), name))
    }

    /// Both stores have the same under a batch's id.
    fn compare_batch(&self, batch: &AssetBatch) {
        let find = |store: &dyn UsageStore| store.find_batch(&batch.caller.organization, &batch.id);
        let theirs = find(&*self.memory).unwrap();
        let ours = match find(self.sled()) {
            Err(StoreError::Dropped(_)) => {
                return self.assert_dropped(theirs.unwrap().stored_time);
            }
            found => found.unwrap(),
        };
        let strip = |found: Option<StoredBatch>| {
            found.map(|stored| (stored.client, stored.usages, stored.stored_time))
        };
        assert_eq!(strip(ours), strip(theirs), "batch {:?}", batch.id);
    }

    /// The decisions agree, and the sequence of a duplicate leads to the right original.
    fn compare_decision(
        &self,
        submission: &Submission,
        record: &UsageRecord,
        ours: Decision,
        theirs: Decision,
    ) {
        match (ours, theirs) {
            (Decision::Accepted, Decision::Accepted) => {}
            (
                Decision::Duplicate(Original::InSubmission(a)),
                Decision::Duplicate(Original::InSubmission(b)),
            ) => {
                assert_eq!(a, b);
            }
            (
                Decision::Duplicate(Original::Stored(a)),
                Decision::Duplicate(Original::Stored(b)),
            ) => {
                let name = &submission.caller.organization;
                let theirs = self.memory.original(name, record.uuid, b).unwrap();
                let ours = match self.sled().original(name, record.uuid, a) {
                    Err(StoreError::Dropped(_)) => return self.assert_dropped(theirs.stored_time),
                    found => found.unwrap(),
                };
                assert_eq!(
                    ours.says_the_same(&submission.target, record),
                    theirs.says_the_same(&submission.target, record)
                );
            }
            (ours, theirs) => panic!("{}: {ours:?}, the model says {theirs:?}", record.uuid),
        }
    }

    /// The same for an event.
    fn compare_event(
        &self,
        name: &OrganizationId,
        event: &ApiEvent,
        ours: Decision,
        theirs: Decision,
    ) {
        match (ours, theirs) {
            (Decision::Accepted, Decision::Accepted) => {}
            (
                Decision::Duplicate(Original::Stored(a)),
                Decision::Duplicate(Original::Stored(b)),
            ) => {
                let original = |store: &dyn UsageStore, sequence| {
                    store.original_events(name, &[(event.uuid, sequence)]).unwrap().remove(0)
                };
                let theirs = original(&*self.memory, b).unwrap();
                match original(self.sled(), a) {
                    Some(ours) => assert_eq!(ours.event, theirs.event),
                    None => self.assert_dropped(theirs.stored_time),
                }
            }
            (ours, theirs) => panic!("{}: {ours:?}, the model says {theirs:?}", event.uuid),
        }
    }

    fn wait_for_background(&self) {
        while !self.sled().is_idle() && self.sled().status() == meterd::store::StoreStatus::Ready {
            std::thread::yield_now();
        }
    }

    fn drop_records(&mut self, seconds_ago: u16, how: Dropping) {
        let before = self.now - SignedDuration::from_secs(i64::from(seconds_ago));
        if how == Dropping::Failing {
            self.faults.arm(FaultPoint::LogDrop, 0, FaultAction::Fail);
        }
        loop {
            let dropped = self.sled().drop_records(before);
            if how == Dropping::Failing && !self.faults.is_armed() {
                assert!(dropped.is_err());
                return self.reopen();
            }
            if how == Dropping::Some || !dropped.unwrap().more_to_come {
                break;
            }
            self.wait_for_background();
        }
        self.faults.arm(FaultPoint::CatalogWrite, u32::MAX, FaultAction::Fail);
        if how == Dropping::All {
            let last = self.sled().statistics().last_sequence;
            for stored in ORGANIZATIONS.iter().flat_map(|name| all_records(self.sled(), name, 100))
            {
                // The last value stays, since the next one follows it.
                assert!(stored.stored_time >= before || stored.sequence == last);
            }
        }
        self.compare_records();
    }

    fn break_commit(&mut self, passes: u8, call: &Call, report: &ReportDraft, draft: &BatchDraft) {
        let point = match passes % 3 {
            0 => FaultPoint::CommitWrite,
            1 => FaultPoint::CommitFlush,
            _ => FaultPoint::CommitPublish,
        };
        self.faults.arm(point, 0, FaultAction::Fail);
        let submission = self.submission(call);
        let report = self.report(report);
        let batch = self.batch(draft);
        let group = CommitGroup {
            submissions: vec![probed(self.sled(), Arc::new(submission.clone()))],
            api_reports: vec![probed(self.sled(), report.clone())],
            batches: vec![batch.clone()],
        };
        let outcome = self.sled().commit(&group, self.now);
        if self.faults.is_armed() {
            // Nothing was new, so nothing was written.
            self.faults.arm(FaultPoint::CatalogWrite, u32::MAX, FaultAction::Fail);
        } else {
            assert!(outcome.is_err());
            let again = self.sled().commit(&group, self.now);
            assert!(again.is_err(), "a store that failed takes no more writes");
        }
        self.reopen();
        self.settle_unacknowledged(submission);
        // Events may have landed or not: sent again, each counts once.
        let refused = [self.sled() as &dyn UsageStore, &*self.memory].map(|store| {
            let again = vec![probed(store, report.clone())].into();
            store.commit(&again, self.now).unwrap().api_reports.remove(0).err()
        });
        assert_eq!(refused[0], refused[1]);
        // It is there whole or not at all.
        let name = &batch.caller.organization;
        if let Ok(Some(landed)) = self.sled().find_batch(name, &batch.id)
            && self.memory.find_batch(name, &batch.id).unwrap().is_none()
        {
            assert_eq!(landed.usages, batch.usages);
            self.memory.commit(&vec![batch.clone()].into(), self.now).unwrap();
        }
        self.compare_batch(&batch);
    }

    /// A commit that failed may have stored its records or not. Which of them is settled by looking;
    /// totals and listings must agree with that.
    fn settle_unacknowledged(&self, submission: Submission) {
        let name = &submission.caller.organization;
        let landed: Vec<UsageRecord> = submission
            .records
            .iter()
            .filter(|record| self.memory.find(name, record.uuid).unwrap().is_none())
            // What memory does not know was never acknowledged, so it is too new to be dropped.
            .filter(|record| self.sled().find(name, record.uuid).unwrap().is_some())
            .cloned()
            .collect();
        if !landed.is_empty() {
            let landed = Submission { records: landed, ..submission };
            self.memory
                .commit(&vec![probed(&*self.memory, Arc::new(landed))].into(), self.now)
                .unwrap();
        }
    }

    fn break_background(&mut self, which: u8) {
        let point = [
            FaultPoint::RunPage,
            FaultPoint::RunComplete,
            FaultPoint::RollupBatch,
            FaultPoint::ManifestWrite,
            FaultPoint::ManifestPublish,
            FaultPoint::RunRemoval,
        ][usize::from(which) % 6];
        let action = if which < 6 { FaultAction::Fail } else { FaultAction::Panic };
        self.faults.arm(point, u32::from(which % 3), action);
        // Enough new records to make the background work; whatever happens meanwhile is allowed to
        // fail, but nothing acknowledged may be lost.
        let mut unacknowledged = None;
        for _ in 0..4 {
            let records =
                (0..70).map(|_| record(Uuid::new_v4().as_u128(), "sku-0", 1, self.now)).collect();
            let submission = Submission {
                caller: caller("alpha", "client-0"),
                target: target("product-0", None),
                records,
                validate_only: false,
            };
            let group = vec![probed(self.sled(), Arc::new(submission.clone()))].into();
            let Ok(ours) = self.sled().commit(&group, self.now) else {
                unacknowledged = Some(submission);
                break;
            };
            assert_eq!(ours, self.memory.commit(&group, self.now).unwrap(), "all uuids are new");
        }
        self.wait_for_background();
        self.faults.arm(FaultPoint::CatalogWrite, u32::MAX, FaultAction::Fail);
        self.reopen();
        if let Some(submission) = unacknowledged {
            self.settle_unacknowledged(submission);
        }
    }

    fn compare(&self) {
        let series = |store: &dyn UsageStore| {
            let figures = store.statistics();
            (figures.series, figures.organization_series_highest)
        };
        assert_eq!(series(self.sled()), series(&*self.memory), "series");
        for name in ORGANIZATIONS {
            assert_eq!(
                all_totals(self.sled(), name),
                all_totals(&*self.memory, name),
                "totals of {name}"
            );
        }
        for name in ORGANIZATIONS {
            for (days_ago, assets) in [(30_000, vec![]), (100, vec![3, 7, 3]), (3, vec![])] {
                let day = |days_ago: i64| UsageDay::from_number(20_777 - days_ago).unwrap();
                let id = |asset: &u8| AssetId::new(&format!("{asset:048}")).unwrap();
                let query = AssetTotalsQuery {
                    organization: organization(name),
                    days: DayRange { start: day(days_ago), end: day(-1) },
                    filter: AssetFilter {
                        assets: assets.iter().map(id).collect(),
                        ..AssetFilter::default()
                    },
                };
                let ours = asset_totals(self.sled(), &query);
                assert_same(&ours, &asset_totals(&*self.memory, &query), name);
            }
        }
        for name in ORGANIZATIONS {
            for (days_ago, filter) in [
                (30_000, ApiFilter::default()),
                (
                    40,
                    ApiFilter {
                        clients: vec![caller(name, "client-1").client],
                        users: vec![UserId::new("ann").unwrap(), UserId::new("bob").unwrap()],
                        ..ApiFilter::default()
                    },
                ),
                (
                    7,
                    ApiFilter {
                        methods: vec![HttpMethod::Get, HttpMethod::Trace],
                        platforms: vec![PlatformName::new("web").unwrap()],
                        ..ApiFilter::default()
                    },
                ),
            ] {
                let today = UsageDay::of_instant(self.now).number();
                let day = |number: i64| UsageDay::from_number(number).unwrap();
                let query = ApiTotalsQuery {
                    organization: organization(name),
                    days: DayRange { start: day(today - days_ago), end: day(today) },
                    filter,
                };
                let ours = api_totals(self.sled(), &query);
                assert_same(&ours, &api_totals(&*self.memory, &query), name);
            }
            for client in ["client-0", "client-2"].map(|id| caller(name, id).client) {
                let has = |store: &dyn UsageStore| {
                    store.has_api_usage(&organization(name), &client).unwrap()
                };
                assert_eq!(has(self.sled()), has(&*self.memory), "{name} {client}");
            }
        }
        let noon = QuarterHour::of(self.now);
        let range = QuarterRange { start: QuarterHour(noon.0 - 60), end: noon };
        let filter = UsageFilter {
            products: vec![target("product-1", None).product, target("product-0", None).product],
            skus: vec![record(1, "sku-2", 1, self.now).sku],
            ..UsageFilter::default()
        };
        let ours = totals(self.sled(), "alpha", range, filter.clone());
        assert_same(&ours, &totals(&*self.memory, "alpha", range, filter), "alpha, filtered");
    }

    fn compare_records(&self) {
        for name in ORGANIZATIONS {
            let strip = |store: &dyn UsageStore| -> Vec<_> {
                all_records(store, name, 37)
                    .into_iter()
                    .map(|stored| (stored.record, stored.target, stored.client, stored.stored_time))
                    .collect()
            };
            let (ours, theirs) = (strip(self.sled()), strip(&*self.memory));
            let gone = theirs.len().checked_sub(ours.len()).expect("nothing is made up");
            assert_same(&ours, &theirs[gone..], name);
            if let Some((.., stored_time)) = theirs[..gone].last() {
                self.assert_dropped(*stored_time);
            }
            self.compare_filtered(name, gone);
        }
    }
}

/// Listings of one organization that leave records out.
impl Stores {
    fn compare_filtered(&self, name: &str, gone: usize) {
        let interval = |start: i64, end: i64| {
            let at = |seconds| Timestamp::from_second(START_SECONDS + seconds).unwrap();
            HalfOpenInterval::new(at(start), at(end)).ok()
        };
        let filter = UsageFilter {
            products: vec![target("product-1", None).product],
            ..UsageFilter::default()
        };
        let whole = RecordScan {
            organization: organization(name),
            filter: UsageFilter::default(),
            usage_interval: None,
            stored_interval: None,
            from: RecordPosition::START,
            records_max: 11,
        };
        let scans = [
            RecordScan { filter, ..whole.clone() },
            RecordScan { usage_interval: interval(-40_000, 0), ..whole.clone() },
            RecordScan { stored_interval: interval(-2_000, 2_000), ..whole.clone() },
        ];
        let uuids = |store: &dyn UsageStore, scan: &RecordScan| -> Vec<Uuid> {
            scanned(store, scan.clone()).iter().map(|stored| stored.record.uuid).collect()
        };
        // What is gone cannot be listed.
        let kept: BTreeSet<Uuid> = uuids(&*self.memory, &whole).into_iter().skip(gone).collect();
        for scan in scans {
            let mut theirs = uuids(&*self.memory, &scan);
            theirs.retain(|uuid| kept.contains(uuid));
            assert_same(&uuids(self.sled(), &scan), &theirs, name);
        }
        // Going on after any record lists those behind it.
        let all = uuids(self.sled(), &whole);
        for (at, uuid) in all.iter().enumerate().step_by(7) {
            let position = self.sled().position(&whole.organization, *uuid).unwrap().unwrap();
            let from = RecordPosition { index: position.index + 1, ..position };
            let rest = RecordScan { from, records_max: 1000, ..whole.clone() };
            assert_same(&uuids(self.sled(), &rest), &all[at + 1..], name);
        }
    }
}

impl StateMachineTest for Stores {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test((): &()) -> Self {
        let mut stores = Self {
            directory: tempfile::tempdir().unwrap(),
            faults: Faults::default(),
            sled: None,
            memory: Arc::new(MemoryStore::with_series_limits(SERIES)),
            now: Timestamp::from_second(START_SECONDS).unwrap(),
            ahead: Vec::new(),
        };
        stores.reopen();
        // What is reported to make the background work is never of a new series.
        let draft = Draft { uuid: 999, sku: 0, quantity: 1, seconds_ago: 0 };
        let (organization, product, client) = (0, 0, 0);
        let (instance, validate_only, drafts) = (false, false, vec![draft]);
        let call = Call { organization, product, instance, client, validate_only, drafts };
        stores.commit(&[call], &[], &[]);
        stores
    }

    fn apply(mut stores: Self, (): &(), step: Step) -> Self {
        match step {
            Step::Commit { calls, reports, batches } => stores.commit(&calls, &reports, &batches),
            Step::ProbeAhead(call) => {
                let ahead = probed(stores.sled(), Arc::new(stores.submission(&call)));
                stores.ahead.push(ahead);
            }
            Step::MoveClock(seconds) => stores.now += SignedDuration::from_secs(i64::from(seconds)),
            Step::WaitForBackground => stores.wait_for_background(),
            Step::Reopen => {
                stores.reopen();
                stores.compare_records();
            }
            Step::Drop(seconds_ago, how) => stores.drop_records(seconds_ago, how),
            Step::BreakBackground(which) => stores.break_background(which),
            Step::BreakCommit(passes, call, report, batch) => {
                stores.break_commit(passes, &call, &report, &batch);
            }
        }
        stores.compare();
        stores
    }

    fn check_invariants(stores: &Self, (): &()) {
        let uuid = Uuid::from_u128(7 << 64);
        for name in ORGANIZATIONS.map(organization) {
            let theirs = stores.memory.find(&name, uuid).unwrap();
            match stores.sled().find(&name, uuid) {
                Err(StoreError::Dropped(_)) => stores.assert_dropped(theirs.unwrap().stored_time),
                ours => assert_eq!(
                    ours.unwrap().map(|stored| stored.record),
                    theirs.map(|stored| stored.record)
                ),
            }
        }
    }

    fn teardown(mut stores: Self, (): ()) {
        stores.compare_records();
        stores.sled = None;
        let report = verify(stores.directory.path(), &mut |_| {}).unwrap();
        assert_eq!(report.differences, Vec::<String>::new());
        let kept = report.records + report.api_events;
        let gone = report.dropped.records + report.dropped.api_events;
        assert_eq!(kept + gone, stores.memory.statistics().records);
        assert!(std::fs::read_dir(stores.directory.path().join("blobs")).unwrap().next().is_none());
    }
}

fn cases() -> u32 {
    std::env::var("METERD_MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

proptest_state_machine::prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_sled_store_answers_as_the_model_does(sequential 20..60 => Stores);
}
