//! The counts of a row.

use serde::{Deserialize, Serialize};

use crate::domain::api_usage::StatusClass;

/// Classes of statuses.
pub(super) const CLASSES: usize = StatusClass::ALL.len();

/// What is counted, in the vendor's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// All calls.
    Requests,
    /// Calls answered with 200 to 299.
    Status200,
    /// Calls answered with 300 to 399.
    Status300,
    /// Calls answered with 400 to 499, those with 429 included.
    Status400,
    /// Calls answered with 429.
    Status429,
    /// Calls answered with 500 to 599.
    Status500,
}

/// Numbers of calls by class of status. Sums have 128 bits, which 2^65 events of the largest count do not exceed; they
/// stay at the largest number rather than fail the rows around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::service) struct Counts {
    by_class: [u128; CLASSES],
}

impl Counts {
    /// Counts in the order of [`StatusClass::ALL`].
    pub(super) fn from_classes(by_class: [u128; CLASSES]) -> Self {
        Self { by_class }
    }

    /// The counts, in the order of [`StatusClass::ALL`].
    pub(super) fn by_class(&self) -> &[u128; CLASSES] {
        &self.by_class
    }

    /// Counts calls of one class.
    pub(super) fn count(&mut self, class: StatusClass, calls: u128) {
        if let Some(count) = self.by_class.get_mut(class as usize) {
            *count = count.saturating_add(calls);
        }
    }

    /// Adds other counts.
    pub(super) fn add(&mut self, more: &Self) {
        for (sum, calls) in self.by_class.iter_mut().zip(more.by_class) {
            *sum = sum.saturating_add(calls);
        }
    }

    /// Calls of one class.
    pub(in crate::service) fn of(&self, class: StatusClass) -> u128 {
        self.by_class.get(class as usize).copied().unwrap_or_default()
    }

    /// A number of calls as the vendor counts them.
    pub(in crate::service) fn metric(&self, metric: Metric) -> u128 {
        match metric {
            Metric::Requests => {
                self.by_class.iter().fold(0, |sum, calls| sum.saturating_add(*calls))
            }
            Metric::Status200 => self.of(StatusClass::Success),
            Metric::Status300 => self.of(StatusClass::Redirection),
            Metric::Status400 => self
                .of(StatusClass::ClientError)
                .saturating_add(self.of(StatusClass::TooManyRequests)),
            Metric::Status429 => self.of(StatusClass::TooManyRequests),
            Metric::Status500 => self.of(StatusClass::ServerError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_sums_of_classes() {
        let mut counts = Counts::default();
        for (class, calls) in StatusClass::ALL.into_iter().zip([1, 10, 100, 1_000, 10_000, 100_000])
        {
            counts.count(class, calls);
        }
        for (metric, expected) in [
            (Metric::Requests, 111_111),
            (Metric::Status200, 10),
            (Metric::Status300, 100),
            (Metric::Status400, 11_000),
            (Metric::Status429, 10_000),
            (Metric::Status500, 100_000),
        ] {
            assert_eq!(counts.metric(metric), expected, "{metric:?}");
        }
    }

    #[test]
    fn sums_pass_64_bits_and_stay_at_the_largest_number() {
        let largest = u128::from(u64::MAX);
        let mut counts = Counts::default();
        for class in StatusClass::ALL {
            counts.count(class, largest);
            counts.count(class, largest);
        }
        assert_eq!(counts.metric(Metric::Status429), 2 * largest);
        assert_eq!(counts.metric(Metric::Status400), 4 * largest);
        assert_eq!(counts.metric(Metric::Requests), 12 * largest);
        let full = Counts::from_classes([u128::MAX; CLASSES]);
        counts.add(&full);
        assert_eq!(counts, full);
        assert_eq!(counts.metric(Metric::Requests), u128::MAX);
    }
}
