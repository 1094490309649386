//! What one run did, in order: to compare runs by, and for whoever reads a failure.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

/// Lines that are shown.
const LINES_SHOWN: usize = 60;

/// Everything that clients did and heard, and everything that was done to them, with simulated times.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trace(Vec<String>);

impl Trace {
    pub fn note(&mut self, at: Duration, who: &str, what: fmt::Arguments<'_>) {
        self.0.push(format!("{:>9.3} {who}: {what}", at.as_secs_f64()));
    }

    /// Equal for equal traces, in every process.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    pub fn last_lines(&self) -> &[String] {
        &self.0[self.0.len().saturating_sub(LINES_SHOWN)..]
    }

    /// The first line in which two traces differ, as it is in each.
    pub fn difference(&self, other: &Self) -> Option<[String; 2]> {
        let lines = self.0.len().max(other.0.len());
        let line = |trace: &Self, number: usize| trace.0.get(number).cloned().unwrap_or_default();
        let pairs = (0..lines).map(|number| [line(self, number), line(other, number)]);
        pairs.into_iter().find(|[one, another]| one != another)
    }
}

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub struct Figures(BTreeMap<String, u64>);

impl Figures {
    pub fn add(&mut self, name: impl Into<String>, count: u64) {
        *self.0.entry(name.into()).or_default() += count;
    }

    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name.clone(), *count);
        }
    }

    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "  {name}: {count}"))
    }
}
