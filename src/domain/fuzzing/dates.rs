//! Usage dates, in all the ways that people and programs write them.

use super::{Choices, made_up, text};
use crate::domain::{
    asset_usage::UsageDay,
    usage_date::{DateError, parse},
};

/// Ways to write a day of the years 0 to 9999 so that it cannot mean another.
const SPELLINGS: [&str; 14] = [
    "%F",
    "%Y%m%d",
    "%FT%H:%M:%SZ",
    "%F %H:%M:%S",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d %B %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%B %d, %Y %I:%M %p",
    "%A, %d %b %Y",
    "%a %b %d %Y",
    "%a, %d %b %Y %H:%M:%S +0000",
    "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)",
];

/// Ways to write it with a year of two digits, which may be of any century.
const SHORT_SPELLINGS: [&str; 6] = [
    "%d/%m/%y",
    "%y-%m-%d",
    "%d %b %y",
    "%B %d, %y",
    "%d %b %y %H:%M:%S +0000",
    "%a, %d %b %y %H:%M:%S GMT",
];

/// What is read as a date is the date that stands there; a day is read back from every way of writing it.
///
/// # Panics
/// If not.
pub fn usage_dates(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(4) {
        0 => numbers(&mut choices),
        1 => spelled(&mut choices),
        _ => {
            if let Some(text) = text(choices.rest()) {
                read(text);
            }
        }
    }
}

fn read(written: &str) {
    match parse(written) {
        Ok(date) => {
            // A year of two digits, or none, would be a guess.
            assert!(written.contains(&format!("{:04}", date.year())), "{written:?} is {date}");
            assert!(written.contains(&date.day().to_string()), "{written:?} is {date}");
            assert_eq!(parse(&date.to_string()), Ok(date), "{written:?}");
            assert_eq!(UsageDay::of(date).date(), date);
        }
        Err(DateError::Ambiguous { first, second, .. }) => {
            assert_ne!(first, second, "{written:?}");
            assert_eq!(
                (first.year(), first.month(), first.day()),
                (second.year(), second.day(), second.month()),
                "{written:?}"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Three numbers with a sign between them.
fn numbers(choices: &mut Choices<'_>) {
    let separator = choices.of(&["/", ".", "-", " ", ":"]);
    let numbers = [(); 3].map(|()| match choices.pick(4) {
        0 => format!("{}", choices.pick(14)),
        1 => format!("{:02}", choices.pick(33)),
        2 => format!("{:04}", 1900 + choices.pick(256)),
        _ => choices.byte().to_string(),
    });
    let time = choices.of(&["", " 10:00", "T10:00:00Z", " 10:00:00 +0000", " x"]);
    read(&format!("{}{time}", numbers.join(separator)));
}

fn spelled(choices: &mut Choices<'_>) {
    let date = made_up::day(choices).date();
    let spelling = choices.of(&SPELLINGS);
    if date.year() < 0 {
        return;
    }
    let midday = date.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC);
    if let Ok(midday) = midday {
        let written = midday.strftime(spelling).to_string();
        assert_eq!(parse(&written), Ok(date), "{written:?}");
        let short = midday.strftime(choices.of(&SHORT_SPELLINGS)).to_string();
        assert!(parse(&short).is_err(), "{short:?}");
    }
}
