//! The counts of a row.

use serde::{Deserialize, Serialize};

use super::RowsError;
use crate::domain::api_usage::StatusClass;

/// Classes of statuses.
pub(super) const CLASSES: usize = StatusClass::ALL.len();

/// Largest number of calls in one row, all classes together: the vendor's fields have 64 bits and a sign.
const CALLS_MAX: u64 = i64::MAX.cast_unsigned();

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

/// Numbers of calls by class of status; together at most 2^63 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::service) struct Counts {
    by_class: [u64; CLASSES],
}

impl Counts {
    /// Counts in the order of [`StatusClass::ALL`].
    ///
    /// # Errors
    /// [`RowsError::CountTooLarge`] if they add up to more than 2^63 − 1.
    pub(super) fn from_classes(by_class: [u64; CLASSES]) -> Result<Self, RowsError> {
        by_class
            .iter()
            .try_fold(0, |sum: u64, calls| sum.checked_add(*calls))
            .filter(|sum| *sum <= CALLS_MAX)
            .map(|_| Self { by_class })
            .ok_or(RowsError::CountTooLarge)
    }

    /// The counts, in the order of [`StatusClass::ALL`].
    pub(super) fn by_class(&self) -> &[u64; CLASSES] {
        &self.by_class
    }

    /// Counts calls of one class.
    ///
    /// # Errors
    /// [`RowsError::CountTooLarge`]; the counts are as before.
    pub(super) fn count(&mut self, class: StatusClass, calls: u128) -> Result<(), RowsError> {
        let calls = u64::try_from(calls).map_err(|_| RowsError::CountTooLarge)?;
        let mut more = Self::default();
        if let Some(count) = more.by_class.get_mut(class as usize) {
            *count = calls;
        }
        self.add(&more)
    }

    /// Adds other counts.
    ///
    /// # Errors
    /// [`RowsError::CountTooLarge`]; the counts are as before.
    pub(super) fn add(&mut self, more: &Self) -> Result<(), RowsError> {
        let mut sums = self.by_class;
        for (sum, calls) in sums.iter_mut().zip(more.by_class) {
            *sum = sum.checked_add(calls).ok_or(RowsError::CountTooLarge)?;
        }
        *self = Self::from_classes(sums)?;
        Ok(())
    }

    /// Calls of one class.
    pub(in crate::service) fn of(&self, class: StatusClass) -> u64 {
        self.by_class.get(class as usize).copied().unwrap_or_default()
    }

    /// A number of calls as the vendor counts them; at most 2^63 − 1.
    pub(in crate::service) fn metric(&self, metric: Metric) -> u64 {
        match metric {
            Metric::Requests => self.by_class.iter().sum(),
            Metric::Status200 => self.of(StatusClass::Success),
            Metric::Status300 => self.of(StatusClass::Redirection),
            Metric::Status400 => {
                self.of(StatusClass::ClientError) + self.of(StatusClass::TooManyRequests)
            }
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
            counts.count(class, calls).unwrap();
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
    fn all_classes_together_have_63_bits() {
        let mut counts = Counts::default();
        let max = u128::from(CALLS_MAX);
        counts.count(StatusClass::Success, max - 1).unwrap();
        counts.count(StatusClass::ServerError, 1).unwrap();
        assert_eq!(counts.metric(Metric::Requests), CALLS_MAX);
        let before = counts;
        for calls in [1, max, u128::from(u64::MAX), u128::MAX] {
            for class in StatusClass::ALL {
                assert!(matches!(counts.count(class, calls), Err(RowsError::CountTooLarge)));
            }
        }
        assert_eq!(counts, before);
    }
}
