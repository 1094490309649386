//! What is divided by what, round by round.

use serde::Serialize;

use super::{
    case::{Case, NOOP_STREAM, NOOP_UNARY, ONE_CALLER, POSTGRES, REST, STREAM, UNARY},
    compare::CaseOutcomes,
    disk_probe::DiskProbe,
};

/// Of records a second.
const OF_THROUGHPUTS: [(Case, Case); 6] = [
    (UNARY, NOOP_UNARY),
    (STREAM, NOOP_STREAM),
    (REST, UNARY),
    (STREAM, UNARY),
    (UNARY, POSTGRES),
    (STREAM, POSTGRES),
];

/// Of two figures of the same round.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) of: Figure,
    name: &'static str,
    to: &'static str,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// What of both is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    RecordsPerSecond,
    P50Ms,
}

/// The middle, the least and the greatest of what the rounds gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// All ratios that the rounds give.
pub(super) fn ratios(cases: &[CaseOutcomes], probes: &[DiskProbe]) -> Vec<Ratio> {
    let of = |wanted: Case| cases.iter().find(|case| case.name == wanted.name);
    let throughputs = OF_THROUGHPUTS.into_iter().filter_map(|(case, to)| {
        let rounds = of(case)?.throughputs().zip(of(to)?.throughputs());
        let spread = Spread::of(rounds.map(|(one, other)| one / other.max(1.0)).collect())?;
        Some(Ratio { of: Figure::RecordsPerSecond, name: case.name, to: to.name, spread })
    });
    // How many times the disk's own time a caller waits who shares it with nobody.
    let one_caller = || {
        let latencies = of(ONE_CALLER)?.outcomes.iter().map(|outcome| outcome.latency_ms.p50);
        let rounds = latencies.zip(probes.iter().map(|probe| probe.p50_ms));
        let spread = Spread::of(rounds.map(|(one, disk)| one / disk.max(0.001)).collect())?;
        Some(Ratio { of: Figure::P50Ms, name: ONE_CALLER.name, to: DiskProbe::NAME, spread })
    };
    throughputs.chain(one_caller()).collect()
}

impl Ratio {
    pub(super) fn name(&self) -> String {
        format!("{} / {}", self.name, self.to)
    }
}

impl Figure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RecordsPerSecond => "records/s",
            Self::P50Ms => "p50",
        }
    }
}

impl Spread {
    /// Of at least one number.
    pub(super) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.get(numbers.len() / 2)?;
        let below = numbers.get((numbers.len() - 1) / 2)?;
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        Some(Self { median: (middle + below) / 2.0, min, max })
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
