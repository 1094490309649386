//! One seed: the real server and its clients on a simulated network, with everything that goes wrong.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use meterd::{
    domain::{
        asset::Asset,
        catalog::{Catalog, CatalogLimits, State},
        id::AssetId,
    },
    service::clock::ManualClock,
    store::UsageStore,
};

use super::{
    audit,
    auditor::{self, Auditor},
    book::Book,
    client::Client,
    connections::Connections,
    faults::{Fault, PlannedFault},
    host::Host,
    hosts::Hosts,
    plan::{ASSETS, FAULTY_TIME, Plan},
    reader::{self, Contents, Reader},
    trace::{Figures, Trace},
    usage::Identity,
};
use crate::support::{
    blocking_store::BlockingStore,
    random::Random,
    server::{noon, sample_catalog},
    usage::organization,
};

/// Simulated time after which everything must have been answered: all faults are over after 15 s.
const TIME_MAX: Duration = Duration::from_secs(180);
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
    seed: u64,
    plan: Plan,
    store: Arc<dyn UsageStore>,
    hosts: Hosts,
    clients: Vec<Rc<Client>>,
    reader: Rc<Reader>,
    book: Book,
}

/// Runs one seed to its end.
pub fn run(seed: u64, defect: Option<Defect>) -> Result<Outcome, Violation> {
    let mut simulation = Simulation::new(seed, defect);
    let result = simulation.run();
    let mut book = simulation.book.open();
    if let Err(text) = result {
        book.ledger.violate(text);
    }
    let elapsed = simulation.hosts.elapsed();
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
        let book = Book::default();
        let store = store(defect);
        let clock = Arc::new(ManualClock::new(noon()));
        let server = Host::new(&plan, Arc::clone(&store), clock);
        let mut hosts = Hosts::new(&plan, server, &mut random, book.clone());
        let mut clients = Vec::new();
        for client in &plan.clients {
            let client = Client::new(client.clone(), random.next(), book.clone(), defect);
            let starting = Rc::clone(&client);
            hosts.add(client.name(), client.connections(), move || Rc::clone(&starting).run());
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
        hosts.add(reader::NAME, &reader.connections, move || Rc::clone(&starting).run());
        Self { seed: random.next(), plan, store, hosts, clients, reader, book }
    }

    fn run(&mut self) -> Result<(), String> {
        self.run_clients()?;
        let sent = self.book.open().ledger.sent().cloned().collect();
        let mut certain = self.plan.certain();
        certain.extend(self.book.open().ledger.acknowledged().cloned());
        self.audit(&certain, &sent);
        self.reader.stop.set(true);
        let auditor = Auditor::new(&self.plan, self.seed, self.book.clone());
        self.hosts.sim.client(auditor::NAME, auditor.run());
        while !self.step()? {}
        self.audit(&sent, &sent);
        // What the store has, in the order in which it was committed, is part of what runs are compared by.
        for line in audit::log_of(&*self.store, &self.plan) {
            self.hosts.note(format_args!("{line}"));
        }
        Ok(())
    }

    fn audit(&self, certain: &BTreeSet<Identity>, sent: &BTreeSet<Identity>) {
        let violations = audit::check_store(&*self.store, &self.plan, certain, sent);
        violations.into_iter().for_each(|violation| self.book.violate(violation));
    }

    /// Until every client has reported everything, and all faults are over.
    fn run_clients(&mut self) -> Result<(), String> {
        let mut faults: VecDeque<PlannedFault> = self.plan.faults.clone().into();
        let mut ends: Vec<(Duration, Fault)> = Vec::new();
        loop {
            let now = self.hosts.elapsed();
            while let Some(planned) = faults.pop_front_if(|planned| planned.at <= now) {
                self.hosts.begin(&planned);
                ends.push((now + planned.lasts, planned.fault));
            }
            for (_, fault) in ends.extract_if(.., |(end, _)| *end <= now) {
                self.hosts.end(&fault);
            }
            self.hosts.start_what_is_down();
            let is_over = faults.is_empty() && ends.is_empty() && now >= FAULTY_TIME;
            if is_over && self.clients.iter().all(|client| client.is_done()) {
                return Ok(());
            }
            self.step()?;
        }
    }

    /// Whether what runs by itself is through.
    fn step(&mut self) -> Result<bool, String> {
        let is_through = self.hosts.step()?;
        if let Some(violation) = self.book.open().ledger.violations().last() {
            return Err(format!("stopped at once after: {violation}"));
        }
        if self.hosts.elapsed() > TIME_MAX {
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
}

/// A store that clients can report to.
fn store(defect: Option<Defect>) -> Arc<dyn UsageStore> {
    let store = BlockingStore::new();
    let name = organization("default");
    let applied = Catalog::default().apply(sample_catalog(), &CatalogLimits::default());
    store.change_catalog(&name, &applied.unwrap().1, &[]).unwrap();
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
