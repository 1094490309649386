//! What one run did, in order: a digest to compare runs by, and the last lines for whoever reads a failure.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

/// Lines that are kept.
const LINES_MAX: usize = 60;

/// Everything that clients did and heard, and everything that was done to them, with simulated times.
#[derive(Debug, Default)]
pub struct Trace {
    // Its keys are fixed, so equal traces have equal digests.
    hasher: DefaultHasher,
    last: VecDeque<String>,
}

impl Trace {
    pub fn note(&mut self, at: Duration, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {who}: {what}", at.as_secs_f64());
        line.hash(&mut self.hasher);
        if self.last.len() == LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    pub fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
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
