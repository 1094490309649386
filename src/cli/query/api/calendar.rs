//! The days, weeks and months that an interval touches.

use jiff::{ToSpan as _, civil::Date, tz::TimeZone};

use super::words::Granularity;
use crate::domain::interval::HalfOpenInterval;

/// The first day of each, in order. The first of them may begin before the interval.
pub(super) fn first_days(interval: &HalfOpenInterval, granularity: Granularity) -> Vec<Date> {
    let last = interval.end().checked_sub(1.nanosecond()).unwrap_or_else(|_| interval.start());
    let [first, last] = [interval.start(), last].map(|end| end.to_zoned(TimeZone::UTC).date());
    let begin = match granularity {
        Granularity::Day => first,
        Granularity::Week => {
            let into_week = i64::from(first.weekday().to_monday_zero_offset());
            first.saturating_sub(into_week.days())
        }
        Granularity::Month => first.first_of_month(),
    };
    let next = |date: &Date| match granularity {
        Granularity::Day => date.tomorrow().ok(),
        Granularity::Week => date.checked_add(7.days()).ok(),
        Granularity::Month => date.checked_add(1.month()).ok(),
    };
    std::iter::successors(Some(begin), next).take_while(|date| *date <= last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_week_or_month_that_is_touched() {
        for (text, granularity, expected) in [
            ("2026-11-19/2026-11-21", Granularity::Day, "2026-11-19 2026-11-20"),
            ("2026-11-19T23:00:00Z/PT2H", Granularity::Day, "2026-11-19 2026-11-20"),
            ("2026-11-19/2026-11-23", Granularity::Week, "2026-11-16"),
            ("2026-11-19/2026-11-24", Granularity::Week, "2026-11-16 2026-11-23"),
            ("2026-11-19/2026-12-01", Granularity::Month, "2026-11-01"),
            ("2026-12-31/2027-01-02", Granularity::Month, "2026-12-01 2027-01-01"),
        ] {
            let interval = HalfOpenInterval::parse(text, &TimeZone::UTC).unwrap();
            let days = first_days(&interval, granularity);
            let days: Vec<String> = days.iter().map(Date::to_string).collect();
            assert_eq!(days.join(" "), expected, "{text}");
        }
    }
}
