//! Half-open intervals of time and their ISO 8601 spelling.

use std::fmt;

use jiff::{Span, Timestamp, Zoned, civil, tz::TimeZone};

/// From `start` up to, and not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HalfOpenInterval {
    start: Timestamp,
    end: Timestamp,
}

/// Why a text is not an interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// No `/` between two parts, or more than one.
    #[error(
        "must be an ISO 8601 interval such as 2026-11-01T00:00:00Z/2026-12-01T00:00:00Z or 2026-11-01/P1M"
    )]
    Shape,
    /// One end is neither a date, a date-time nor a duration.
    #[error("{part:?} is not an RFC 3339 date-time, a date or an ISO 8601 duration")]
    End {
        /// The part that could not be read.
        part: String,
    },
    /// The end does not lie after the start.
    #[error("must end after it starts")]
    Empty,
    /// An end lies outside the years 1 to 9999.
    #[error("must lie between the years 1 and 9999")]
    OutOfRange,
}

impl HalfOpenInterval {
    /// Makes an interval.
    ///
    /// # Errors
    /// [`IntervalError::Empty`] unless `start < end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, IntervalError> {
        if start < end { Ok(Self { start, end }) } else { Err(IntervalError::Empty) }
    }

    /// Reads `start/end`, `start/duration` or `duration/end`. An end without an offset is local
    /// time in `zone`; a date alone is its midnight there.
    ///
    /// # Errors
    /// [`IntervalError`] says which part is wrong.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, IntervalError> {
        let (start, end) = parse_ends(text, zone)?;
        Self::new(start, end)
    }

    /// The first instant inside.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The first instant after.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether `instant` lies inside.
    #[must_use]
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

impl fmt::Display for HalfOpenInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

/// Reads both ends of an interval, whichever comes first, as [`HalfOpenInterval::parse`] does.
///
/// # Errors
/// [`IntervalError`] says which part is wrong.
pub fn parse_ends(text: &str, zone: &TimeZone) -> Result<(Timestamp, Timestamp), IntervalError> {
    let (first, second) = text.split_once('/').ok_or(IntervalError::Shape)?;
    if second.contains('/') {
        return Err(IntervalError::Shape);
    }
    let (start, end) = match (duration(first)?, duration(second)?) {
        (Some(_), Some(_)) => return Err(IntervalError::Shape),
        (None, None) => (instant(first, zone)?, instant(second, zone)?),
        (None, Some(span)) => {
            let start = instant(first, zone)?;
            let end = start.checked_add(span).map_err(|_| IntervalError::OutOfRange)?;
            (start, end)
        }
        (Some(span), None) => {
            let end = instant(second, zone)?;
            let start = end.checked_sub(span).map_err(|_| IntervalError::OutOfRange)?;
            (start, end)
        }
    };
    for end in [&start, &end] {
        if !(1..=9999).contains(&end.with_time_zone(TimeZone::UTC).year()) {
            return Err(IntervalError::OutOfRange);
        }
    }
    Ok((start.timestamp(), end.timestamp()))
}

fn duration(part: &str) -> Result<Option<Span>, IntervalError> {
    if !part.starts_with(['P', 'p']) {
        return Ok(None);
    }
    let unreadable = || IntervalError::End { part: part.to_owned() };
    let span: Span = part.parse().map_err(|_| unreadable())?;
    if span.is_positive() { Ok(Some(span)) } else { Err(unreadable()) }
}

fn instant(part: &str, zone: &TimeZone) -> Result<Zoned, IntervalError> {
    let unreadable = || IntervalError::End { part: part.to_owned() };
    // jiff also reads "[Zone]" annotations; the contract speaks of RFC 3339 alone.
    if part.contains('[') {
        return Err(unreadable());
    }
    if let Ok(timestamp) = part.parse::<Timestamp>() {
        return Ok(timestamp.to_zoned(zone.clone()));
    }
    let local = part.parse::<civil::DateTime>().map_err(|_| unreadable())?;
    local.to_zoned(zone.clone()).map_err(|_| IntervalError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Result<String, IntervalError> {
        HalfOpenInterval::parse(text, &TimeZone::UTC).map(|interval| interval.to_string())
    }

    #[test]
    fn every_spelling_of_one_month() {
        let month = "2026-11-01T00:00:00Z/2026-12-01T00:00:00Z".to_owned();
        for text in [
            "2026-11-01T00:00:00Z/2026-12-01T00:00:00Z",
            "2026-11-01/2026-12-01",
            "2026-11-01T03:00:00+03:00/2026-12-01T00:00:00Z",
            "2026-11-01/P1M",
            "P30D/2026-12-01",
        ] {
            assert_eq!(utc(text), Ok(month.clone()), "{text}");
        }
    }

    #[test]
    fn local_ends_follow_daylight_saving() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let day = HalfOpenInterval::parse("2026-03-29/P1D", &zone).unwrap();
        assert_eq!(day.to_string(), "2026-03-28T23:00:00Z/2026-03-29T22:00:00Z");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(utc("2026-11-01"), Err(IntervalError::Shape));
        assert_eq!(utc("a/b/c"), Err(IntervalError::Shape));
        assert_eq!(utc("P1D/P1D"), Err(IntervalError::Shape));
        assert_eq!(utc("2026-11-01/soon"), Err(IntervalError::End { part: "soon".into() }));
        assert_eq!(utc("2026-11-01/-P1D"), Err(IntervalError::End { part: "-P1D".into() }));
        assert_eq!(utc("2026-11-02/2026-11-01"), Err(IntervalError::Empty));
        assert_eq!(utc("2026-11-01/2026-11-01"), Err(IntervalError::Empty));
        assert_eq!(utc("2026-11-01/P9999Y"), Err(IntervalError::OutOfRange));
    }
}
