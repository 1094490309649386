//! The same load in several ways, one after the other and all of them again, so that what the machine does meanwhile meets
//! all of them. What is worth telling is their ratios.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    case::Circumstances,
    disk_probe::DiskProbe,
    ratio::{Ratio, Spread, ratios},
    report::Outcome,
};
use crate::cli::{
    CommandResult,
    output::{grouped, table},
    terminal::tell,
};

/// All rounds.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// The disk at the beginning of each round.
    disk: Vec<DiskProbe>,
    pub(super) cases: Vec<CaseOutcomes>,
    ratios: Vec<Ratio>,
}

/// One way, an outcome for each round.
#[derive(Debug, Serialize)]
pub(super) struct CaseOutcomes {
    pub(super) name: &'static str,
    pub(super) outcomes: Vec<Outcome>,
}

impl Comparison {
    pub(super) async fn run(repeats: u32, circumstances: Circumstances<'_>) -> CommandResult<Self> {
        let mut disk = Vec::new();
        let mut cases: Vec<CaseOutcomes> = circumstances
            .cases()
            .map(|case| CaseOutcomes { name: case.name, outcomes: Vec::new() })
            .collect();
        'rounds: for round in 1..=repeats {
            tell(format_args!("round {round} of {repeats}: {}", DiskProbe::NAME));
            let probe = DiskProbe::run(circumstances.parent, circumstances.interrupted).await?;
            if *circumstances.interrupted.borrow() {
                break;
            }
            tell(format_args!("  {} appends/s", whole(probe.appends_per_second)));
            disk.push(probe);
            for (case, outcomes) in circumstances.cases().zip(&mut cases) {
                tell(format_args!("round {round} of {repeats}: {}", case.name));
                let outcome = case.run(circumstances).await?;
                if outcome.interrupted {
                    // Half a run is not to be compared with whole ones.
                    break 'rounds;
                }
                tell(format_args!("  {} records/s", whole(outcome.throughput.records_per_second)));
                outcomes.outcomes.push(outcome);
            }
        }
        let ratios = ratios(&cases, &disk);
        Ok(Self { disk, cases, ratios })
    }

    /// Two tables, the middle of what the rounds gave and the ratios, and below them what is out of the ordinary.
    pub(super) fn text(&self) -> String {
        let columns =
            ["", "records/s", "min", "max", "p50 ms", "p99 ms", "server CPU s/million", "runs"];
        let mut rows = table::table(&columns, columns.get(1..).unwrap_or_default());
        rows.add_rows(self.disk_row());
        rows.add_rows(self.cases.iter().filter_map(CaseOutcomes::row));
        let mut text = table::render(&rows);
        let columns = ["ratio", "of", "median", "min", "max"];
        let mut rows = table::table(&columns, columns.get(2..).unwrap_or_default());
        for ratio in &self.ratios {
            let Spread { median, min, max } = ratio.spread;
            let numbers = [median, min, max].map(|number| format!("{number:.3}"));
            rows.add_row([ratio.name(), ratio.of.name().to_owned()].into_iter().chain(numbers));
        }
        text.push_str(&table::render(&rows));
        self.cases.iter().for_each(|case| case.notes(&mut text));
        text
    }

    /// It appends where the others report, so its row says so.
    fn disk_row(&self) -> Option<Vec<String>> {
        let appends = self.disk.iter().map(|probe| probe.appends_per_second);
        let mut row = vec![format!("{} (appends/s)", DiskProbe::NAME)];
        row.extend(per_second(Spread::of(appends.collect())?));
        row.push(median(self.disk.iter().map(|probe| probe.p50_ms)));
        row.push(median(self.disk.iter().map(|probe| probe.p99_ms)));
        row.extend([String::new(), self.disk.len().to_string()]);
        Some(row)
    }
}

impl CaseOutcomes {
    pub(super) fn throughputs(&self) -> impl Iterator<Item = f64> {
        self.outcomes.iter().map(|outcome| outcome.throughput.records_per_second)
    }

    fn row(&self) -> Option<Vec<String>> {
        let of = |read: fn(&Outcome) -> Option<f64>| median(self.outcomes.iter().filter_map(read));
        let mut row = vec![self.name.to_owned()];
        row.extend(per_second(Spread::of(self.throughputs().collect())?));
        row.push(of(|outcome| Some(outcome.latency_ms.p50)));
        row.push(of(|outcome| Some(outcome.latency_ms.p99)));
        row.push(of(|outcome| outcome.server.as_ref()?.cpu_seconds_per_million_records));
        row.push(self.outcomes.len().to_string());
        Some(row)
    }

    /// A run with failed calls was not one of the undisturbed load that it is compared as.
    fn notes(&self, text: &mut String) {
        for (code, (calls, message)) in self.outcomes.iter().flat_map(|run| &run.tally.failures) {
            let calls = grouped(*calls);
            let _ = writeln!(text, "{}: {calls} calls failed with {code}: {message}", self.name);
        }
    }
}

fn per_second(spread: Spread) -> [String; 3] {
    [spread.median, spread.min, spread.max].map(whole)
}

/// Nothing of nothing.
fn median(numbers: impl Iterator<Item = f64>) -> String {
    let spread = Spread::of(numbers.collect());
    spread.map(|spread| format!("{:.2}", spread.median)).unwrap_or_default()
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}
