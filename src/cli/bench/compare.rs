//! The same load in several ways, one after the other and all of them again, so that what the machine does meanwhile meets
//! all of them. What is worth telling is their ratios.

use std::path::Path;

use serde::Serialize;

use super::{
    load::{Interrupted, Load, Target},
    options::{Mode, Workload},
    report::Outcome,
    server_process::{ServerKind, ServerProcess},
    temporary_directory,
};
use crate::cli::{
    CommandError, CommandResult,
    output::{grouped, table},
    terminal::tell,
};

/// A way to report, and a server to report to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) name: &'static str,
    mode: Mode,
    noop: bool,
}

const NOOP_UNARY: Case = Case { name: "no-op unary", mode: Mode::Unary, noop: true };
const UNARY: Case = Case { name: "unary", mode: Mode::Unary, noop: false };
const NOOP_STREAM: Case = Case { name: "no-op stream", mode: Mode::Stream, noop: true };
const STREAM: Case = Case { name: "stream", mode: Mode::Stream, noop: false };
const REST: Case = Case { name: "REST", mode: Mode::Rest, noop: false };

/// In the order of each round.
const CASES: [Case; 5] = [NOOP_UNARY, UNARY, NOOP_STREAM, STREAM, REST];
/// What is divided by what.
const RATIOS: [(Case, Case); 4] =
    [(UNARY, NOOP_UNARY), (STREAM, NOOP_STREAM), (REST, UNARY), (STREAM, UNARY)];

/// All rounds.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) cases: Vec<CaseOutcomes>,
    ratios: Vec<Ratio>,
}

/// One way, an outcome for each round.
#[derive(Debug, Serialize)]
pub(super) struct CaseOutcomes {
    name: &'static str,
    pub(super) outcomes: Vec<Outcome>,
}

/// Of two throughputs of the same round.
#[derive(Debug, Serialize)]
struct Ratio {
    name: &'static str,
    to: &'static str,
    #[serde(flatten)]
    spread: Spread,
}

/// The middle, the least and the greatest of what the rounds gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of at least one number.
    fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.get(numbers.len() / 2)?;
        let below = numbers.get((numbers.len() - 1) / 2)?;
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        Some(Self { median: (middle + below) / 2.0, min, max })
    }
}

impl Comparison {
    /// Each run has a server of its own, on a new data directory below `parent`.
    pub(super) async fn run(
        workload: Workload,
        repeats: u32,
        parent: Option<&Path>,
        serve: &[String],
        interrupted: &Interrupted,
    ) -> CommandResult<Self> {
        let mut cases: Vec<CaseOutcomes> = CASES
            .iter()
            .map(|case| CaseOutcomes { name: case.name, outcomes: Vec::new() })
            .collect();
        'rounds: for round in 1..=repeats {
            for (case, outcomes) in CASES.iter().zip(&mut cases) {
                tell(format_args!("round {round} of {repeats}: {}", case.name));
                let outcome = case.run(workload, parent, serve, interrupted).await?;
                if outcome.interrupted {
                    // Half a run is not to be compared with whole ones.
                    break 'rounds;
                }
                tell(format_args!(
                    "  {} records/s",
                    grouped(outcome.throughput.records_per_second as u64)
                ));
                outcomes.outcomes.push(outcome);
            }
        }
        let ratios = RATIOS.iter().filter_map(|(case, to)| {
            let of = |wanted: &Case| cases.iter().find(|case| case.name == wanted.name);
            let rounds = of(case)?.throughputs().zip(of(to)?.throughputs());
            let spread = Spread::of(rounds.map(|(one, other)| one / other.max(1.0)).collect())?;
            Some(Ratio { name: case.name, to: to.name, spread })
        });
        let ratios = ratios.collect();
        Ok(Self { cases, ratios })
    }

    pub(super) fn text(&self) -> String {
        let columns =
            ["", "records/s", "min", "max", "p50 ms", "p99 ms", "server CPU s/million", "runs"];
        let right = columns.get(1..).unwrap_or_default();
        let mut rows = table::table(&columns, right);
        let whole = |number: f64| grouped(number.round() as u64);
        for case in &self.cases {
            let Some(spread) = Spread::of(case.throughputs().collect()) else { continue };
            let of = |read: fn(&Outcome) -> Option<f64>| {
                let spread = Spread::of(case.outcomes.iter().filter_map(read).collect());
                spread.map(|spread| format!("{:.2}", spread.median)).unwrap_or_default()
            };
            rows.add_row([
                case.name.to_owned(),
                whole(spread.median),
                whole(spread.min),
                whole(spread.max),
                of(|outcome| Some(outcome.latency_ms.p50)),
                of(|outcome| Some(outcome.latency_ms.p99)),
                of(|outcome| outcome.server.as_ref()?.cpu_seconds_per_million_records),
                case.outcomes.len().to_string(),
            ]);
        }
        let mut text = table::render(&rows);
        let columns = ["ratio of records/s", "median", "min", "max"];
        let mut rows = table::table(&columns, columns.get(1..).unwrap_or_default());
        for Ratio { name, to, spread } in &self.ratios {
            let number = |number: f64| format!("{number:.3}");
            rows.add_row([
                format!("{name} / {to}"),
                number(spread.median),
                number(spread.min),
                number(spread.max),
            ]);
        }
        text.push_str(&table::render(&rows));
        text
    }
}

impl CaseOutcomes {
    fn throughputs(&self) -> impl Iterator<Item = f64> {
        self.outcomes.iter().map(|outcome| outcome.throughput.records_per_second)
    }
}

impl Case {
    async fn run(
        self,
        workload: Workload,
        parent: Option<&Path>,
        serve: &[String],
        interrupted: &Interrupted,
    ) -> CommandResult<Outcome> {
        let mut workload = workload.in_mode(self.mode);
        let directory = temporary_directory(parent)?;
        let data_dir = directory.path().to_owned();
        let (kind, data_dir) = if self.noop {
            // It would call nothing a duplicate, and keeps nothing.
            workload.shape.duplicates_percent = 0;
            workload.stored = 0;
            (ServerKind::Noop, None)
        } else {
            let arguments = serve.to_vec();
            (ServerKind::Meterd { data_dir: data_dir.clone(), arguments }, Some(data_dir))
        };
        let target = Target::Started { process: ServerProcess::start(&kind).await?, data_dir };
        let mut load = Load::prepare(workload, target, interrupted).await?;
        let outcome = load.run(None).await?;
        load.close().await?;
        let failed = outcome.verdicts.records == 0 && !outcome.interrupted;
        if failed {
            return Err(CommandError::failed(format!("{}: no call was answered", self.name)));
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_all_rounds() {
        let of = |numbers: &[f64]| Spread::of(numbers.to_vec());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
