//! Quantities and their sums: integers only, and an overflow is an error, never a wrap.

use std::fmt;

/// What one record reports: 1 to 2^63 − 1, in the SKU's usage unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u64);

impl Quantity {
    /// Takes a quantity from the wire; `None` unless it is greater than zero.
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        u64::try_from(value).ok().filter(|value| *value > 0).map(Self)
    }

    /// The quantity as a number.
    #[must_use]
    pub fn get(self) -> i64 {
        // The constructor took it from an i64, so it fits.
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// A sum left the 128-bit range. Out of reach of honest data (2^65 records of the largest
/// quantity), so it means damaged totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a usage total exceeds 128 bits")]
pub struct TotalOverflow;

/// How many records, and how much they add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Total {
    /// Number of records.
    pub records: u64,
    /// Sum of their quantities.
    pub quantity: u128,
}

impl Total {
    /// The total of a single record.
    #[must_use]
    pub fn of(quantity: Quantity) -> Self {
        Self { records: 1, quantity: u128::from(quantity.0) }
    }

    /// Adds another total.
    ///
    /// # Errors
    /// [`TotalOverflow`] if either member would overflow.
    pub fn add(&mut self, other: Self) -> Result<(), TotalOverflow> {
        self.records = self.records.checked_add(other.records).ok_or(TotalOverflow)?;
        self.quantity = self.quantity.checked_add(other.quantity).ok_or(TotalOverflow)?;
        Ok(())
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} records", self.quantity, self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_quantities_exist() {
        assert_eq!(Quantity::new(0), None);
        assert_eq!(Quantity::new(i64::MIN), None);
        assert_eq!(Quantity::new(i64::MAX).map(Quantity::get), Some(i64::MAX));
    }

    #[test]
    fn sums_pass_64_bits_exactly_and_fail_past_128() {
        let largest = Total::of(Quantity::new(i64::MAX).unwrap());
        let mut total = Total::default();
        for _ in 0..5 {
            total.add(largest).unwrap();
        }
        assert_eq!(total, Total { records: 5, quantity: 5 * (u128::from(u64::MAX) / 2) });

        let mut full = Total { records: 1, quantity: u128::MAX };
        assert_eq!(full.add(largest), Err(TotalOverflow));
    }
}
