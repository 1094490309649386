//! Comparing what two sides have under the same keys.

use std::{collections::BTreeMap, fmt::Debug};

use super::{Auditor, Invariant};

impl Auditor {
    /// Checks that both have the same keys, and the same under each.
    pub(super) fn compare<K: Ord + Debug, V: PartialEq + Debug>(
        &mut self,
        invariant: Invariant,
        what: &str,
        expected: &BTreeMap<K, V>,
        actual: &BTreeMap<K, V>,
    ) {
        for (key, expected) in expected {
            let actual = actual.get(key);
            self.check(invariant, actual == Some(expected), || {
                format!("{what}, {key:?}: {actual:?} instead of {expected:?}")
            });
        }
        for (key, actual) in actual.iter().filter(|(key, _)| !expected.contains_key(key)) {
            self.check(invariant, false, || {
                format!("{what}, {key:?}: {actual:?}, and there is none")
            });
        }
    }
}
