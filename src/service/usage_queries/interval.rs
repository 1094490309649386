//! Which days a query is about. Calls are counted by UTC days, so a day of which any part is asked for counts whole.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use crate::{
    domain::{
        asset_usage::{DayRange, UsageDay},
        interval::parse_ends,
    },
    service::FieldViolation,
};

/// Most days of a query that is no job. The vendor names no limit.
const QUERY_DAYS_MAX: i64 = 366;

/// Most days from the first day of a job to its last (vendor rule).
const JOB_DAYS_MAX: i64 = 90;

/// Most days of a summary before today.
const SUMMARY_DAYS_MAX: i64 = 365;
const SUMMARY_DAYS_DEFAULT: i64 = 7;

/// Days from the start to the end, which is not part of the interval.
pub(super) fn of_query(text: &str, violations: &mut Vec<FieldViolation>) -> Option<DayRange> {
    let outcome = ends(text).and_then(|(start, end)| {
        if end <= start {
            return Err("must end after it starts".to_owned());
        }
        // The last instant before the end.
        let last = end.checked_sub(1.nanosecond()).unwrap_or(end);
        let days = through(UsageDay::of_instant(start), UsageDay::of_instant(last))?;
        let count = days.end.number() - days.start.number();
        if count > QUERY_DAYS_MAX {
            return Err(format!("touches {count} days, at most {QUERY_DAYS_MAX} are allowed"));
        }
        Ok(days)
    });
    note(outcome, "interval", violations)
}

/// Days from the start to the end, which is part of the interval.
pub(super) fn of_job(
    text: &str,
    now: Timestamp,
    violations: &mut Vec<FieldViolation>,
) -> Option<DayRange> {
    let outcome = ends(text).and_then(|(start, end)| {
        if end < start {
            return Err("must not end before it starts".to_owned());
        }
        let (first, last) = (UsageDay::of_instant(start), UsageDay::of_instant(end));
        let today = UsageDay::of_instant(now).date();
        let earliest = today.saturating_sub(1.year());
        if first.date() < earliest {
            return Err(format!("must not start before {earliest}, a year ago"));
        }
        if last.number() - first.number() > JOB_DAYS_MAX {
            return Err(format!("must end at most {JOB_DAYS_MAX} days after it starts"));
        }
        through(first, last)
    });
    note(outcome, "interval", violations)
}

/// The days before today, and today.
pub(super) fn of_summary(
    text: &str,
    now: Timestamp,
    violations: &mut Vec<FieldViolation>,
) -> Option<DayRange> {
    let days = match text {
        "" => Some(SUMMARY_DAYS_DEFAULT),
        text => text.parse().ok().filter(|days| (1..=SUMMARY_DAYS_MAX).contains(days)),
    };
    let today = UsageDay::of_instant(now);
    let outcome = days
        .and_then(|days| UsageDay::from_number(today.number() - days))
        .ok_or_else(|| format!("must be a number between 1 and {SUMMARY_DAYS_MAX}"))
        .and_then(|first| through(first, today));
    note(outcome, "days", violations)
}

fn ends(text: &str) -> Result<(Timestamp, Timestamp), String> {
    parse_ends(text, &TimeZone::UTC).map_err(|error| error.to_string())
}

fn through(first: UsageDay, last: UsageDay) -> Result<DayRange, String> {
    let end = UsageDay::from_number(last.number() + 1);
    let end = end.ok_or_else(|| "must lie between the years 1 and 9999".to_owned())?;
    Ok(DayRange { start: first, end })
}

fn note(
    outcome: Result<DayRange, String>,
    field: &str,
    violations: &mut Vec<FieldViolation>,
) -> Option<DayRange> {
    outcome.map_err(|problem| violations.push(FieldViolation::new(field, problem))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn days(read: impl FnOnce(&mut Vec<FieldViolation>) -> Option<DayRange>) -> String {
        let mut violations = Vec::new();
        match read(&mut violations) {
            Some(DayRange { start, end }) => format!("{} {}", start.date(), end.date()),
            None => violations.remove(0).description,
        }
    }

    #[test]
    fn the_end_of_a_query_is_not_part_of_it() {
        for (text, expected) in [
            ("2026-11-01T00:00:00Z/2026-11-08T00:00:00Z", "2026-11-01 2026-11-08"),
            ("2026-11-01T00:00:00/2026-11-08T00:00:00", "2026-11-01 2026-11-08"),
            ("2026-11-01/2026-11-08", "2026-11-01 2026-11-08"),
            ("2026-11-01T00:00:00.000Z/2026-11-07T23:59:59.999Z", "2026-11-01 2026-11-08"),
            ("2026-11-01T10:00:00.5Z/2026-11-07T00:00:00.001Z", "2026-11-01 2026-11-08"),
            ("2026-11-01T00:00:00+02:00/2026-11-02T00:00:00+02:00", "2026-10-31 2026-11-02"),
            ("2026-11-01T00:00:00-02:00/P1D", "2026-11-01 2026-11-03"),
            ("2024-02-01/P1M", "2024-02-01 2024-03-01"),
            ("2026-11-01T00:00:00Z/2026-11-01T00:00:00Z", "must end after it starts"),
            ("2026-11-02/2026-11-01", "must end after it starts"),
            ("2025-11-01/2026-11-02", "2025-11-01 2026-11-02"),
            ("2025-11-01/2026-11-03", "touches 367 days, at most 366 are allowed"),
        ] {
            assert_eq!(days(|violations| of_query(text, violations)), expected, "{text}");
        }
        for text in ["", "2026-11-01", "2026-11-01/2026-11-02/2026-11-03", "now/later"] {
            assert!(of_query(text, &mut Vec::new()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_job_is_part_of_it() {
        for (text, expected) in [
            ("2026-11-01T00:00:00/2026-11-07T23:59:59", "2026-11-01 2026-11-08"),
            ("2026-11-01T00:00:00Z/2026-11-08T00:00:00Z", "2026-11-01 2026-11-09"),
            ("2026-11-01/2026-11-01", "2026-11-01 2026-11-02"),
            (
                "2026-11-01T23:30:00-01:00/2026-11-02T00:30:00.999+01:00",
                "must not end before it starts",
            ),
            ("2026-11-01T23:30:00-01:00/2026-11-02T01:30:00.999+01:00", "2026-11-02 2026-11-03"),
            ("2025-11-20/2026-02-18", "2025-11-20 2026-02-19"),
            ("2025-11-19/2025-11-20", "must not start before 2025-11-20, a year ago"),
            ("2025-11-20/2026-02-19", "must end at most 90 days after it starts"),
            ("2026-12-01/2026-12-02", "2026-12-01 2026-12-03"),
            ("2026-11-02/2026-11-01", "must not end before it starts"),
        ] {
            assert_eq!(days(|violations| of_job(text, now(), violations)), expected, "{text}");
        }
    }

    #[test]
    fn a_summary_is_of_the_days_before_today_and_today() {
        let refused = "must be a number between 1 and 365";
        for (text, expected) in [
            ("", "2026-11-13 2026-11-21"),
            ("7", "2026-11-13 2026-11-21"),
            ("1", "2026-11-19 2026-11-21"),
            ("365", "2025-11-20 2026-11-21"),
            ("0", refused),
            ("366", refused),
            ("-1", refused),
            ("seven", refused),
        ] {
            assert_eq!(days(|violations| of_summary(text, now(), violations)), expected, "{text}");
        }
    }
}
