//! How much of what was simulated.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts by section and name. The same for the same seed: nothing that depends on how threads run is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Figures(BTreeMap<&'static str, BTreeMap<String, u64>>);

impl Figures {
    /// Counts `more` of something.
    pub(super) fn count(&mut self, section: &'static str, name: &str, more: usize) {
        let section = self.0.entry(section).or_default();
        match section.get_mut(name) {
            Some(count) => *count += more as u64,
            None => {
                section.insert(name.to_owned(), more as u64);
            }
        }
    }

    /// Everything, section by section.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, u64>)> {
        self.0.iter().map(|(section, counts)| (*section, counts))
    }
}
