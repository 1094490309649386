use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A read that waits, as `organization/client`; the queue wakes it with the same text.
type Queue = FairQueue<String>;

fn caller(name: &str) -> Caller {
    let (organization, client) = name.split_once('/').unwrap();
    Caller {
        organization: OrganizationId::new(organization).unwrap(),
        client: ClientId::new(client).unwrap(),
    }
}

fn queue(running_max: usize, organization_running_max: usize, waiting_max: usize) -> Queue {
    FairQueue::new(QueueLimits {
        running_max,
        organization_running_max,
        organization_waiting_max: waiting_max,
    })
}

fn enter(queue: &mut Queue, name: &str) -> Ticket {
    queue.enter(&caller(name), Admission::Refuse, name.to_owned())
}

/// Ends the read of a client that was started first, for each of `names`, and says what starts then.
fn started_after(queue: &mut Queue, running: &mut Vec<(String, Ticket)>, ends: usize) -> String {
    let (name, ticket) = running.remove(ends);
    queue.leave(&caller(&name), ticket);
    queue.next().unwrap()
}

#[test]
fn organizations_take_turns_however_much_they_queue() {
    let mut queue = queue(1, 1, 100);
    let first = enter(&mut queue, "evil/a");
    assert_eq!(queue.next().as_deref(), Some("evil/a"));
    let mut tickets: HashMap<String, VecDeque<Ticket>> = HashMap::new();
    let names = ["evil/a", "evil/a", "evil/a", "evil/a", "acme/a", "other/a", "acme/a"];
    for name in names {
        let ticket = enter(&mut queue, name);
        tickets.entry(name.to_owned()).or_default().push_back(ticket);
    }
    assert_eq!((queue.waiting(), queue.next()), (7, None));
    let mut ends = ("evil/a".to_owned(), first);
    let mut order = Vec::new();
    while queue.waiting() > 0 {
        queue.leave(&caller(&ends.0), ends.1);
        let started = queue.next().unwrap();
        order.push(started.clone());
        let ticket = tickets.get_mut(&started).unwrap().pop_front().unwrap();
        ends = (started, ticket);
    }
    assert_eq!(order, ["evil/a", "acme/a", "other/a", "evil/a", "acme/a", "evil/a", "evil/a"]);
}

#[test]
fn clients_of_an_organization_take_turns() {
    let mut queue = queue(1, 1, 100);
    let running = enter(&mut queue, "acme/busy");
    queue.next().unwrap();
    let mut waiting = Vec::new();
    for name in ["acme/busy", "acme/busy", "acme/busy", "acme/calm"] {
        waiting.push((name.to_owned(), enter(&mut queue, name)));
    }
    queue.leave(&caller("acme/busy"), running);
    assert_eq!(queue.next().as_deref(), Some("acme/busy"));
    assert_eq!(started_after(&mut queue, &mut waiting, 0), "acme/calm");
    assert_eq!(started_after(&mut queue, &mut waiting, 2), "acme/busy");
}

#[test]
fn organization_with_its_share_of_threads_lets_others_by() {
    let mut queue = queue(4, 2, 100);
    let mut evil: Vec<_> =
        (0..5).map(|_| ("evil/a".to_owned(), enter(&mut queue, "evil/a"))).collect();
    assert_eq!((queue.next(), queue.next()), (Some("evil/a".into()), Some("evil/a".into())));
    assert_eq!((queue.next(), queue.waiting()), (None, 3), "two threads are kept for others");
    for name in ["acme/a", "other/a", "acme/a"] {
        enter(&mut queue, name);
    }
    assert_eq!((queue.next(), queue.next()), (Some("acme/a".into()), Some("other/a".into())));
    assert_eq!(queue.next(), None);
    // It has kept its place meanwhile, and takes one turn when one of its own reads ends.
    assert_eq!(started_after(&mut queue, &mut evil, 0), "evil/a");
    assert_eq!(queue.next(), None);
}

#[test]
fn reads_beyond_the_limits_are_refused_whose_limit_it_is() {
    let mut queue = queue(1, 1, 8);
    let names = ["acme/a", "acme/b"];
    enter(&mut queue, "acme/a");
    queue.next().unwrap();
    for _ in 0..6 {
        assert_eq!(queue.check_limits(&caller("acme/a")), Ok(()));
        enter(&mut queue, "acme/a");
    }
    assert_eq!(queue.check_limits(&caller("acme/a")), Err(QueueFull::Client(6)));
    for _ in 0..2 {
        assert_eq!(queue.check_limits(&caller("acme/b")), Ok(()));
        enter(&mut queue, "acme/b");
    }
    for name in names {
        assert_eq!(queue.check_limits(&caller(name)), Err(QueueFull::Organization(8)));
    }
    assert_eq!(queue.check_limits(&caller("other/a")), Ok(()));
}

#[test]
fn limit_of_one_still_lets_one_wait() {
    let mut queue = queue(1, 1, 1);
    enter(&mut queue, "acme/a");
    queue.next().unwrap();
    assert_eq!(queue.check_limits(&caller("acme/a")), Ok(()));
    enter(&mut queue, "acme/a");
    assert_eq!(queue.check_limits(&caller("acme/a")), Err(QueueFull::Organization(1)));
}

#[test]
fn reads_that_are_to_wait_do_not_count_towards_the_limits() {
    let mut queue = queue(1, 1, 2);
    enter(&mut queue, "acme/a");
    queue.next().unwrap();
    for _ in 0..10 {
        queue.enter(&caller("acme/a"), Admission::Wait, "acme/a".into());
    }
    assert_eq!((queue.waiting(), queue.check_limits(&caller("acme/a"))), (10, Ok(())));
}

#[test]
fn read_that_leaves_before_its_turn_never_starts() {
    let mut queue = queue(1, 1, 100);
    let running = enter(&mut queue, "acme/a");
    queue.next().unwrap();
    let gone = enter(&mut queue, "gone/a");
    let also_gone = enter(&mut queue, "evil/gone");
    enter(&mut queue, "evil/stays");
    queue.leave(&caller("gone/a"), gone);
    queue.leave(&caller("evil/gone"), also_gone);
    assert_eq!((queue.waiting(), queue.next()), (1, None));
    queue.leave(&caller("acme/a"), running);
    assert_eq!(queue.next().as_deref(), Some("evil/stays"));
    assert_eq!((queue.waiting(), queue.next()), (0, None));
}

#[derive(Debug, Clone)]
enum Step {
    Enter { organization: usize, client: usize, admission: Admission },
    LeaveWaiting(usize),
    EndRunning(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let enter =
        (0..4_usize, 0..3_usize, any::<bool>()).prop_map(|(organization, client, waits)| {
            let admission = if waits { Admission::Wait } else { Admission::Refuse };
            Step::Enter { organization, client, admission }
        });
    let step = prop_oneof![
        5 => enter,
        1 => any::<usize>().prop_map(Step::LeaveWaiting),
        4 => any::<usize>().prop_map(Step::EndRunning),
    ];
    prop::collection::vec(step, 1..200)
}

/// What a queue must do, from the outside.
struct Watched {
    queue: FairQueue<u64>,
    limits: QueueLimits,
    callers: BTreeMap<u64, (Caller, Ticket, Admission)>,
    waiting: BTreeSet<u64>,
    running: BTreeSet<u64>,
    // For each organization that could start a read: what others started since.
    passed_over: HashMap<OrganizationId, HashMap<OrganizationId, usize>>,
}

impl Watched {
    fn new(limits: QueueLimits) -> Self {
        Self {
            queue: FairQueue::new(limits),
            limits,
            callers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeSet::new(),
            passed_over: HashMap::new(),
        }
    }

    fn count(&self, of: &BTreeSet<u64>, accepts: impl Fn(&Caller, Admission) -> bool) -> usize {
        let reads = of.iter().map(|number| &self.callers[number]);
        reads.filter(|(caller, _, admission)| accepts(caller, *admission)).count()
    }

    fn enter(&mut self, number: u64, caller: Caller, admission: Admission) {
        let counted = |of_client: bool| {
            self.count(&self.waiting, |other, admission| {
                admission == Admission::Refuse
                    && other.organization == caller.organization
                    && (!of_client || other.client == caller.client)
            })
        };
        let QueueLimits { organization_waiting_max: max, .. } = self.limits;
        let is_full = counted(false) >= max || counted(true) >= max - max / 4;
        if admission == Admission::Refuse {
            let checked = self.queue.check_limits(&caller);
            // A full queue has something waiting, so nothing starts at once that would have been let in.
            assert_eq!(checked.is_err(), is_full, "{checked:?}");
            if checked.is_err() {
                return;
            }
        }
        let ticket = self.queue.enter(&caller, admission, number);
        self.callers.insert(number, (caller, ticket, admission));
        self.waiting.insert(number);
    }

    fn leave(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.running.remove(&number);
        let (caller, ticket, _) = self.callers.remove(&number).unwrap();
        self.queue.leave(&caller, ticket);
        let waits =
            self.waiting.iter().any(|it| self.callers[it].0.organization == caller.organization);
        if !waits {
            self.passed_over.remove(&caller.organization);
        }
    }

    fn start(&mut self) {
        while let Some(number) = self.queue.next() {
            assert!(self.waiting.remove(&number), "{number} did not wait");
            self.running.insert(number);
            let started = self.callers[&number].0.organization.clone();
            self.passed_over.remove(&started);
            for other in self.startable() {
                let others = self.passed_over.entry(other).or_default();
                let times = others.entry(started.clone()).or_default();
                *times += 1;
                assert!(*times <= 1, "{started} had two turns while another waited");
            }
        }
    }

    /// Organizations with a read that waits and a thread that it may have.
    fn startable(&self) -> BTreeSet<OrganizationId> {
        let organizations = self.waiting.iter().map(|it| self.callers[it].0.organization.clone());
        let share = self.limits.organization_running_max;
        organizations
            .filter(|id| self.count(&self.running, |caller, _| caller.organization == *id) < share)
            .collect()
    }

    fn check(&self) {
        let running = self.running.len();
        assert!(running <= self.limits.running_max);
        assert_eq!(self.queue.waiting(), self.waiting.len());
        // No thread is free while somebody may have it.
        assert!(running == self.limits.running_max || self.startable().is_empty());
        for number in &self.running {
            let organization = &self.callers[number].0.organization;
            let of_organization =
                self.count(&self.running, |caller, _| caller.organization == *organization);
            assert!(of_organization <= self.limits.organization_running_max);
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_shares_turns_and_limits(
        steps in steps(),
        running_max in 1..6_usize,
        share in 1..6_usize,
        waiting_max in 1..12_usize,
    ) {
        let limits = QueueLimits {
            running_max,
            organization_running_max: share.min(running_max),
            organization_waiting_max: waiting_max,
        };
        let mut watched = Watched::new(limits);
        for (number, step) in (0..).zip(steps) {
            let nth = |of: &BTreeSet<u64>, at: usize| of.iter().nth(at % of.len().max(1)).copied();
            match step {
                Step::Enter { organization, client, admission } => {
                    let caller = caller(&format!("organization-{organization}/client-{client}"));
                    watched.enter(number, caller, admission);
                }
                Step::LeaveWaiting(at) => {
                    if let Some(left) = nth(&watched.waiting, at) {
                        watched.leave(left);
                    }
                }
                Step::EndRunning(at) => {
                    if let Some(ended) = nth(&watched.running, at) {
                        watched.leave(ended);
                    }
                }
            }
            watched.start();
            watched.check();
        }
        while let Some(ended) = watched.running.first().copied() {
            watched.leave(ended);
            watched.start();
        }
        prop_assert!(watched.waiting.is_empty());
        prop_assert!(watched.queue.organizations.is_empty(), "nothing is kept of those who left");
        prop_assert!(watched.queue.turns.is_empty());
    }
}
