//! The auditor's book: what was sent, what was answered, and whether both fit together while it happens.

use std::collections::BTreeMap;

use super::usage::{Identity, Verdict};

/// A point in the order of all that clients do and hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

#[derive(Debug, Default)]
struct Entry {
    /// Calls that carried it.
    calls: u32,
    accepted: Option<Moment>,
    /// When somebody first heard that it counts, because of his call or of another.
    acknowledged: Option<Moment>,
}

/// Everything that was ever sent.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Identity, Entry>,
    moments: u64,
    violations: Vec<String>,
}

impl Ledger {
    fn moment(&mut self) -> Moment {
        self.moments += 1;
        Moment(self.moments)
    }

    /// A call goes out that carries these.
    pub fn send(&mut self, identities: &[Identity]) -> Moment {
        for identity in identities {
            self.entries.entry(identity.clone()).or_default().calls += 1;
        }
        self.moment()
    }

    /// A call is answered that went out at `begun`. How many of its identities had counted before.
    pub fn answer(&mut self, begun: Moment, verdicts: &[(Identity, Verdict)]) -> u64 {
        let now = self.moment();
        let mut duplicates = 0;
        for (identity, verdict) in verdicts {
            let entry = self.entries.entry(identity.clone()).or_default();
            match verdict {
                Verdict::Accepted => {
                    if entry.accepted.is_some() {
                        self.violations.push(format!("{identity} was accepted twice"));
                    } else if entry.acknowledged.is_some_and(|then| then < begun) {
                        let text = "was accepted by a call that began after it was acknowledged";
                        self.violations.push(format!("{identity} {text}"));
                    }
                    entry.accepted = Some(now);
                }
                Verdict::Duplicate => {
                    duplicates += 1;
                    if entry.calls < 2 {
                        self.violations.push(format!("{identity} is a duplicate of nothing"));
                    }
                }
            }
            entry.acknowledged.get_or_insert(now);
        }
        duplicates
    }

    pub fn sent(&self) -> impl Iterator<Item = &Identity> {
        self.entries.keys()
    }

    pub fn acknowledged(&self) -> impl Iterator<Item = &Identity> {
        let entries = self.entries.iter().filter(|(_, entry)| entry.acknowledged.is_some());
        entries.map(|(identity, _)| identity)
    }

    pub fn is_acknowledged(&self, identity: &Identity) -> bool {
        self.entries.get(identity).is_some_and(|entry| entry.acknowledged.is_some())
    }

    /// Something is as it must never be.
    pub fn violate(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }
}
