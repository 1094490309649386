//! What a seed decides beforehand: when, who, and what goes wrong when.

mod calendar;
mod customers;
mod incidents;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::random::{Random, mixed},
    domain::id::OrganizationId,
};

pub(super) use self::{
    calendar::{Period, ZONES, clock_changes, zone},
    customers::{ASSETS, Account, Customer, LEAVING_ASSET, PRODUCTS, agent, skus_of},
    incidents::{CatalogStep, Incident, Incidents, Strike, StruckCall},
};

/// Rounds of calls in a simulated day.
pub(super) const ROUNDS_PER_DAY: u64 = 24;

/// Both sell the same products to customers of the same names, through clients of the same names.
const ORGANIZATIONS: [&str; 2] = ["northwind", "contoso"];

/// How far into its hour a round may take place.
const ROUND_JITTER_MINUTES: u64 = 40;

/// The size of a simulation, and the seed that decides the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) days: u32,
    pub(super) customers: u32,
}

/// Everything that is known beforehand.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) size: Size,
    pub(super) period: Period,
    pub(super) organizations: Vec<OrganizationId>,
    pub(super) customers: Vec<Customer>,
    pub(super) incidents: Incidents,
    /// Uuids that the store keeps in memory: few, so that runs are written and merged all the time.
    pub(super) memtable_keys: usize,
    /// Rows of totals that the store keeps in memory.
    pub(super) rollup_rows: usize,
}

impl Plan {
    /// Makes the plan of a seed.
    pub(super) fn new(size: Size) -> anyhow::Result<Self> {
        let mut random = Random::new(mixed(size.seed ^ 0x7031_616e));
        let period = Period::choose(&mut random, size.days)?;
        let organizations = ORGANIZATIONS
            .iter()
            .map(|name| OrganizationId::new(name))
            .collect::<Result<Vec<_>, _>>()
            .context("an organization has no proper name")?;
        let rounds = u64::from(size.days) * ROUNDS_PER_DAY;
        let zone = period.changing_zone;
        let customers =
            customers::invent(&mut random, size.customers, &organizations, zone, rounds)?;
        let incidents = Incidents::plan(&mut random, size.days, &organizations, &customers);
        // Some sixty flushes in all, whatever the size.
        let records = u64::from(size.days) * u64::from(size.customers) * ROUNDS_PER_DAY;
        let memtable_keys = usize::try_from(records / 60).unwrap_or(usize::MAX);
        Ok(Self {
            size,
            period,
            organizations,
            customers,
            incidents,
            memtable_keys: memtable_keys.clamp(200, 50_000),
            rollup_rows: memtable_keys.clamp(150, 30_000),
        })
    }

    /// How many rounds there are.
    pub(super) fn rounds(&self) -> u64 {
        u64::from(self.size.days) * ROUNDS_PER_DAY
    }

    /// When a round takes place, by a clock that is right. Ascends with the rounds.
    pub(super) fn time_of(&self, round: u64) -> Timestamp {
        let random = mixed(self.size.seed ^ mixed(round));
        let minutes = random % ROUND_JITTER_MINUTES;
        let nanoseconds = mixed(random) % 1_000_000_000;
        let into_hour = SignedDuration::from_mins(i64::try_from(minutes).unwrap_or_default())
            + SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or_default());
        let hours = SignedDuration::from_hours(i64::try_from(round).unwrap_or_default());
        self.period.start.saturating_add(hours + into_hour).unwrap_or(self.period.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_a_clock_change_and_some_of_everything_that_goes_wrong() {
        for seed in 0..200 {
            for days in [1, 9, 28, 30, 31, 90] {
                let plan = Plan::new(Size { seed, days, customers: 28 }).unwrap();
                let changes = |name: &str| clock_changes(&zone(name).unwrap(), &plan.period).len();
                let lived_in = plan.customers.iter().any(|customer| changes(customer.zone) > 0);
                assert!(lived_in, "seed {seed}, {days} days");
                let rounds: Vec<_> = (0..plan.rounds()).map(|round| plan.time_of(round)).collect();
                assert!(rounds.is_sorted_by(|a, b| a < b), "seed {seed}");
                let has = |wanted: fn(&Incident) -> bool| {
                    (0..plan.rounds())
                        .filter_map(|round| plan.incidents.of_round(round))
                        .any(|incident| wanted(&incident))
                };
                assert!(has(|incident| matches!(incident, Incident::CleanRestart)));
                assert!(has(|incident| matches!(incident, Incident::Crash(None))));
                assert!(has(|incident| matches!(incident, Incident::Crash(Some(_)))));
                assert!(has(|incident| matches!(incident, Incident::DiskFull(_))));
            }
        }
    }
}
