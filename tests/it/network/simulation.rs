//! One seed: the real server and its clients on a simulated network, with everything that goes wrong.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use meterd::{
    domain::{
        asset::Asset,
        catalog::{Catalog, State},
        id::AssetId,
    },
    service::clock::ManualClock,
    store::UsageStore,
};
use turmoil::Sim;

use super::{
    audit,
    auditor::{self, Auditor},
    book::Book,
    client::Client,
    connections::Connections,
    faults::{Fault, PlannedFault},
    host::Host,
    plan::{ASSETS, FAULTY_TIME, Plan},
    reader::{self, Contents, Reader},
    trace::{Figures, Trace},
    usage::Identity,
    wire::SERVER,
};
use crate::support::{
    blocking_store::BlockingStore,
    random::Random,
    server::{noon, sample_catalog},
    usage::organization,
};

/// The finest difference in time between two hosts.
const TICK: Duration = Duration::from_millis(2);
/// Simulated time after which everything must have been answered: all faults are over after 15 s.
const TIME_MAX: Duration = Duration::from_secs(180);
const LATENCY_MIN: Duration = Duration::from_millis(1);
/// How likely a segment finds that its link works again.
const REPAIR_RATE: f64 = 0.2;
/// Segments that one side of a connection may have under way.
const SEGMENTS_MAX: usize = 256;

/// A mistake on purpose, which the auditor must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Clients take new uuids when they send something again.
    FreshUuids,
    /// The store answers some commits without storing anything.
    ForgetfulStore,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub trace: Trace,
    pub figures: Figures,
}

/// A seed that showed something wrong.
#[derive(Debug)]
pub struct Violation {
    pub what: Vec<String>,
    /// What happened just before.
    pub last: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.last.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        self.what.iter().try_for_each(|what| writeln!(f, "{what}"))
    }
}

struct Simulation {
    sim: Sim<'static>,
    seed: u64,
    plan: Plan,
    host: Host,
    clients: Vec<Rc<Client>>,
    reader: Rc<Reader>,
    /// Of all hosts that may die, by name.
    connections: BTreeMap<String, Connections>,
    book: Book,
    clock_error: SignedDuration,
    /// When hosts that are down may start again, by name.
    down_until: BTreeMap<String, Duration>,
}

/// Runs one seed to its end.
pub fn run(seed: u64, defect: Option<Defect>) -> Result<Outcome, Violation> {
    let mut simulation = Simulation::new(seed, defect);
    let result = simulation.run();
    let mut book = simulation.book.open();
    if let Err(text) = result {
        book.ledger.violate(text);
    }
    let elapsed = simulation.sim.elapsed();
    book.figures.add("simulated ms", elapsed.as_millis() as u64);
    let what = book.ledger.violations().to_vec();
    if what.is_empty() {
        Ok(Outcome { trace: book.trace.clone(), figures: book.figures.clone() })
    } else {
        Err(Violation { what, last: book.trace.last_lines().to_vec() })
    }
}

impl Simulation {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let plan = Plan::new(seed);
        let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(7));
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.next())
            .tick_duration(TICK)
            .min_message_latency(LATENCY_MIN)
            .max_message_latency(plan.latency_max)
            .repair_rate(REPAIR_RATE)
            .tcp_capacity(SEGMENTS_MAX)
            .enable_random_order()
            // Ours is the limit that counts.
            .simulation_duration(TIME_MAX * 100)
            .build();
        let book = Book::default();
        let store = store(defect);
        let clock = Arc::new(ManualClock::new(noon()));
        let host = Host::new(&plan, store, clock);
        let starting = host.clone();
        sim.host(SERVER, move || starting.clone().run());
        let mut clients = Vec::new();
        for client in &plan.clients {
            let client = Client::new(client.clone(), random.next(), book.clone(), defect);
            let starting = Rc::clone(&client);
            sim.host(client.name(), move || Rc::clone(&starting).run());
            clients.push(client);
        }
        let reader = Rc::new(Reader {
            contents: Contents::new(plan.orders().map(|order| &order.report)),
            book: book.clone(),
            connections: Connections::default(),
            random: RefCell::new(Random::new(random.next())),
            stop: false.into(),
        });
        let starting = Rc::clone(&reader);
        sim.host(reader::NAME, move || Rc::clone(&starting).run());
        let mut connections: BTreeMap<_, _> =
            clients.iter().map(|it| (it.name().to_owned(), it.connections().clone())).collect();
        connections.insert(SERVER.to_owned(), host.connections.clone());
        Self {
            seed: random.next(),
            sim,
            plan,
            host,
            clients,
            reader,
            connections,
            book,
            clock_error: SignedDuration::ZERO,
            down_until: BTreeMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.run_clients()?;
        let sent = self.book.open().ledger.sent().cloned().collect();
        let mut certain = self.plan.certain();
        certain.extend(self.book.open().ledger.acknowledged().cloned());
        self.audit(&certain, &sent);
        self.reader.stop.set(true);
        let auditor = Auditor::new(&self.plan, self.seed, self.book.clone());
        self.sim.client(auditor::NAME, auditor.run());
        while !self.step()? {}
        self.audit(&sent, &sent);
        // What the store has, in the order in which it was committed, is part of what runs are compared by.
        for line in audit::log_of(&*self.host.store, &self.plan) {
            self.note(format_args!("{line}"));
        }
        Ok(())
    }

    fn audit(&self, certain: &BTreeSet<Identity>, sent: &BTreeSet<Identity>) {
        let violations = audit::check_store(&*self.host.store, &self.plan, certain, sent);
        violations.into_iter().for_each(|violation| self.book.violate(violation));
    }

    /// Until every client has reported everything, and all faults are over.
    fn run_clients(&mut self) -> Result<(), String> {
        let mut faults: VecDeque<PlannedFault> = self.plan.faults.clone().into();
        let mut ends: Vec<(Duration, Fault)> = Vec::new();
        loop {
            let now = self.sim.elapsed();
            while let Some(planned) = faults.pop_front_if(|planned| planned.at <= now) {
                self.begin(&planned);
                ends.push((now + planned.lasts, planned.fault));
            }
            for (_, fault) in ends.extract_if(.., |(end, _)| *end <= now) {
                self.end(&fault);
            }
            self.start_what_is_down();
            let is_over = faults.is_empty() && ends.is_empty() && now >= FAULTY_TIME;
            if is_over && self.clients.iter().all(|client| client.is_done()) {
                return Ok(());
            }
            self.step()?;
        }
    }

    /// Whether what runs by itself is through.
    fn step(&mut self) -> Result<bool, String> {
        let now = SignedDuration::try_from(self.sim.elapsed()).expect("minutes");
        self.host.clock.set(noon() + now + self.clock_error);
        let is_through = self.sim.step().map_err(|error| error.to_string())?;
        if self.host.has_stopped.take() {
            self.end_process(SERVER);
        }
        if let Some(violation) = self.book.open().ledger.violations().last() {
            return Err(format!("stopped at once after: {violation}"));
        }
        if self.sim.elapsed() > TIME_MAX {
            let late: Vec<&str> = self
                .clients
                .iter()
                .filter(|client| !client.is_done())
                .map(|client| client.name())
                .collect();
            return Err(format!("not everything was answered in time; {late:?} still wait"));
        }
        Ok(is_through)
    }

    fn begin(&mut self, planned: &PlannedFault) {
        let fault = &planned.fault;
        self.note(format_args!("begins: {fault:?}"));
        self.book.count(format!("fault: {}", fault.kind()));
        let until = self.sim.elapsed() + planned.lasts;
        match fault {
            Fault::Slow { client, latency_max } => {
                self.sim.set_link_max_message_latency(client.as_str(), SERVER, *latency_max);
            }
            Fault::Lossy { client, rate } => {
                self.sim.set_link_fail_rate(client.as_str(), SERVER, *rate);
            }
            Fault::Cut { client } => self.sim.partition(client.as_str(), SERVER),
            Fault::CutToServer { client } => self.sim.partition_oneway(client.as_str(), SERVER),
            Fault::CutFromServer { client } => self.sim.partition_oneway(SERVER, client.as_str()),
            Fault::Hold { client } => self.sim.hold(client.as_str(), SERVER),
            Fault::KillClient { client } => self.crash(client.clone(), until),
            Fault::PowerOffClient { client } => {
                self.sim.partition(client.as_str(), SERVER);
                self.crash(client.clone(), until);
            }
            Fault::KillServer => self.crash(SERVER.to_owned(), until),
            Fault::PowerOffServer => {
                for name in self.names() {
                    self.sim.partition(name.as_str(), SERVER);
                }
                self.crash(SERVER.to_owned(), until);
            }
            Fault::RestartServer => {
                self.host.stops.send_modify(|stops| *stops += 1);
                self.down_until.insert(SERVER.to_owned(), until);
            }
            Fault::StepClock { by } => self.clock_error = *by,
        }
    }

    fn end(&mut self, fault: &Fault) {
        self.note(format_args!("ends: {fault:?}"));
        match fault {
            Fault::Slow { client, .. } => {
                let usual = self.plan.latency_max;
                self.sim.set_link_max_message_latency(client.as_str(), SERVER, usual);
            }
            Fault::Lossy { client, .. } => {
                self.sim.set_link_fail_rate(client.as_str(), SERVER, 0.0);
                self.sim.repair(client.as_str(), SERVER);
            }
            Fault::Cut { client } | Fault::PowerOffClient { client } => {
                self.sim.repair(client.as_str(), SERVER);
            }
            Fault::CutToServer { client } => self.sim.repair_oneway(client.as_str(), SERVER),
            Fault::CutFromServer { client } => self.sim.repair_oneway(SERVER, client.as_str()),
            Fault::Hold { client } => self.sim.release(client.as_str(), SERVER),
            Fault::PowerOffServer => {
                for name in self.names() {
                    self.sim.repair(name.as_str(), SERVER);
                }
            }
            Fault::KillClient { .. }
            | Fault::KillServer
            | Fault::RestartServer
            | Fault::StepClock { .. } => {}
        }
    }

    fn names(&self) -> Vec<String> {
        let clients = self.clients.iter().map(|client| client.name().to_owned());
        clients.chain([reader::NAME.to_owned()]).collect()
    }

    fn crash(&mut self, name: String, until: Duration) {
        self.end_process(&name);
        let down_until = self.down_until.entry(name).or_default();
        *down_until = until.max(*down_until);
    }

    fn end_process(&mut self, name: &str) {
        // One that is down already has nothing to leave.
        if self.sim.is_host_running(name) {
            self.connections[name].outlive_tasks();
            self.sim.crash(name);
        }
    }

    fn start_what_is_down(&mut self) {
        let now = self.sim.elapsed();
        for (name, until) in self.down_until.clone() {
            if now >= until && !self.sim.is_host_running(name.as_str()) {
                self.note(format_args!("starts {name}"));
                self.sim.bounce(name.as_str());
                self.down_until.remove(&name);
            }
        }
    }

    fn note(&self, what: fmt::Arguments<'_>) {
        self.book.note_at(self.sim.elapsed(), "simulation", what);
    }
}

/// A store that clients can report to.
fn store(defect: Option<Defect>) -> Arc<dyn UsageStore> {
    let store = BlockingStore::new();
    let name = organization("default");
    let catalog = Catalog::default().apply(sample_catalog()).unwrap();
    store.replace_catalog(&name, &Catalog::default(), &catalog, &[]).unwrap();
    let asset = |number| Asset {
        id: AssetId::new(&format!("asset-{number}")).unwrap(),
        name: String::new(),
        state: State::Active,
    };
    let assets: Vec<Asset> = (0..ASSETS).map(asset).collect();
    store.write_assets(&name, &assets, &[], &[]).unwrap();
    if defect == Some(Defect::ForgetfulStore) {
        store.forget_every(5);
    }
    Arc::new(store)
}
