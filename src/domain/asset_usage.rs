//! Usage of assets, reported in batches: a batch is recorded whole or not at all, and its id once.

use jiff::{Timestamp, civil};

use super::{
    calendar::QuarterHour,
    caller::Caller,
    id::{AssetId, BatchId, ClientId, OrganizationId},
    quantity::Quantity,
    series_limits::TooManySeries,
    usage::LogSequence,
};

/// A calendar day, counted from 1970-01-01. What reports call a date has no time and no zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UsageDay(i32);

/// The day that days are counted from.
const EPOCH: civil::Date = civil::date(1970, 1, 1);

impl UsageDay {
    /// The day of a date.
    #[must_use]
    pub fn of(date: civil::Date) -> Self {
        Self(EPOCH.duration_until(date).as_hours().div_euclid(24).try_into().unwrap_or_default())
    }

    /// The UTC day of an instant.
    #[must_use]
    pub fn of_instant(instant: Timestamp) -> Self {
        let (day, _) = QuarterHour::of(instant).day_and_slot();
        Self(i32::try_from(day).unwrap_or_default())
    }

    /// The day that is so many days after 1970-01-01; `None` outside the calendar (years −9999 to 9999).
    #[must_use]
    pub fn from_number(days: i64) -> Option<Self> {
        let day = Self(i32::try_from(days).ok()?);
        day.checked_date().map(|_| day)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0.into()
    }

    /// Its date.
    #[must_use]
    pub fn date(self) -> civil::Date {
        self.checked_date().unwrap_or(EPOCH)
    }

    /// Its first quarter hour in UTC, which stands for the day in reports.
    #[must_use]
    pub fn first_quarter(self) -> QuarterHour {
        QuarterHour::from_day_and_slot(self.number(), 0)
    }

    fn checked_date(self) -> Option<civil::Date> {
        EPOCH.checked_add(jiff::SignedDuration::from_hours(i64::from(self.0) * 24)).ok()
    }
}

/// One line of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetUsage {
    /// What was used.
    pub asset: AssetId,
    /// How often.
    pub quantity: Quantity,
    /// On which day.
    pub day: UsageDay,
}

/// A batch that passed every rule but the last: whether its id is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetBatch {
    /// Who reports.
    pub caller: Caller,
    /// The caller's identity for the batch.
    pub id: BatchId,
    /// What was used, in the order of the request.
    pub usages: Vec<AssetUsage>,
}

/// What the store decided about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchDecision {
    /// New: all of it is stored.
    Recorded,
    /// The id is taken: nothing of it is stored.
    Taken,
    /// It would begin too many series: nothing of it is stored, and the id stays free.
    Refused(TooManySeries),
}

/// A batch as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Who reported it.
    pub client: ClientId,
    /// Its identity.
    pub id: BatchId,
    /// What was used, in the order of the report.
    pub usages: Vec<AssetUsage>,
    /// When it was recorded, by the server's clock.
    pub stored_time: Timestamp,
    /// Where it begins in the log.
    pub sequence: LogSequence,
}

/// The dimensions that totals of asset usage are kept by, within one organization.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetSeries {
    /// What was used.
    pub asset: AssetId,
    /// Who reported it.
    pub client: ClientId,
}

/// Restricts asset usage. An empty list does not restrict; usage must satisfy both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct AssetFilter {
    /// Assets.
    pub assets: Vec<AssetId>,
    /// Reporting clients.
    pub clients: Vec<ClientId>,
}

impl AssetFilter {
    /// Whether usage of this series is wanted.
    #[must_use]
    pub fn matches(&self, series: &AssetSeries) -> bool {
        (self.assets.is_empty() || self.assets.contains(&series.asset))
            && (self.clients.is_empty() || self.clients.contains(&series.client))
    }
}

/// A run of days, `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    /// The first day inside.
    pub start: UsageDay,
    /// The first day after.
    pub end: UsageDay,
}

impl DayRange {
    /// Whether a day lies inside.
    #[must_use]
    pub fn contains(&self, day: UsageDay) -> bool {
        (self.start..self.end).contains(&day)
    }
}

/// Asks the store for totals of asset usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetTotalsQuery {
    /// Whose usage.
    pub organization: OrganizationId,
    /// Which days.
    pub days: DayRange,
    /// Which series.
    pub filter: AssetFilter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_the_same() {
        for (date, number) in [
            (civil::date(1970, 1, 1), 0),
            (civil::date(1969, 12, 31), -1),
            (civil::date(2026, 11, 20), 20_777),
            (civil::date(2024, 2, 29), 19_782),
            (civil::date(9999, 12, 31), 2_932_896),
            (civil::date(-9999, 1, 1), -4_371_587),
        ] {
            let day = UsageDay::of(date);
            assert_eq!((day.number(), day.date()), (number, date));
            assert_eq!(UsageDay::from_number(number), Some(day));
        }
        assert_eq!(UsageDay::from_number(2_932_897), None);
        for (instant, number) in [
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-20T23:59:59.999Z", 20_777),
            ("2026-11-21T00:00:00+01:00", 20_777),
        ] {
            assert_eq!(
                UsageDay::of_instant(instant.parse().unwrap()).number(),
                number,
                "{instant}"
            );
        }
        assert_eq!(UsageDay::from_number(i64::MAX), None);
    }
}
