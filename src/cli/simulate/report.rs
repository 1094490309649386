//! What came of a simulation, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    auditor::{Invariant, Tally},
    figures::Figures,
    plan::{Plan, ZONES, clock_changes, zone},
    simulation::Simulation,
};
use crate::cli::output::{grouped, table};

/// The invariant report. But for the time it took it is the same for the same seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outcome {
    pub(super) result: &'static str,
    pub(super) seed: u64,
    pub(super) days: u32,
    pub(super) customers: u32,
    pub(super) organizations: usize,
    /// The first day.
    pub(super) start: String,
    /// In how many zones customers live, and how often clocks are set there.
    pub(super) zones: usize,
    pub(super) clock_changes: usize,
    pub(super) simulated: Figures,
    pub(super) invariants: Vec<Line>,
    pub(super) violations: u64,
    /// The first of them.
    pub(super) examples: Vec<String>,
    /// What kept the simulation from going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
    pub(super) wall_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) invariant: &'static str,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

impl Outcome {
    pub(super) fn new(
        simulation: &Simulation,
        completed: anyhow::Result<()>,
        elapsed: Duration,
    ) -> Self {
        let auditor = &simulation.auditor;
        let line = |(invariant, tally): (&Invariant, &Tally)| Line {
            invariant: invariant.text(),
            tally: *tally,
        };
        let violations = auditor.tallies().values().map(|tally| tally.violated).sum();
        let Plan { size, period, organizations, customers, .. } = &simulation.plan;
        let lived_in: BTreeMap<&str, usize> = ZONES
            .iter()
            .filter(|name| customers.iter().any(|customer| customer.zone == **name))
            .filter_map(|name| Some((*name, clock_changes(&zone(name).ok()?, period).len())))
            .collect();
        Self {
            result: if violations == 0 && completed.is_ok() { "PASS" } else { "FAIL" },
            seed: size.seed,
            days: size.days,
            customers: size.customers,
            organizations: organizations.len(),
            start: period.start.to_zoned(TimeZone::UTC).date().to_string(),
            zones: lived_in.len(),
            clock_changes: lived_in.values().sum(),
            simulated: simulation.figures.clone(),
            invariants: auditor.tallies().iter().map(line).collect(),
            violations,
            examples: auditor.violations().to_vec(),
            stopped: completed.err().map(|error| format!("{error:#}")),
            wall_seconds: elapsed.as_secs_f64(),
        }
    }

    /// Whether it came to its end and every invariant held.
    pub(super) fn has_passed(&self) -> bool {
        self.violations == 0 && self.stopped.is_none()
    }

    /// Two tables, the violations, and the result.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "days: {} from {}, customers: {}, organizations: {}, time zones: {}, clock changes: {}\n",
            self.days,
            self.start,
            grouped(self.customers),
            self.organizations,
            self.zones,
            self.clock_changes
        );
        let mut rows = table::table(&["simulated", "", "count"], &["count"]);
        for (section, counts) in self.simulated.sections() {
            let mut shown = section;
            for (name, count) in counts {
                rows.add_row([shown.to_owned(), name.clone(), grouped(*count)]);
                shown = "";
            }
        }
        text.push_str(&table::render(&rows));
        let mut rows =
            table::table(&["invariant", "checked", "violated"], &["checked", "violated"]);
        for Line { invariant, tally } in &self.invariants {
            rows.add_row([
                (*invariant).to_owned(),
                grouped(tally.checked),
                grouped(tally.violated),
            ]);
        }
        text.push_str(&table::render(&rows));
        for example in &self.examples {
            let _ = writeln!(text, "violated: {example}");
        }
        let hidden = self.violations.saturating_sub(self.examples.len() as u64);
        if hidden > 0 {
            let _ = writeln!(text, "and {} more", grouped(hidden));
        }
        if let Some(why) = &self.stopped {
            let _ = writeln!(text, "stopped {why}");
        }
        let _ = writeln!(text, "took {:.1} s", self.wall_seconds);
        let _ = writeln!(text, "{} seed={}", self.result, self.seed);
        text
    }
}
