//! Latency over throughput: open loops at parts of what a closed loop reaches.

use serde::Serialize;

use super::{load::Load, report::Outcome};
use crate::cli::{
    CommandResult,
    output::{grouped, table},
    terminal::tell,
};

/// The closed loop, and an open loop at each part of its throughput.
#[derive(Debug, Serialize)]
pub(super) struct Sweep {
    pub(super) closed: Outcome,
    pub(super) open: Vec<Step>,
}

/// An open loop.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) percent: u8,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

impl Sweep {
    /// Runs one after the other against the same server. An interrupted run is the last.
    pub(super) async fn run(load: &mut Load, percents: &[u8]) -> CommandResult<Self> {
        tell("closed loop");
        let closed = load.run(None).await?;
        let most = closed.throughput.records_per_second;
        let mut sweep = Self { closed, open: Vec::new() };
        for percent in percents {
            if sweep.outcomes().any(|outcome| outcome.interrupted) {
                break;
            }
            let rate = (most * f64::from(*percent) / 100.0).max(1.0);
            tell(format_args!("{percent} %: {} records/s", grouped(rate as u64)));
            let outcome = load.run(Some(rate)).await?;
            sweep.open.push(Step { percent: *percent, outcome });
        }
        Ok(sweep)
    }

    /// All runs.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        std::iter::once(&self.closed).chain(self.open.iter().map(|step| &step.outcome))
    }

    /// The closed loop as it is reported alone, and a row for each step.
    pub(super) fn text(&self) -> String {
        let columns = ["load", "intended/s", "records/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
        let mut rows = table::table(&columns, &columns);
        for Step { percent, outcome } in &self.open {
            let latency = &outcome.latency_ms;
            let whole = |number: f64| grouped(number.round() as u64);
            let mut row = vec![
                format!("{percent} %"),
                whole(outcome.rate_records_per_second.unwrap_or_default()),
                whole(outcome.throughput.records_per_second),
            ];
            let milliseconds = [latency.p50, latency.p99, latency.p99_9, latency.max];
            row.extend(milliseconds.map(|value| format!("{value:.3}")));
            rows.add_row(row);
        }
        format!(
            "{}\nopen loops, in parts of that throughput\n{}",
            self.closed.text(),
            table::render(&rows)
        )
    }
}
