//! Intervals, and the buckets that they are divided into.

use std::sync::LazyLock;

use jiff::tz::TimeZone;

use super::{Choices, text};
use crate::domain::{
    calendar::{Buckets, Granularity, QuarterHour},
    interval::{HalfOpenInterval, parse_ends},
};

/// Zones with and without daylight saving, with odd offsets, and with a day that never was.
static ZONES: LazyLock<Vec<TimeZone>> = LazyLock::new(|| {
    let names = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"];
    names.iter().filter_map(|name| TimeZone::get(name).ok()).collect()
});

/// Longest interval that is divided into hours here, in seconds: there are many in ten years.
const HOURLY_SECONDS_MAX: i64 = 60 * 86_400;

/// What is read as an interval is not empty and reads back from its own spelling; its buckets are all of it, without
/// gaps.
///
/// # Panics
/// If not.
pub fn intervals(input: &[u8]) {
    let mut choices = Choices::new(input);
    let Some(zone) = ZONES.get(choices.pick(ZONES.len())) else { return };
    let granularity = choices.of(&[
        Granularity::Hour,
        Granularity::Day,
        Granularity::Week,
        Granularity::Month,
        Granularity::Total,
    ]);
    let Some(written) = text(choices.rest()) else { return };
    let interval = match HalfOpenInterval::parse(written, zone) {
        Ok(interval) => interval,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(interval.start() < interval.end(), "{written:?}");
    assert_eq!(parse_ends(written, zone), Ok((interval.start(), interval.end())));
    for zone in [zone, &TimeZone::UTC] {
        assert_eq!(HalfOpenInterval::parse(&interval.to_string(), zone), Ok(interval));
    }
    assert!(interval.contains(interval.start()) && !interval.contains(interval.end()));
    let seconds = interval.end().as_second() - interval.start().as_second();
    if granularity != Granularity::Hour || seconds <= HOURLY_SECONDS_MAX {
        divided(&interval, granularity, zone);
    }
}

fn divided(interval: &HalfOpenInterval, granularity: Granularity, zone: &TimeZone) {
    let Ok(buckets) = Buckets::divide(interval, granularity, zone) else { return };
    let mut end = interval.start();
    for index in 0..buckets.count() {
        let bounds = buckets.bounds(index).expect("there are so many");
        assert_eq!(bounds.0, end, "bucket {index} of {interval}");
        assert!(bounds.0 < bounds.1, "bucket {index} of {interval}");
        let first = QuarterHour::of(bounds.0);
        assert_eq!(buckets.index_of(first), Some(index), "bucket {index} of {interval}");
        end = bounds.1;
    }
    assert_eq!(end, interval.end(), "{interval}");
    assert_eq!(buckets.bounds(buckets.count()), None);
    assert_eq!(buckets.index_of(buckets.range().end), None);
}
