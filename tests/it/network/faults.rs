//! What goes wrong: planned by the generator, and done to the simulation.

use std::time::Duration;

use jiff::SignedDuration;

use crate::support::random::Random;

/// Furthest that steps take the server's clock from where it should be.
const CLOCK_ERROR_MAX: SignedDuration = SignedDuration::from_mins(20);

/// One thing that goes wrong. Links are those between a client and the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Segments take up to so long; they overtake one another, and TCP puts them in order again.
    Slow {
        client: String,
        latency_max: Duration,
    },
    /// Each segment may take the link down until a later one repairs it. What is lost is never sent again, so
    /// connections over it are dead without a word.
    Lossy {
        client: String,
        rate: f64,
    },
    /// Nothing passes, and what is under way is lost.
    Cut {
        client: String,
    },
    /// The server hears nothing more of the client, which still hears the server.
    CutToServer {
        client: String,
    },
    /// The client hears nothing more of the server, which still hears the client.
    CutFromServer {
        client: String,
    },
    /// Everything waits in the network, to arrive later all at once: long after clients gave it up and sent it again.
    Hold {
        client: String,
    },
    /// The process dies; its system closes the connections.
    KillClient {
        client: String,
    },
    /// The machine dies, and nobody is told: connections are half open.
    PowerOffClient {
        client: String,
    },
    /// As with clients. What waited for its commit is gone; what was committed stays, though nobody may have heard.
    KillServer,
    PowerOffServer,
    /// The server is asked to stop, drains, and is started again.
    RestartServer,
    /// The server's clock is wrong by so much.
    StepClock {
        by: SignedDuration,
    },
}

impl Fault {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow link",
            Self::Lossy { .. } => "lossy link",
            Self::Cut { .. } => "partition",
            Self::CutToServer { .. } => "one-way partition to the server",
            Self::CutFromServer { .. } => "one-way partition from the server",
            Self::Hold { .. } => "held link",
            Self::KillClient { .. } => "client killed",
            Self::PowerOffClient { .. } => "client without power",
            Self::KillServer => "server killed",
            Self::PowerOffServer => "server without power",
            Self::RestartServer => "server restarted",
            Self::StepClock { .. } => "clock stepped",
        }
    }
}

/// A fault, from when, and for how long.
#[derive(Debug, Clone)]
pub struct PlannedFault {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

/// Faults that begin within some time.
pub fn plan(random: &mut Random, clients: &[String], within: Duration) -> Vec<PlannedFault> {
    let mut faults: Vec<PlannedFault> = (0..3 + random.below(10))
        .map(|_| PlannedFault {
            at: Duration::from_millis(random.below(within.as_millis() as usize) as u64),
            lasts: Duration::from_millis(50 + random.below(3000) as u64),
            fault: fault(random, clients),
        })
        .collect();
    faults.sort_by_key(|planned| planned.at);
    faults
}

fn fault(random: &mut Random, clients: &[String]) -> Fault {
    let client = random.one_of(clients);
    match random.below(14) {
        0 => Fault::Slow {
            client,
            latency_max: Duration::from_millis(200 + random.below(1500) as u64),
        },
        1 | 2 => Fault::Lossy { client, rate: random.one_of(&[0.01, 0.05, 0.2]) },
        3 => Fault::Cut { client },
        4 => Fault::CutToServer { client },
        5 => Fault::CutFromServer { client },
        6 | 7 => Fault::Hold { client },
        8 => Fault::KillClient { client },
        9 => Fault::PowerOffClient { client },
        10 => Fault::KillServer,
        11 => Fault::PowerOffServer,
        12 => Fault::RestartServer,
        _ => {
            let furthest = CLOCK_ERROR_MAX.as_secs();
            let error = random.below(2 * furthest as usize) as i64 - furthest;
            Fault::StepClock { by: SignedDuration::from_secs(error) }
        }
    }
}
