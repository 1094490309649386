//! When it is: a period with a clock change in it, and the zones that customers live in.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil, tz::TimeZone};

use crate::cli::random::Random;

/// Where customers live: offsets of whole, half and quarter hours, and both ends of the day.
pub(in crate::cli::simulate) const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Adelaide",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
];

/// Those that set their clocks; Lord Howe by half an hour.
const ZONES_WITH_CHANGES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
];

/// The rules of later years are not known.
const FIRST_YEAR: i16 = 2025;
const YEARS: u64 = 10;

/// The simulated time.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) struct Period {
    /// A midnight in UTC.
    pub(in crate::cli::simulate) start: Timestamp,
    /// So many days later.
    pub(in crate::cli::simulate) end: Timestamp,
    /// The zone that surely sets its clocks in between.
    pub(super) changing_zone: &'static str,
}

impl Period {
    /// A period of `days` days in which one of the zones sets its clock. It begins with a month if it can.
    pub(super) fn choose(random: &mut Random, days: u32) -> anyhow::Result<Self> {
        let changing_zone = random.pick(&ZONES_WITH_CHANGES);
        let zone = zone(changing_zone)?;
        let year = FIRST_YEAR + i16::try_from(random.below(YEARS)).unwrap_or_default();
        let new_year = midnight(civil::date(year, 1, 1))?;
        let changes: Vec<Timestamp> = changes_after(new_year, &zone).take(2).collect();
        let date = random.pick(&changes).to_zoned(TimeZone::UTC).date();
        let days = i64::from(days);
        let first = if i64::from(date.day()) <= days {
            date.first_of_month()
        } else {
            let before = random.below(days.cast_unsigned()).cast_signed();
            date.checked_sub(before.days()).context("the period begins before all time")?
        };
        let start = midnight(first)?;
        let end = start.checked_add(SignedDuration::from_hours(24 * days));
        let end = end.context("the period ends after all time")?;
        Ok(Self { start, end, changing_zone })
    }
}

/// A time zone of the bundled database.
pub(in crate::cli::simulate) fn zone(name: &str) -> anyhow::Result<TimeZone> {
    TimeZone::get(name).with_context(|| format!("there is no time zone {name}"))
}

/// When clocks are set in a zone.
pub(in crate::cli::simulate) fn clock_changes(zone: &TimeZone, period: &Period) -> Vec<Timestamp> {
    changes_after(period.start, zone).take_while(|change| *change < period.end).collect()
}

fn changes_after(after: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    zone.following(after).filter_map(|change| {
        let before = change.timestamp().checked_sub(SignedDuration::from_secs(1)).ok()?;
        (zone.to_offset(before) != change.offset()).then(|| change.timestamp())
    })
}

fn midnight(date: civil::Date) -> anyhow::Result<Timestamp> {
    let zoned = date.at(0, 0, 0, 0).to_zoned(TimeZone::UTC);
    Ok(zoned.context("the period is outside the calendar")?.timestamp())
}
