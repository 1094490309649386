//! The simulated hosts and the network between them, and how what goes wrong is done to them.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::SignedDuration;
use turmoil::Sim;

use super::{
    book::Book,
    connections::Connections,
    faults::{Fault, PlannedFault},
    host::Host,
    plan::Plan,
    wire::SERVER,
};
use crate::support::{random::Random, server::noon};

/// The finest difference in time between two hosts.
const TICK: Duration = Duration::from_millis(2);
const LATENCY_MIN: Duration = Duration::from_millis(1);
/// How likely a segment finds that its link works again.
const REPAIR_RATE: f64 = 0.2;
/// Segments that one side of a connection may have under way.
const SEGMENTS_MAX: usize = 256;
/// Never reached: the simulation has a limit of its own.
const DURATION_MAX: Duration = Duration::from_hours(5);

pub struct Hosts {
    pub sim: Sim<'static>,
    server: Host,
    /// Of the server and of all that may be cut off from it, by name.
    connections: BTreeMap<String, Connections>,
    /// How long segments take at most on links that are well.
    latency_max: Duration,
    clock_error: SignedDuration,
    /// When hosts that are down may start again, by name.
    down_until: BTreeMap<String, Duration>,
    book: Book,
}

impl Hosts {
    /// The server alone.
    pub fn new(plan: &Plan, server: Host, random: &mut Random, book: Book) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.next())
            .tick_duration(TICK)
            .min_message_latency(LATENCY_MIN)
            .max_message_latency(plan.latency_max)
            .repair_rate(REPAIR_RATE)
            .tcp_capacity(SEGMENTS_MAX)
            .enable_random_order()
            .simulation_duration(DURATION_MAX)
            .build();
        let starting = server.clone();
        sim.host(SERVER, move || starting.clone().run());
        Self {
            sim,
            connections: [(SERVER.to_owned(), server.connections.clone())].into(),
            server,
            latency_max: plan.latency_max,
            clock_error: SignedDuration::ZERO,
            down_until: BTreeMap::new(),
            book,
        }
    }

    /// Another host, whose process is what `start` makes, again after each crash.
    pub fn add<P>(&mut self, name: &str, connections: &Connections, start: impl Fn() -> P + 'static)
    where
        P: Future<Output = turmoil::Result> + 'static,
    {
        self.sim.host(name, start);
        self.connections.insert(name.to_owned(), connections.clone());
    }

    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// One tick of everything. Whether what ends by itself has ended.
    pub fn step(&mut self) -> Result<bool, String> {
        let now = SignedDuration::try_from(self.sim.elapsed()).expect("minutes");
        self.server.clock.set(noon() + now + self.clock_error);
        let is_through = self.sim.step().map_err(|error| error.to_string())?;
        if self.server.has_stopped.take() {
            self.end_process(SERVER);
        }
        Ok(is_through)
    }

    pub fn begin(&mut self, planned: &PlannedFault) {
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
                self.server.stops.send_modify(|stops| *stops += 1);
                self.down_until.insert(SERVER.to_owned(), until);
            }
            Fault::StepClock { by } => self.clock_error = *by,
        }
    }

    pub fn end(&mut self, fault: &Fault) {
        self.note(format_args!("ends: {fault:?}"));
        match fault {
            Fault::Slow { client, .. } => {
                let usual = self.latency_max;
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

    /// Everybody whom a link connects with the server.
    fn names(&self) -> Vec<String> {
        self.connections.keys().filter(|name| *name != SERVER).cloned().collect()
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

    pub fn start_what_is_down(&mut self) {
        let now = self.sim.elapsed();
        for (name, until) in self.down_until.clone() {
            if now >= until && !self.sim.is_host_running(name.as_str()) {
                self.note(format_args!("starts {name}"));
                self.sim.bounce(name.as_str());
                self.down_until.remove(&name);
            }
        }
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.book.note_at(self.sim.elapsed(), "simulation", what);
    }
}
