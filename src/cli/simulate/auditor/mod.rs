//! Compares what the engine says and holds with the model, and keeps count.

mod answers;
mod api_usage;
mod assets;
mod held_reader;
mod invariant;
mod ledger;
mod maps;
mod reading;
mod records;
mod sums;
mod totals;

use std::collections::BTreeMap;

use super::{model::Model, plan::Plan, world::World};

pub(super) use self::{
    held_reader::HeldReader,
    invariant::{Invariant, Tally},
    ledger::Ledger,
    totals::Accounts,
};

/// Violations that are spelt out.
const VIOLATIONS_LISTED_MAX: usize = 20;

/// Every invariant: how often it was checked, and how often it did not hold.
#[derive(Debug)]
pub(super) struct Auditor {
    tallies: BTreeMap<Invariant, Tally>,
    violations: Vec<String>,
    accounts: Vec<Accounts>,
}

/// What is compared with what.
#[derive(Clone, Copy)]
pub(super) struct Books<'a> {
    pub(super) plan: &'a Plan,
    pub(super) model: &'a Model,
    pub(super) world: &'a World,
}

impl Auditor {
    pub(super) fn new(plan: &Plan) -> Self {
        let tallies = Invariant::ALL.iter().map(|invariant| (*invariant, Tally::default()));
        Self {
            tallies: tallies.collect(),
            violations: Vec::new(),
            accounts: totals::accounts(&plan.customers),
        }
    }

    /// Notes that something was looked at, and what it is if it is not as it must be.
    pub(super) fn check(
        &mut self,
        invariant: Invariant,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        let tally = self.tallies.entry(invariant).or_default();
        tally.checked += 1;
        if holds {
            return;
        }
        tally.violated += 1;
        if self.violations.len() < VIOLATIONS_LISTED_MAX {
            self.violations.push(format!("{invariant}: {}", what()));
        }
    }

    /// How often each invariant was checked, and did not hold.
    pub(super) fn tallies(&self) -> &BTreeMap<Invariant, Tally> {
        &self.tallies
    }

    /// The first violations.
    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }
}
