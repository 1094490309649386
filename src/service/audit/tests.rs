use jiff::SignedDuration;

use super::*;
use crate::{
    service::{
        clock::ManualClock,
        execution::Execution,
        testing::{TestStore, actor, clock, organization},
    },
    store::memory::MemoryStore,
};

struct Bench {
    clock: Arc<ManualClock>,
    trail: Arc<AuditTrail>,
}

impl Bench {
    fn new(limits: AuditLimits) -> Self {
        let clock = clock();
        let trail = AuditTrail::with_limits(Arc::new(MemoryStore::new()), clock.clone(), limits);
        Self { clock, trail: Arc::new(trail) }
    }

    fn write(&self, name: &str, events: usize) {
        for _ in 0..events {
            let (organization, actor) = (organization(name), actor(name));
            let action = AuditAction::ClientUpdated;
            let told = self.trail.tell(&organization, &actor, action, "agent", "").unwrap();
            self.trail.store.write_documents(&told).unwrap();
        }
    }

    async fn sweep(&self) {
        AuditRetention::new(Arc::clone(&self.trail), Execution::Threads).sweep().await.unwrap();
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        let organization = organization(name);
        let documents =
            self.trail.store.first_documents(Collection::AuditEvents, &organization, 1000);
        documents.unwrap().iter().map(|document| event(document).unwrap().number).collect()
    }
}

#[tokio::test]
async fn old_events_are_removed_and_numbers_go_on() {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let bench = Bench::new(AuditLimits { retention: days(10), ..AuditLimits::default() });
    bench.write("acme", 3);
    bench.clock.advance(days(6));
    bench.write("acme", 2);
    bench.write("other", 1);
    bench.sweep().await;
    assert_eq!(bench.numbers("acme"), [1, 2, 3, 4, 5]);
    bench.clock.advance(days(5));
    bench.sweep().await;
    assert_eq!(bench.numbers("acme"), [4, 5]);
    bench.clock.advance(days(30));
    bench.sweep().await;
    // The latest stays, so that no number is given twice.
    assert_eq!((bench.numbers("acme"), bench.numbers("other")), (vec![5], vec![1]));
    assert_eq!(bench.trail.figures().events_removed, 4);
    bench.write("acme", 1);
    assert_eq!(bench.numbers("acme"), [5, 6]);
}

#[tokio::test]
async fn events_over_the_limit_are_removed_from_their_organization() {
    let bench = Bench::new(AuditLimits { events_max: 100, ..AuditLimits::default() });
    bench.write("acme", 700);
    bench.write("other", 100);
    bench.sweep().await;
    assert_eq!(bench.numbers("acme"), (601..=700).collect::<Vec<_>>());
    assert_eq!(bench.numbers("other").len(), 100);
    assert_eq!(bench.trail.figures().events_removed, 600);
}

#[tokio::test]
async fn event_that_was_not_written_is_not_on_record() {
    let bench = Bench::new(AuditLimits::default());
    let (acme, action) = (organization("acme"), AuditAction::SigningKeyRotated);
    let prepared = bench.trail.prepare(&actor("acme"), action, "keys", "key one").unwrap();
    let name = prepared.name().to_owned();
    let has = |action, text| bench.trail.has(&acme, &name, action, text).unwrap();
    assert!(!has(action, "one"));
    prepared.write().unwrap();
    assert!(has(action, "one") && !has(action, "two"));
    assert!(!has(AuditAction::StoreBackedUp, "one"));
}

#[tokio::test]
async fn refused_change_gets_no_number() {
    let store = TestStore::new();
    let limits = AuditLimits { changes_per_minute: 1, ..AuditLimits::default() };
    let trail = AuditTrail::with_limits(store, clock(), limits);
    let tell = || {
        let by = actor("acme");
        trail.tell(&organization("acme"), &by, AuditAction::ClientUpdated, "agent", "")
    };
    for number in 1..=10 {
        assert_eq!(tell().unwrap()[0].name, name(number));
    }
    let refused = tell().unwrap_err();
    assert!(matches!(refused, ServiceError::TooManyChanges { changes_per_minute: 1, .. }));
    assert_eq!(trail.figures(), AuditFigures { events: 10, changes_refused: 1, events_removed: 0 });
    assert_eq!(trail.numbers.lock()[&organization("acme")], 10);
}
