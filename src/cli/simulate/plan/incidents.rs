//! What goes wrong, and what changes, in which round.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{Account, Customer, PRODUCTS, ROUNDS_PER_DAY};
use crate::{
    cli::random::Random,
    domain::id::{OrganizationId, ProductInstanceId},
    store::sled::FaultPoint,
};

/// What a full disk, or a crash, strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::simulate) enum StruckCall {
    Product,
    ApiUsage,
    Batch,
    Catalog,
}

/// A write that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::simulate) struct Strike {
    pub(in crate::cli::simulate) call: StruckCall,
    /// Before anything is written, before it is flushed, or before anybody hears of it.
    pub(in crate::cli::simulate) point: FaultPoint,
}

/// What becomes of the engine in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::simulate) enum Incident {
    /// It is stopped and started.
    CleanRestart,
    /// It is abandoned: between calls, or in the middle of one.
    Crash(Option<Strike>),
    /// A write fails, and all that follow until there is room and it is started again.
    DiskFull(Strike),
}

/// A change of what may be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::simulate) enum CatalogStep {
    /// A product gets a new SKU.
    NewSku { product: &'static str },
    /// The second SKU of a product is retired, or is active again.
    SetSku { product: &'static str, active: bool },
    /// A product is retired, or is active again.
    SetProduct { product: &'static str, active: bool },
    /// Customers come.
    NewInstances { instances: Vec<(ProductInstanceId, &'static str)> },
    /// Customers go.
    RetireInstances { instances: Vec<ProductInstanceId> },
    /// An asset takes no more usage.
    RetireAsset,
}

/// The steps of all rounds, with whose catalog they change.
type CatalogSteps = BTreeMap<u64, Vec<(OrganizationId, CatalogStep)>>;

/// How often each happens in 31 days; each at least once.
const CLEAN_RESTARTS: u64 = 4;
const IDLE_CRASHES: u64 = 2;
const STRUCK_CRASHES: u64 = 4;
const DISK_FULL: u64 = 4;
const CLOCK_STEPS: u64 = 8;

/// By how much a server's clock is set wrong, in seconds.
const CLOCK_STEPS_SECONDS: [i64; 10] =
    [-20, 25, -240, 420, -1_500, 1_800, -3_900, 4_500, -14_400, 90_000];

/// Every round's incidents.
#[derive(Debug)]
pub(in crate::cli::simulate) struct Incidents {
    incidents: BTreeMap<u64, Incident>,
    /// By how much the server's clock is wrong from a round on.
    clock: BTreeMap<u64, SignedDuration>,
    catalog: CatalogSteps,
}

impl Incidents {
    /// Draws the incidents of so many days.
    pub(super) fn plan(
        random: &mut Random,
        days: u32,
        organizations: &[OrganizationId],
        customers: &[Customer],
    ) -> Self {
        let rounds = u64::from(days) * ROUNDS_PER_DAY;
        let often = |in_a_month: u64| (in_a_month * u64::from(days) / 31).max(1);
        let mut incidents = BTreeMap::new();
        let mut place = |random: &mut Random, incident: Incident| {
            // There are far more rounds than incidents, so this ends soon.
            let mut round = 1 + random.below(rounds - 1);
            while incidents.contains_key(&round) {
                round = 1 + random.below(rounds - 1);
            }
            incidents.insert(round, incident);
        };
        for _ in 0..often(CLEAN_RESTARTS) {
            place(random, Incident::CleanRestart);
        }
        for _ in 0..often(IDLE_CRASHES) {
            place(random, Incident::Crash(None));
        }
        for _ in 0..often(STRUCK_CRASHES) {
            let strike = strike(random);
            place(random, Incident::Crash(Some(strike)));
        }
        for _ in 0..often(DISK_FULL) {
            let strike = strike(random);
            place(random, Incident::DiskFull(strike));
        }
        let clock = clock(random, rounds, often(CLOCK_STEPS), &incidents);
        let catalog = catalog(random, rounds, organizations, customers);
        Self { incidents, clock, catalog }
    }

    /// What happens to the engine in a round.
    pub(in crate::cli::simulate) fn of_round(&self, round: u64) -> Option<Incident> {
        self.incidents.get(&round).copied()
    }

    /// By how much the server's clock is wrong from a round on, if that changes with it.
    pub(in crate::cli::simulate) fn clock_step(&self, round: u64) -> Option<SignedDuration> {
        self.clock.get(&round).copied()
    }

    /// What changes in the catalogs before a round.
    pub(in crate::cli::simulate) fn catalog_steps(
        &self,
        round: u64,
    ) -> &[(OrganizationId, CatalogStep)] {
        self.catalog.get(&round).map_or(&[], Vec::as_slice)
    }
}

fn strike(random: &mut Random) -> Strike {
    use FaultPoint::{CatalogWrite, CommitFlush, CommitPublish, CommitWrite};
    let call = random.pick(&[
        StruckCall::Product,
        StruckCall::Product,
        StruckCall::ApiUsage,
        StruckCall::Batch,
        StruckCall::Catalog,
    ]);
    let point = match call {
        StruckCall::Catalog => CatalogWrite,
        _ => random.pick(&[CommitWrite, CommitFlush, CommitPublish]),
    };
    Strike { call, point }
}

/// Steps of the server's clock, each undone after a round or some. Not where a write fails: what is sent again then must
/// not be too old meanwhile.
fn clock(
    random: &mut Random,
    rounds: u64,
    steps: u64,
    incidents: &BTreeMap<u64, Incident>,
) -> BTreeMap<u64, SignedDuration> {
    let mut clock = BTreeMap::new();
    for _ in 0..steps {
        let from = 1 + random.below(rounds - 1);
        let until = from + 1 + random.below(3);
        let strikes = |round: u64| {
            matches!(incidents.get(&round), Some(Incident::DiskFull(_) | Incident::Crash(Some(_))))
        };
        let is_free = (from..=until).all(|round| !clock.contains_key(&round) && !strikes(round));
        if is_free && until < rounds {
            let seconds = random.pick(&CLOCK_STEPS_SECONDS);
            clock.insert(from, SignedDuration::from_secs(seconds));
            clock.insert(until, SignedDuration::ZERO);
        }
    }
    clock
}

fn catalog(
    random: &mut Random,
    rounds: u64,
    organizations: &[OrganizationId],
    customers: &[Customer],
) -> CatalogSteps {
    let mut steps = CatalogSteps::new();
    for organization in organizations {
        let mut step = |round: u64, step: CatalogStep| {
            steps.entry(round).or_default().push((organization.clone(), step));
        };
        for product in PRODUCTS {
            step(1 + random.below(rounds - 1), CatalogStep::NewSku { product });
            let retired = 1 + random.below(rounds - 1);
            step(retired, CatalogStep::SetSku { product, active: false });
            if random.below(2) == 0 && retired + 1 < rounds {
                let back = retired + 1 + random.below(rounds - retired - 1);
                step(back, CatalogStep::SetSku { product, active: true });
            }
        }
        let product = random.pick(&PRODUCTS);
        let closed = 1 + random.below(rounds - 1);
        step(closed, CatalogStep::SetProduct { product, active: false });
        step(closed + 1 + random.below(5), CatalogStep::SetProduct { product, active: true });
        step(1 + random.below(rounds - 1), CatalogStep::RetireAsset);
        for (round, instances) in joining(organization, customers) {
            step(round, CatalogStep::NewInstances { instances });
        }
        for (round, instances) in leaving(organization, customers) {
            step(round, CatalogStep::RetireInstances { instances });
        }
    }
    steps
}

fn joining(
    organization: &OrganizationId,
    customers: &[Customer],
) -> BTreeMap<u64, Vec<(ProductInstanceId, &'static str)>> {
    let mut by_round: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for customer in customers.iter().filter(|customer| customer.organization == *organization) {
        if let (Account::Instance(instance), 1..) = (&customer.account, customer.joins) {
            let joining = (instance.clone(), customer.product);
            by_round.entry(customer.joins).or_default().push(joining);
        }
    }
    by_round
}

fn leaving(
    organization: &OrganizationId,
    customers: &[Customer],
) -> BTreeMap<u64, Vec<ProductInstanceId>> {
    let mut by_round: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for customer in customers.iter().filter(|customer| customer.organization == *organization) {
        if let (Account::Instance(instance), Some(round)) = (&customer.account, customer.leaves) {
            by_round.entry(round).or_default().push(instance.clone());
        }
    }
    by_round
}
