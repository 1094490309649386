//! The generator: what one seed makes of clients, network and server.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    faults::{self, PlannedFault},
    usage::{Event, Identity, Line, Message, Record, Report, Target},
};
use crate::support::{random::Random, server::noon};

/// Assets that batches report.
pub const ASSETS: usize = 5;
/// Faults begin within this time; afterwards everything is repaired.
pub const FAULTY_TIME: Duration = Duration::from_secs(10);
/// Usage is this old at least, so that no step of the clock puts it into the future.
const USAGE_AGE_MIN: SignedDuration = SignedDuration::from_mins(25);
/// And this much older at most, so that none puts it out of the hour that is accepted.
const USAGE_AGE_SPAN_SECONDS: usize = 300;

/// A report, and how it is sent.
#[derive(Debug, Clone)]
pub struct Order {
    pub report: Report,
    /// After so many failures nobody sends it any more; `None` for one that is sent until it is answered.
    pub gives_up_after: Option<u32>,
    /// What the client does before.
    pub pause: Duration,
    /// Every attempt goes out twice at once, over two connections.
    pub is_hedged: bool,
}

/// What a client sends: lanes run side by side, each one order after the other.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    pub name: String,
    pub lanes: Vec<Vec<Order>>,
    /// How long it waits for an answer.
    pub patience: Duration,
}

/// One seed, spelled out.
#[derive(Debug, Clone)]
pub struct Plan {
    pub clients: Vec<ClientPlan>,
    pub faults: Vec<PlannedFault>,
    /// From when it is sent until it arrives, at most, while nothing is wrong.
    pub latency_max: Duration,
    pub commit_time: Duration,
    /// Records that may wait in the server.
    pub queued_records_max: u32,
}

struct Generator {
    random: Random,
    next_uuid: u64,
    seed: u64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut generator = Generator { random: Random::new(seed), next_uuid: 0, seed };
        let clients = 2 + generator.random.below(3);
        let mut plan = Self {
            clients: (1..=clients).map(|number| generator.client(number)).collect(),
            faults: Vec::new(),
            latency_max: Duration::from_millis(generator.random.one_of(&[5, 20, 60, 150])),
            commit_time: Duration::from_millis(generator.random.one_of(&[0, 4, 20, 60])),
            // The smaller ones make the server refuse calls.
            queued_records_max: generator.random.one_of(&[20, 60, 65_536]),
        };
        generator.share(&mut plan.clients);
        let names: Vec<String> = plan.clients.iter().map(|client| client.name.clone()).collect();
        plan.faults = faults::plan(&mut generator.random, &names, FAULTY_TIME);
        plan
    }

    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.clients.iter().flat_map(|client| client.lanes.iter().flatten())
    }

    /// What must count in the end: somebody sends it until it is answered.
    pub fn certain(&self) -> BTreeSet<Identity> {
        let lasting = self.orders().filter(|order| order.gives_up_after.is_none());
        lasting.flat_map(|order| order.report.identities()).collect()
    }
}

impl Generator {
    fn percent(&mut self, chance: usize) -> bool {
        self.random.below(100) < chance
    }

    fn client(&mut self, number: usize) -> ClientPlan {
        let lanes = 1 + self.random.below(3);
        ClientPlan {
            name: format!("client-{number}"),
            lanes: (0..lanes).map(|_| self.lane()).collect(),
            patience: Duration::from_millis(self.random.one_of(&[300, 800, 2000])),
        }
    }

    fn lane(&mut self) -> Vec<Order> {
        let mut orders: Vec<Order> = Vec::new();
        for _ in 0..6 + self.random.below(12) {
            // Some clients send what they sent before, for no reason.
            let again = !orders.is_empty() && self.percent(8);
            let report =
                if again { self.random.one_of(&orders).report.clone() } else { self.report() };
            let gives_up = self.percent(10);
            let failures = 1 + self.random.below(2) as u32;
            orders.push(Order {
                report,
                gives_up_after: gives_up.then_some(failures),
                pause: Duration::from_millis(self.random.below(800) as u64),
                is_hedged: self.percent(15),
            });
        }
        orders
    }

    /// Lets some clients report what others report, too.
    fn share(&mut self, clients: &mut [ClientPlan]) {
        for _ in 0..self.random.below(6) {
            let from = self.random.below(clients.len());
            let to = self.random.below(clients.len());
            let lane = self.random.one_of(&clients[from].lanes);
            let order = self.random.one_of(&lane);
            let lanes = clients[to].lanes.len();
            let lane = &mut clients[to].lanes[self.random.below(lanes)];
            let place = self.random.below(lane.len() + 1);
            lane.insert(place, order);
        }
    }

    fn report(&mut self) -> Report {
        match self.random.below(10) {
            0..4 => Report::Write(self.message(25)),
            4 => {
                let mut message = self.message(25);
                self.retarget(&mut message, Target::Product("storage"));
                Report::Rest(message)
            }
            5..7 => {
                Report::Stream((0..1 + self.random.below(12)).map(|_| self.message(40)).collect())
            }
            7 => Report::Events((0..1 + self.random.below(20)).map(|_| self.event()).collect()),
            _ => self.batch(),
        }
    }

    fn message(&mut self, records_max: usize) -> Message {
        let target = self.random.one_of(&[
            Target::Product("storage"),
            Target::Product("storage"),
            Target::Instance("saas-1"),
            Target::Instance("saas-2"),
        ]);
        let count = 1 + self.random.below(records_max);
        let mut message = Message { target, records: Vec::new() };
        for _ in 0..count {
            let uuid = self.uuid();
            let quantity = 1 + self.random.below(1_000_000) as i64;
            message.records.push(Record { uuid, sku: "", quantity, time: self.time() });
        }
        self.retarget(&mut message, target);
        message
    }

    fn retarget(&mut self, message: &mut Message, target: Target) {
        message.target = target;
        for record in &mut message.records {
            record.sku = match target {
                Target::Product(_) => self.random.one_of(&["gb-hour", "requests"]),
                Target::Instance(_) => "seat",
            };
        }
    }

    fn event(&mut self) -> Event {
        Event {
            uuid: self.uuid(),
            template: self.random.one_of(&["/v1/things/{id}", "/v1/things"]),
            status: self.random.one_of(&[200, 201, 404, 500]),
            count: 1 + self.random.below(50) as i64,
            time: self.time(),
        }
    }

    fn batch(&mut self) -> Report {
        let line = |random: &mut Random| Line {
            asset: format!("asset-{}", random.below(ASSETS)),
            quantity: 1 + random.below(1000) as i32,
            date: random.one_of(&["2026-11-18", "2026-11-19", "2026-11-20"]),
        };
        let id = format!("batch-{}", self.uuid());
        let lines = (0..1 + self.random.below(15)).map(|_| line(&mut self.random)).collect();
        Report::Batch { id, lines }
    }

    /// Unlike any other of this seed.
    fn uuid(&mut self) -> Uuid {
        self.next_uuid += 1;
        Uuid::from_u64_pair(self.seed ^ (0x4000 << 48), self.next_uuid | (1 << 63))
    }

    fn time(&mut self) -> Timestamp {
        let age = self.random.below(USAGE_AGE_SPAN_SECONDS) as i64;
        noon() - USAGE_AGE_MIN - SignedDuration::from_secs(age)
    }
}
