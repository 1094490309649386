//! A simulation: round by round, clients call, things go wrong, and everything is compared.

mod catalog;
mod episodes;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::{
    auditor::{Auditor, Books, HeldReader, Invariant},
    clients::{Call, Clients, Moment},
    figures::Figures,
    model::Model,
    plan::{Incident, Plan, ROUNDS_PER_DAY},
    world::{Ending, World, Wrap},
};
use crate::store::sled::verify;

/// How long after the last round clients give up calling again: they have all been answered then.
const LAST_CALLS: SignedDuration = SignedDuration::from_mins(5);

/// Everything that a simulation has.
pub(super) struct Simulation {
    pub(super) plan: Plan,
    pub(super) world: World,
    pub(super) model: Model,
    clients: Clients,
    pub(super) auditor: Auditor,
    pub(super) figures: Figures,
    /// By how much the server's clock is wrong.
    clock_error: SignedDuration,
    /// How often it has crashed.
    crashes: u64,
    /// Whether the engine was ended for good.
    is_over: bool,
    /// A query that is under way while clients call.
    held: Option<HeldReader>,
}

impl Simulation {
    /// Starts the engine on an empty directory, and sells what is sold at the beginning.
    pub(super) fn new(
        plan: Plan,
        data_dir: &Path,
        wrap: Wrap,
        interrupted: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let world = World::new(&plan, data_dir, wrap, interrupted)?;
        let simulation = Self {
            model: Model::new(&plan),
            clients: Clients::new(&plan),
            auditor: Auditor::new(&plan),
            figures: Figures::default(),
            clock_error: SignedDuration::ZERO,
            crashes: 0,
            is_over: false,
            held: None,
            plan,
            world,
        };
        for organization in simulation.plan.organizations.clone() {
            simulation.open_for_business(&organization)?;
        }
        Ok(simulation)
    }

    /// Simulates one day.
    pub(super) fn day(&mut self, day: u32) -> anyhow::Result<()> {
        let first = u64::from(day) * ROUNDS_PER_DAY;
        for round in first..first + ROUNDS_PER_DAY {
            self.round(round).with_context(|| format!("in round {round}, day {}", day + 1))?;
        }
        let truth = self.plan.time_of(first + ROUNDS_PER_DAY - 1);
        self.close_of_day(day, truth).with_context(|| format!("at the end of day {}", day + 1))
    }

    fn round(&mut self, round: u64) -> anyhow::Result<()> {
        let truth = self.plan.time_of(round);
        if let Some(error) = self.plan.incidents.clock_step(round) {
            let is_forward = error > self.clock_error;
            let name = if is_forward { "clock set forward" } else { "clock set back" };
            self.figures.count("server", name, 1);
            self.clock_error = error;
        }
        self.set_clock(truth);
        for (organization, step) in self.plan.incidents.catalog_steps(round).to_vec() {
            self.change_catalog(&organization, &step)?;
        }
        let incident = self.plan.incidents.of_round(round);
        let is_fresh = matches!(incident, Some(Incident::DiskFull(_) | Incident::Crash(Some(_))));
        let at = Moment { round, truth, server: self.world.now(), is_fresh };
        let calls = self.clients.calls(at, &self.model, &mut self.figures)?;
        if incident.is_some() {
            // The engine does not close before its readers are done.
            self.end_held_reader()?;
        } else if self.held.is_none() {
            self.begin_held_reader(round)?;
        }
        match incident {
            None => self.make(&calls)?,
            Some(Incident::CleanRestart) => {
                self.make(&calls)?;
                self.restart(Ending::Clean)?;
            }
            Some(Incident::Crash(None)) => {
                self.make(&calls)?;
                self.restart(Ending::Abandoned)?;
            }
            Some(Incident::Crash(Some(strike))) => {
                self.make(&calls)?;
                self.crash_in_a_write(strike, at)?;
            }
            Some(Incident::DiskFull(strike)) => self.disk_full(strike, at, calls)?,
        }
        let (auditor, books) = self.audit();
        auditor.visible(books)
    }

    /// Makes calls and compares what is answered.
    fn make(&mut self, calls: &[Call]) -> anyhow::Result<()> {
        let answers = self.world.send_all(calls)?;
        let now = self.world.now();
        for (call, answer) in calls.iter().zip(&answers) {
            let expected = self.model.decide(call, now).context("nobody's call")?;
            self.auditor.answer(call, &expected, answer, &mut self.figures);
        }
        Ok(())
    }

    /// Begins a query that goes on until something happens to the engine, or the day is over.
    fn begin_held_reader(&mut self, round: u64) -> anyhow::Result<()> {
        let organizations = &self.plan.organizations;
        let place = usize::try_from(round).unwrap_or_default() % organizations.len().max(1);
        let organization = organizations.get(place).context("no organization")?.clone();
        let (_, books) = self.audit();
        self.held = HeldReader::begin(books, &organization)?;
        if self.held.is_some() {
            self.figures.count("server", "queries held while clients call", 1);
        }
        Ok(())
    }

    fn end_held_reader(&mut self) -> anyhow::Result<()> {
        match self.held.take() {
            Some(held) => self.auditor.held_reader(held),
            None => Ok(()),
        }
    }

    /// Whoever compares, and what.
    fn audit(&mut self) -> (&mut Auditor, Books<'_>) {
        let Self { plan, model, world, auditor, .. } = self;
        (auditor, Books { plan, model, world })
    }

    fn set_clock(&mut self, truth: Timestamp) {
        self.world.set_clock(truth.saturating_add(self.clock_error).unwrap_or(truth));
    }

    /// What is cheap enough for every day.
    fn close_of_day(&mut self, day: u32, truth: Timestamp) -> anyhow::Result<()> {
        self.end_held_reader()?;
        let (auditor, books) = self.audit();
        auditor.recent_sums(books)?;
        auditor.recent_days(books, day as usize)?;
        auditor.recent_batches(books)?;
        auditor.recent_api_usage(books, truth)
    }

    /// Has everybody who lost an answer call again, compares all there is, and ends the engine.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let last = self.plan.time_of(self.plan.rounds() - 1);
        self.set_clock(last.saturating_add(LAST_CALLS).unwrap_or(last));
        let outstanding = self.clients.outstanding();
        self.figures.count("clients", "calls made again", outstanding.len());
        self.make(&outstanding)?;
        self.restart(Ending::Clean)?;
        let (auditor, books) = self.audit();
        let doubts = books.model.doubts();
        auditor.check(Invariant::CountedOnce, doubts == 0, || {
            format!("{doubts} records are still in doubt")
        });
        auditor.sums(books, Invariant::Exact)?;
        let ledger = auditor.listings(books)?;
        auditor.listings_of_customers(books)?;
        auditor.invoices(books, &ledger)?;
        auditor.hours(books)?;
        auditor.all_api_usage(books)?;
        auditor.asset_totals(books)?;
        self.world.end(Ending::Clean)?;
        self.is_over = true;
        self.verify()
    }

    /// Recounts the closed store from its log.
    fn verify(&mut self) -> anyhow::Result<()> {
        let report = verify(self.world.data_dir(), &mut |_| {}).context("cannot verify")?;
        self.auditor.check(Invariant::LogIsTruth, report.differences_count == 0, || {
            format!("{} differences: {:?}", report.differences_count, report.differences)
        });
        // What is in doubt may be there.
        if self.model.doubts() == 0 {
            let (kept, found) = (self.model.records(), report.records + report.api_events);
            self.auditor.check(Invariant::LogIsTruth, kept == found, || {
                format!("the log has {found} records and events, {kept} were accepted")
            });
        }
        if self.is_over {
            let kept = self.model.product.kept().len();
            self.figures.count("kept", "records", kept);
            let events = usize::try_from(report.api_events).unwrap_or(usize::MAX);
            self.figures.count("kept", "events of API usage", events);
            let batches = usize::try_from(report.batches).unwrap_or(usize::MAX);
            self.figures.count("kept", "batches of asset usage", batches);
        }
        Ok(())
    }
}
