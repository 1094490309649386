//! Calendar buckets: quarter hours, in which totals are kept, and the hours, days, weeks and months
//! of any time zone, into which they are added up.
//!
//! Every zone of today has an offset that is a multiple of a quarter of an hour (the odd ones are
//! +05:45 and the like), so buckets of any zone are whole numbers of quarter hours and sums are
//! exact. Before 1972 a few zones had offsets with minutes and seconds; their buckets are refused.

use jiff::{SignedDuration, Timestamp, ToSpan, Unit, ZonedRound, civil, tz::TimeZone};

use super::{interval::HalfOpenInterval, limits::QUERY_DAYS_MAX};

const QUARTER_HOUR_SECONDS: i64 = 900;

/// A quarter of an hour, counted from 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuarterHour(pub i64);

/// Quarter hours of one UTC day.
pub const QUARTERS_PER_DAY: i64 = 96;

impl QuarterHour {
    /// The quarter hour that `instant` lies in.
    #[must_use]
    pub fn of(instant: Timestamp) -> Self {
        // as_second() rounds towards zero; before 1970 a fraction belongs to the second below.
        let below_zero = i64::from(instant.subsec_nanosecond() < 0);
        Self((instant.as_second() - below_zero).div_euclid(QUARTER_HOUR_SECONDS))
    }

    /// Its first instant; `None` outside the range of timestamps.
    #[must_use]
    pub fn start(self) -> Option<Timestamp> {
        Timestamp::from_second(self.0.checked_mul(QUARTER_HOUR_SECONDS)?).ok()
    }

    /// The UTC day it belongs to, counted from 1970-01-01, and its place in that day (0 to 95).
    #[must_use]
    pub fn day_and_slot(self) -> (i64, u8) {
        let slot = self.0.rem_euclid(QUARTERS_PER_DAY);
        (self.0.div_euclid(QUARTERS_PER_DAY), u8::try_from(slot).unwrap_or_default())
    }

    /// The quarter hour at `slot` of UTC day `day`.
    #[must_use]
    pub fn from_day_and_slot(day: i64, slot: u8) -> Self {
        Self(day * QUARTERS_PER_DAY + i64::from(slot))
    }
}

/// A run of quarter hours, `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarterRange {
    /// The first quarter hour inside.
    pub start: QuarterHour,
    /// The first quarter hour after.
    pub end: QuarterHour,
}

/// How fine a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// Hours of the local clock.
    Hour,
    /// Local days, which daylight saving makes 23 or 25 hours long now and then.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// The interval as a whole.
    Total,
}

/// Why an interval cannot be divided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// An end of the interval, or a bucket, does not begin on a quarter hour.
    #[error("{instant} does not fall on a quarter of an hour, the finest that totals are kept at")]
    NotOnQuarterHour {
        /// The instant at fault.
        instant: Timestamp,
    },
    /// The interval is longer than [`QUERY_DAYS_MAX`].
    #[error("is longer than {QUERY_DAYS_MAX} days")]
    TooLong,
    /// A bucket would reach outside the supported calendar.
    #[error("lies too close to the end of the calendar")]
    OutOfRange,
}

/// An interval divided into buckets; the first and last are clipped to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    // Ascending; one more than there are buckets; never fewer than two.
    edges: Vec<QuarterHour>,
}

impl Buckets {
    /// Divides `interval` by the calendar of `zone`.
    ///
    /// # Errors
    /// [`BucketError`] if the interval is too long or an edge is no quarter hour.
    pub fn divide(
        interval: &HalfOpenInterval,
        granularity: Granularity,
        zone: &TimeZone,
    ) -> Result<Self, BucketError> {
        let seconds = interval.end().as_second() - interval.start().as_second();
        if seconds > QUERY_DAYS_MAX * 86_400 {
            return Err(BucketError::TooLong);
        }
        let mut edges = vec![aligned(interval.start())?];
        let mut edge = interval.start();
        // When the local clock is set forward or back.
        let mut sets = clock_sets(edge, zone).peekable();
        loop {
            edge = match granularity {
                Granularity::Total => break,
                Granularity::Hour => {
                    while sets.next_if(|set| *set <= edge).is_some() {}
                    let hour = next_hour(edge, zone)?;
                    // An hour within which the clock is set ends there, and another begins.
                    sets.peek().map_or(hour, |set| hour.min(*set))
                }
                Granularity::Day | Granularity::Week | Granularity::Month => {
                    next_date(edge, granularity, zone)?
                }
            };
            if edge >= interval.end() {
                break;
            }
            edges.push(aligned(edge)?);
        }
        edges.push(aligned(interval.end())?);
        debug_assert!(edges.is_sorted_by(|a, b| a < b), "bucket edges ascend strictly");
        Ok(Self { edges })
    }

    /// The whole range.
    #[must_use]
    pub fn range(&self) -> QuarterRange {
        let zero = QuarterHour(0);
        QuarterRange {
            start: self.edges.first().copied().unwrap_or(zero),
            end: self.edges.last().copied().unwrap_or(zero),
        }
    }

    /// Which bucket a quarter hour falls in; `None` outside the range.
    #[must_use]
    pub fn index_of(&self, quarter: QuarterHour) -> Option<usize> {
        let after = self.edges.partition_point(|edge| *edge <= quarter);
        (1..self.edges.len()).contains(&after).then(|| after - 1)
    }

    /// Start and end of a bucket.
    #[must_use]
    pub fn bounds(&self, index: usize) -> Option<(Timestamp, Timestamp)> {
        let start = self.edges.get(index)?.start()?;
        let end = self.edges.get(index + 1)?.start()?;
        Some((start, end))
    }

    /// Number of buckets.
    #[must_use]
    pub fn count(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }
}

fn aligned(instant: Timestamp) -> Result<QuarterHour, BucketError> {
    let quarter = QuarterHour::of(instant);
    if quarter.start() == Some(instant) {
        Ok(quarter)
    } else {
        Err(BucketError::NotOnQuarterHour { instant })
    }
}

/// When the local clock is set forward or back after an instant.
fn clock_sets(after: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    // A zone may change its name alone.
    zone.following(after).filter_map(|set| {
        let before = set.timestamp().checked_sub(SignedDuration::from_secs(1)).ok()?;
        (zone.to_offset(before) != set.offset()).then(|| set.timestamp())
    })
}

/// The next full hour on the local clock, if nobody sets it before.
fn next_hour(from: Timestamp, zone: &TimeZone) -> Result<Timestamp, BucketError> {
    let offset = i64::from(zone.to_offset(from).seconds());
    let local = from.as_second() + offset;
    Timestamp::from_second((local.div_euclid(3600) + 1) * 3600 - offset)
        .map_err(|_| BucketError::OutOfRange)
}

fn next_date(
    from: Timestamp,
    granularity: Granularity,
    zone: &TimeZone,
) -> Result<Timestamp, BucketError> {
    let out_of_range = |_| BucketError::OutOfRange;
    let mut date = from.to_zoned(zone.clone()).date();
    loop {
        date = match granularity {
            Granularity::Week => {
                let into_week = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_add((7 - into_week).days())
            }
            Granularity::Month => date.first_of_month().checked_add(1.month()),
            Granularity::Hour | Granularity::Day | Granularity::Total => date.tomorrow(),
        }
        .map_err(out_of_range)?;
        let start = start_of_day(date, zone)?;
        // A date that a zone skipped (Samoa, 2011-12-30) begins when the next one does.
        if start > from {
            return Ok(start);
        }
    }
}

fn start_of_day(date: civil::Date, zone: &TimeZone) -> Result<Timestamp, BucketError> {
    let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone()).map_err(|_| BucketError::OutOfRange)?;
    if noon.date() != date {
        // The whole day was skipped: it starts where the clock jumped to.
        let day = ZonedRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc);
        return Ok(noon.round(day).map_err(|_| BucketError::OutOfRange)?.timestamp());
    }
    Ok(noon.start_of_day().map_err(|_| BucketError::OutOfRange)?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divide(
        interval: &str,
        granularity: Granularity,
        zone: &str,
    ) -> Result<Vec<String>, BucketError> {
        let zone = TimeZone::get(zone).unwrap();
        let interval = HalfOpenInterval::parse(interval, &zone).unwrap();
        let buckets = Buckets::divide(&interval, granularity, &zone)?;
        Ok((0..buckets.count())
            .map(|index| buckets.bounds(index).unwrap())
            .map(|(start, end)| format!("{start}/{end}"))
            .collect())
    }

    #[test]
    fn quarters_before_1970_round_down() {
        assert_eq!(QuarterHour::of("1969-12-31T23:59:59.5Z".parse().unwrap()), QuarterHour(-1));
        assert_eq!(QuarterHour::of("1970-01-01T00:00:00Z".parse().unwrap()), QuarterHour(0));
        assert_eq!(QuarterHour(-1).day_and_slot(), (-1, 95));
        assert_eq!(QuarterHour::from_day_and_slot(-1, 95), QuarterHour(-1));
    }

    #[test]
    fn days_follow_daylight_saving() {
        let spring = divide("2026-03-28/P3D", Granularity::Day, "Europe/Berlin").unwrap();
        assert_eq!(
            spring,
            [
                "2026-03-27T23:00:00Z/2026-03-28T23:00:00Z",
                "2026-03-28T23:00:00Z/2026-03-29T22:00:00Z",
                "2026-03-29T22:00:00Z/2026-03-30T22:00:00Z",
            ]
        );
    }

    #[test]
    fn hours_are_local_hours() {
        let nepal =
            divide("2026-11-01T00:30:00/PT2H", Granularity::Hour, "Asia/Kathmandu").unwrap();
        assert_eq!(
            nepal,
            [
                "2026-10-31T18:45:00Z/2026-10-31T19:15:00Z",
                "2026-10-31T19:15:00Z/2026-10-31T20:15:00Z",
                "2026-10-31T20:15:00Z/2026-10-31T20:45:00Z",
            ]
        );
        let lord_howe =
            divide("2026-04-05T00:00:00+11:00/PT3H", Granularity::Hour, "Australia/Lord_Howe")
                .unwrap();
        assert_eq!(
            lord_howe,
            [
                "2026-04-04T13:00:00Z/2026-04-04T14:00:00Z",
                "2026-04-04T14:00:00Z/2026-04-04T15:00:00Z",
                "2026-04-04T15:00:00Z/2026-04-04T15:30:00Z",
                "2026-04-04T15:30:00Z/2026-04-04T16:00:00Z",
            ]
        );
    }

    #[test]
    fn an_hour_in_which_the_clock_is_set_ends_there() {
        // 03:45 becomes 02:45.
        let chatham =
            divide("2026-04-05T03:00:00+13:45/PT2H", Granularity::Hour, "Pacific/Chatham").unwrap();
        assert_eq!(
            chatham,
            [
                "2026-04-04T13:15:00Z/2026-04-04T14:00:00Z",
                "2026-04-04T14:00:00Z/2026-04-04T14:15:00Z",
                "2026-04-04T14:15:00Z/2026-04-04T15:15:00Z",
            ]
        );
        // 02:45 becomes 03:45.
        let chatham =
            divide("2026-09-27T02:00:00+12:45/PT2H", Granularity::Hour, "Pacific/Chatham").unwrap();
        assert_eq!(
            chatham,
            [
                "2026-09-26T13:15:00Z/2026-09-26T14:00:00Z",
                "2026-09-26T14:00:00Z/2026-09-26T14:15:00Z",
                "2026-09-26T14:15:00Z/2026-09-26T15:15:00Z",
            ]
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_ends_are_clipped() {
        let weeks = divide("2026-11-18/2026-12-01", Granularity::Week, "UTC").unwrap();
        assert_eq!(
            weeks,
            [
                "2026-11-18T00:00:00Z/2026-11-23T00:00:00Z",
                "2026-11-23T00:00:00Z/2026-11-30T00:00:00Z",
                "2026-11-30T00:00:00Z/2026-12-01T00:00:00Z",
            ]
        );
    }

    #[test]
    fn months_have_their_own_lengths() {
        let months = divide("2028-01-31/2028-03-02", Granularity::Month, "UTC").unwrap();
        assert_eq!(
            months,
            [
                "2028-01-31T00:00:00Z/2028-02-01T00:00:00Z",
                "2028-02-01T00:00:00Z/2028-03-01T00:00:00Z",
                "2028-03-01T00:00:00Z/2028-03-02T00:00:00Z",
            ]
        );
    }

    #[test]
    fn a_skipped_day_yields_no_bucket() {
        let samoa = divide("2011-12-29/2012-01-01", Granularity::Day, "Pacific/Apia").unwrap();
        assert_eq!(
            samoa,
            [
                "2011-12-29T10:00:00Z/2011-12-30T10:00:00Z",
                "2011-12-30T10:00:00Z/2011-12-31T10:00:00Z",
            ]
        );
    }

    #[test]
    fn finer_than_a_quarter_hour_and_too_long_are_refused() {
        assert!(matches!(
            divide("2026-11-01T00:07:00/PT1H", Granularity::Total, "UTC"),
            Err(BucketError::NotOnQuarterHour { .. })
        ));
        assert_eq!(
            divide("2000-01-01/2026-01-01", Granularity::Day, "UTC"),
            Err(BucketError::TooLong)
        );
    }

    #[test]
    fn every_quarter_of_the_range_has_one_bucket() {
        let zone = TimeZone::get("America/St_Johns").unwrap();
        let interval = HalfOpenInterval::parse("2026-03-01/2026-04-01", &zone).unwrap();
        for granularity in
            [Granularity::Hour, Granularity::Day, Granularity::Week, Granularity::Total]
        {
            let buckets = Buckets::divide(&interval, granularity, &zone).unwrap();
            let range = buckets.range();
            for quarter in range.start.0..range.end.0 {
                let index = buckets.index_of(QuarterHour(quarter)).unwrap();
                let (start, end) = buckets.bounds(index).unwrap();
                let at = QuarterHour(quarter).start().unwrap();
                assert!(start <= at && at < end);
            }
            assert_eq!(buckets.index_of(range.end), None);
        }
    }
}
