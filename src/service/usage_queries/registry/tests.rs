//! Who is let in, what is shared, and what has to go.

use super::*;
use crate::{
    domain::usage::LogSequence,
    service::usage_queries::testing::{client, job, organization, query, shape, succeed},
};

const MIB: u64 = 1 << 20;

fn registry(limits: QueryLimits) -> Registry {
    Registry::new(limits)
}

fn moment(through: u64) -> Moment {
    Moment { through: LogSequence(through), names: None }
}

/// Asks for rows of this many at most, so that those of different numbers are different.
fn asked(id: &str, by: &str, rows_max: u64) -> Asked {
    let mut shape = shape();
    shape.plan.rows_max = rows_max;
    let text = query().to_json().unwrap();
    Asked {
        id: id.into(),
        organization: organization("alpha"),
        operation: Operation::OrganizationJob,
        client: None,
        started_by: client(by),
        created: Timestamp::UNIX_EPOCH,
        question: Question::new(&text, &shape).unwrap(),
        shape,
    }
}

/// Starts a query that has its own result; it waits.
fn start(registry: &Registry, id: &str, by: &str) -> (Arc<Job>, Vec<String>) {
    let number = id.bytes().fold(1, |number, byte| number * 31 + u64::from(byte));
    let admitted = registry.admit(asked(id, by, number), &moment(0)).unwrap();
    assert!(!admitted.is_shared);
    registry.enqueue(&admitted.job.computation);
    (admitted.job, admitted.evicted.iter().map(|job| job.id.clone()).collect())
}

fn is_kept(registry: &Registry, id: &str) -> bool {
    registry.find(&organization("alpha"), id, Timestamp::UNIX_EPOCH).is_some()
}

#[test]
fn expired_results_are_looked_for_while_there_is_work() {
    let registry = registry(QueryLimits::default());
    for id in ["one", "two"] {
        start(&registry, id, "agent");
    }
    assert!(matches!(registry.next(), Next::Run(_)));
    registry.inner.lock().swept = Instant::now().checked_sub(SWEEP_INTERVAL);
    assert!(matches!(registry.next(), Next::Sweep));
    assert!(matches!(registry.next(), Next::Run(_)));
}

#[test]
fn client_may_have_three_quarters_of_what_is_unfinished() {
    let registry = registry(QueryLimits { unfinished_max: 4, ..QueryLimits::default() });
    for id in ["1", "2", "3"] {
        start(&registry, id, "greedy");
    }
    let refused = |by: &str| match registry.admit(asked("x", by, 999), &moment(0)) {
        Err(ServiceError::TooManyQueries { what, .. }) => what,
        other => panic!("{:?}", other.map(|admitted| admitted.job.id.clone())),
    };
    assert!(refused("greedy").contains("3 queries of the client are not finished"));
    start(&registry, "4", "modest");
    for by in ["greedy", "modest"] {
        assert!(refused(by).contains("4 queries of the organization are not finished"));
    }
}

#[test]
fn too_many_results_evict_the_oldest_of_the_greediest() {
    let registry = registry(QueryLimits { kept_max: 8, ..QueryLimits::default() });
    for (id, by) in [("m1", "modest"), ("g1", "greedy"), ("g2", "greedy"), ("g3", "greedy")] {
        let (job, evicted) = start(&registry, id, by);
        succeed(&job, 100 - id.bytes().map(i64::from).sum::<i64>() % 10);
        assert_eq!(evicted, [""; 0]);
    }
    for id in ["g4", "g5", "g6"] {
        assert_eq!(start(&registry, id, "greedy").1, [""; 0]);
    }
    // The client's own share is six; its oldest goes, which ended last started.
    assert_eq!(start(&registry, "g7", "greedy").1.len(), 1);
    assert!(is_kept(&registry, "m1"));
    // The organization's is eight.
    assert_eq!(start(&registry, "m2", "modest").1, [""; 0]);
    let (_, evicted) = start(&registry, "m3", "modest");
    assert!(evicted.len() == 1 && evicted[0].starts_with('g'), "{evicted:?}");
    assert!(!is_kept(&registry, &evicted[0]));
    assert!(is_kept(&registry, "m1"));
    assert_eq!(registry.statistics().evicted, 2);
}

#[test]
fn nothing_unfinished_is_evicted() {
    let registry = registry(QueryLimits { kept_max: 2, ..QueryLimits::default() });
    start(&registry, "1", "one");
    start(&registry, "2", "two");
    let refused = registry.admit(asked("3", "three", 999), &moment(0));
    assert!(matches!(refused, Err(ServiceError::TooManyQueries { .. })));
    assert!(is_kept(&registry, "1") && is_kept(&registry, "2"));
}

#[test]
fn equal_queries_share_while_nothing_came_since() {
    let registry = registry(QueryLimits::default());
    let admit = |id: &str, by: &str, rows_max, through| {
        registry.admit(asked(id, by, rows_max), &moment(through)).unwrap()
    };
    let first = admit("1", "one", 5, 7).job;
    // Not before it is on the disk.
    assert!(!admit("2", "two", 5, 7).is_shared);
    registry.enqueue(&first.computation);
    let second = admit("3", "two", 5, 8);
    assert!(second.is_shared, "it has not begun, and will see what came");
    assert!(Arc::ptr_eq(&second.job.computation, &first.computation));
    assert!(!admit("4", "two", 6, 8).is_shared, "it asks for something else");
    *first.computation.seen.lock() = Some(moment(9));
    succeed(&first, 1);
    assert!(admit("5", "one", 5, 9).is_shared);
    assert!(!admit("6", "one", 5, 10).is_shared);
    assert_eq!(registry.statistics().shared, 2);
}

#[test]
fn shared_result_stays_until_its_last_query_goes() {
    let registry = registry(QueryLimits::default());
    let first = registry.admit(asked("1", "one", 5), &moment(0)).unwrap().job;
    registry.enqueue(&first.computation);
    let second = registry.admit(asked("2", "two", 5), &moment(0)).unwrap().job;
    assert!(registry.hide(&first));
    assert!(!registry.hide(&first), "it is hidden already");
    assert_eq!(registry.hold(&first.computation), Hold::Shared);
    assert!(!first.computation.stop.load(Ordering::Relaxed));
    let Next::Run(running) = registry.next() else { panic!("there is one to run") };
    assert!(registry.hide(&second));
    assert_eq!(registry.hold(&running), Hold::Running);
    assert!(running.stop.load(Ordering::Relaxed));
    let removing = registry.ran(&running);
    assert_eq!(removing.len(), 2);
    assert_eq!(registry.hold(&running), Hold::Free);
    removing.iter().for_each(|job| registry.removed(job));
    assert_eq!(registry.expire(Timestamp::UNIX_EPOCH).len(), 0);
    assert_eq!(registry.statistics().kept, 0);
}

#[test]
fn too_many_bytes_evict_and_a_result_beyond_its_share_fails() {
    let limits = QueryLimits {
        result_bytes_max: 8 * MIB,
        result_bytes_total_max: 100 * MIB,
        ..QueryLimits::default()
    };
    let registry = registry(limits);
    let (old, _) = start(&registry, "old", "greedy");
    assert_eq!(registry.grow(&old.computation, 3 * MIB).unwrap().len(), 0);
    succeed(&old, 1);
    let (modest, _) = start(&registry, "modest", "modest");
    assert_eq!(registry.grow(&modest.computation, 2 * MIB).unwrap().len(), 0);
    succeed(&modest, 0);
    let (new, _) = start(&registry, "new", "greedy");
    assert_eq!(registry.grow(&new.computation, 3 * MIB).unwrap().len(), 0);
    // Its client may have six, and would have seven.
    let evicted = registry.grow(&new.computation, MIB).unwrap();
    assert_eq!(evicted.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["old"]);
    assert_eq!(registry.statistics().result_bytes, 6 * MIB);
    let too_large = registry.grow(&new.computation, 3 * MIB).err();
    assert_eq!(too_large, Some(NoRoom::TooLarge { bytes_max: 6 * MIB }));
    assert!(is_kept(&registry, "modest"));
    registry.shrink(&new.computation);
    assert_eq!(registry.statistics().result_bytes, 2 * MIB);
}

#[test]
fn results_that_run_together_fail_rather_than_evict_each_other() {
    let limits = QueryLimits { result_bytes_max: 8 * MIB, ..QueryLimits::default() };
    let registry = registry(limits);
    let (one, _) = start(&registry, "1", "one");
    let (two, _) = start(&registry, "2", "two");
    registry.grow(&one.computation, 5 * MIB).unwrap();
    let no_room = registry.grow(&two.computation, 5 * MIB).err();
    assert_eq!(no_room, Some(NoRoom::Taken { bytes_max: 8 * MIB }));
    assert!(is_kept(&registry, "1"));
}

#[test]
fn total_of_bytes_evicts_from_the_organization_with_most() {
    let limits = QueryLimits { result_bytes_total_max: 10 * MIB, ..QueryLimits::default() };
    let registry = registry(limits);
    for (id, of, bytes) in [("1", "alpha", 6), ("2", "beta", 3)] {
        let job = job(id, of, "agent");
        registry.inner.lock().of(&organization(of)).insert(Arc::clone(&job));
        registry.grow(&job.computation, bytes * MIB).unwrap();
        succeed(&job, 1);
    }
    let new = job("3", "beta", "agent");
    registry.inner.lock().of(&organization("beta")).insert(Arc::clone(&new));
    let evicted = registry.grow(&new.computation, 2 * MIB).unwrap();
    assert_eq!(evicted.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["1"]);
}

#[test]
fn restart_makes_those_that_share_one_again() {
    let registry = registry(QueryLimits::default());
    let first = registry.admit(asked("1", "one", 5), &moment(0)).unwrap().job;
    registry.enqueue(&first.computation);
    let second = registry.admit(asked("2", "two", 5), &moment(0)).unwrap().job;
    let alone = registry.admit(asked("3", "two", 6), &moment(0)).unwrap().job;
    alone.computation.bytes_written.store(MIB, Ordering::Relaxed);
    succeed(&alone, 1);
    let stored = |job: &Job| {
        let change = job.document(&job.progress()).unwrap();
        let body = change.body.unwrap();
        let document = crate::store::document::Document {
            organization: change.organization,
            name: change.name,
            body,
        };
        StoredJob::from_document(document).unwrap()
    };
    let again = Registry::new(QueryLimits::default());
    again.restore(vec![stored(&second), stored(&alone), stored(&first)]);
    let found = |id| again.find(&organization("alpha"), id, Timestamp::UNIX_EPOCH).unwrap();
    assert!(Arc::ptr_eq(&found("1").computation, &found("2").computation));
    assert_eq!(found("2").started_by, Some(client("two")));
    let statistics = again.statistics();
    assert_eq!((statistics.kept, statistics.waiting), (3, 1));
    assert_eq!(statistics.result_bytes, MIB);
}
