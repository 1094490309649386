//! Reading the dates that people and programs write.
//!
//! The vendor takes "any unambiguous date format" (description of `PUT /v3/usage-batches/{id}`). So do we: ISO 8601,
//! RFC 2822, the dates of JavaScript, and spellings with the name of a month. A spelling in numbers that can be read in
//! two ways is refused with both of them. The time of day, and with it the zone, is ignored: the date is what is
//! written.

use jiff::{
    civil::Date,
    fmt::{rfc2822, temporal::Pieces},
};

use super::limits::DATE_TEXT_CHARS_MAX;

/// Why a text is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// There is nothing.
    #[error("is missing; write it as 2026-11-20")]
    Missing,
    /// It is longer than any date.
    #[error("has more than {DATE_TEXT_CHARS_MAX} characters")]
    TooLong,
    /// It can be read in two ways.
    #[error("{text:?} may mean {first} or {second}; write the one that is meant")]
    Ambiguous {
        /// What was given.
        text: String,
        /// Read with the month first.
        first: Date,
        /// Read with the day first.
        second: Date,
    },
    /// The year has two digits.
    #[error("{0:?} does not say which century; write the year with four digits, as in 2026-11-20")]
    ShortYear(String),
    /// It is something else, or no day of the calendar.
    #[error("{0:?} is no date that can be read; write it as 2026-11-20")]
    Unreadable(String),
}

/// Dates with the name of a month, short or long, in the manners of strptime.
const WITH_MONTH_NAMES: [&str; 6] =
    ["%d %B %Y", "%B %d %Y", "%Y %B %d", "%d %b %Y", "%b %d %Y", "%Y %b %d"];

/// Reads a date.
///
/// # Errors
/// [`DateError`] says why it cannot, or must not, be read.
pub fn parse(text: &str) -> Result<Date, DateError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DateError::Missing);
    }
    if text.chars().count() > DATE_TEXT_CHARS_MAX {
        return Err(DateError::TooLong);
    }
    if let Some(date) = iso(text).or_else(|| rfc_2822(text)) {
        return Ok(date);
    }
    if let Some(numbers) = numbers(text) {
        return in_numbers(text, &numbers);
    }
    with_month_name(text).ok_or_else(|| DateError::Unreadable(text.to_owned()))
}

/// ISO 8601: a date, or a date and a time, with or without an offset and a zone.
fn iso(text: &str) -> Option<Date> {
    // A sign would lead to years before 0 and after 9999.
    let begins = text.starts_with(|first: char| first.is_ascii_digit());
    begins.then(|| Pieces::parse(text).ok()).flatten().map(|pieces| pieces.date())
}

/// RFC 2822, with a year of four digits: the obsolete ones of two or three would be a guess at the century.
fn rfc_2822(text: &str) -> Option<Date> {
    let date = rfc2822::parse(text).ok()?.date();
    let year = format!("{:04}", date.year());
    text.split_whitespace().any(|word| word == year).then_some(date)
}

/// The three numbers of a date like 20/11/2026, 2026.11.20 or 20-11-2026, as they are written; whatever follows after
/// white space must be a time.
fn numbers(text: &str) -> Option<[&str; 3]> {
    let (date, time) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let separator = date.chars().find(|character| !character.is_ascii_digit())?;
    if !['/', '.', '-'].contains(&separator) || !is_time(time) {
        return None;
    }
    let parts: Vec<&str> = date.split(separator).collect();
    if !parts.iter().all(|part| (1..=4).contains(&part.len()) && all_digits(part)) {
        return None;
    }
    <[&str; 3]>::try_from(parts).ok()
}

fn in_numbers(text: &str, &[first, second, third]: &[&str; 3]) -> Result<Date, DateError> {
    let unreadable = || DateError::Unreadable(text.to_owned());
    let date = |year: &str, month: &str, day: &str| {
        Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
    };
    // Nobody writes the year first and then the day.
    if first.len() == 4 {
        return date(first, second, third).ok_or_else(unreadable);
    }
    if third.len() != 4 {
        let short = third.len() <= 2 && first.len() <= 2;
        return Err(if short { DateError::ShortYear(text.to_owned()) } else { unreadable() });
    }
    match (date(third, first, second), date(third, second, first)) {
        (Some(first), Some(second)) if first != second => {
            Err(DateError::Ambiguous { text: text.to_owned(), first, second })
        }
        (Some(date), _) | (None, Some(date)) => Ok(date),
        (None, None) => Err(unreadable()),
    }
}

/// "20 November 2026", "Nov 20, 2026", "Fri Nov 20 2026 10:00:00 GMT+0000 (Coordinated Universal Time)".
fn with_month_name(text: &str) -> Option<Date> {
    let spaced = text.replace([',', '-', '.', '/'], " ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    let weekday = words.first().and_then(|word| weekday(word));
    if weekday.is_some() {
        words.remove(0);
    }
    let (date, rest) = words.split_at_checked(3)?;
    let date = date.iter().map(|word| ordinal(word)).collect::<Vec<_>>().join(" ");
    // Not by reading it as a number, which a sign may stand before: "+202" is the year 202.
    if date.split(' ').all(|word| word.len() != 4 || !all_digits(word)) {
        return None;
    }
    let parsed = WITH_MONTH_NAMES.iter().find_map(|format| Date::strptime(format, &date).ok())?;
    // The rest is taken from the text as it was: times have colons and signs.
    let time = match rest.first() {
        None => "",
        Some(first) => text.get(text.rfind(first)?..)?,
    };
    let says_so = weekday.is_none_or(|weekday| weekday == parsed.weekday());
    (says_so && (rest.is_empty() || is_time(&rest.join(" ")) || is_time(time))).then_some(parsed)
}

fn weekday(word: &str) -> Option<jiff::civil::Weekday> {
    use jiff::civil::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let names = [
        ("monday", Monday),
        ("tuesday", Tuesday),
        ("wednesday", Wednesday),
        ("thursday", Thursday),
        ("friday", Friday),
        ("saturday", Saturday),
        ("sunday", Sunday),
    ];
    let word = word.to_ascii_lowercase();
    let found = names.iter().find(|(name, _)| {
        word == *name || (word.len() >= 3 && word.len() <= 4 && name.starts_with(&word))
    });
    found.map(|(_, weekday)| *weekday)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// "20th" without its ending.
fn ordinal(word: &str) -> &str {
    let digits = word.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let ending = word.get(digits.len()..).unwrap_or_default();
    let is_ordinal = !digits.is_empty()
        && ["st", "nd", "rd", "th"].iter().any(|known| ending.eq_ignore_ascii_case(known));
    if is_ordinal { digits } else { word }
}

/// Whether a text is nothing but a time of day, with or without a zone. It is ignored, so it is not read closely; but
/// it must not be a part of the date.
fn is_time(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    let mut words = text.split_whitespace();
    let clock = words.next().unwrap_or_default();
    let is_clock = clock.split_once(':').is_some_and(|(hour, rest)| {
        hour.len() <= 2
            && all_digits(hour)
            && hour.parse::<u8>().is_ok_and(|hour| hour <= 24)
            && rest.starts_with(|character: char| character.is_ascii_digit())
    });
    is_clock
        && words.all(|word| {
            let mut characters = word.chars();
            characters.next().is_some_and(|first| {
                first.is_ascii_alphabetic() || ['+', '-', '(', '['].contains(&first)
            })
        })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_is_read() {
        for text in [
            "2026-11-20",
            "20261120",
            "2026-11-20T10:00:00Z",
            "2026-11-20T23:59:59.9999999-05:00",
            "2026-11-20T00:30:00+14:00",
            "2026-11-20 10:00:00",
            "2026-11-20T10:00:00+01:00[Europe/Berlin]",
            "  2026-11-20 ",
            "Fri, 20 Nov 2026 10:00:00 +0000",
            "20 Nov 2026 10:00:00 GMT",
            "Fri Nov 20 2026",
            "Fri Nov 20 2026 10:00:00 GMT+0000 (Coordinated Universal Time)",
            "20 November 2026",
            "20 november 2026",
            "20-Nov-2026",
            "20.Nov.2026",
            "Nov 20, 2026",
            "November 20th, 2026",
            "Friday, November 20, 2026",
            "2026 Nov 20",
            "2026/11/20",
            "2026.11.20",
            "20/11/2026",
            "11/20/2026",
            "20.11.2026",
            "20-11-2026",
            "11/20/2026 10:00 PM",
            "20/11/2026 22:00:00",
        ] {
            assert_eq!(parse(text), Ok(date(2026, 11, 20)), "{text}");
        }
        assert_eq!(parse("04/04/2026"), Ok(date(2026, 4, 4)), "the same either way");
        assert_eq!(parse("29 February 2024"), Ok(date(2024, 2, 29)));
        assert_eq!(parse("May 3, 2026"), Ok(date(2026, 5, 3)));
    }

    #[test]
    fn what_can_be_read_in_two_ways() {
        for text in ["03/04/2026", "3/4/2026", "03.04.2026", "3-4-2026", "03/04/2026 10:00"] {
            let error = parse(text).unwrap_err();
            let both = (date(2026, 3, 4), date(2026, 4, 3));
            assert!(
                matches!(&error, DateError::Ambiguous { first, second, .. } if (*first, *second) == both),
                "{text}: {error}"
            );
            let said = error.to_string();
            assert!(said.contains("2026-03-04") && said.contains("2026-04-03"), "{said}");
        }
        for text in ["03/04/26", "20.11.26", "1-2-3"] {
            assert_eq!(parse(text), Err(DateError::ShortYear(text.into())));
        }
    }

    #[test]
    fn what_is_no_date() {
        assert_eq!(parse(""), Err(DateError::Missing));
        assert_eq!(parse(" "), Err(DateError::Missing));
        assert_eq!(parse(&"2".repeat(101)), Err(DateError::TooLong));
        for text in [
            "yesterday",
            "2026",
            "2026-11",
            "2026-11-31",
            "2026-02-29",
            "29 February 2026",
            "31/31/2026",
            "2026/13/01",
            "20 Nov",
            "Nov 2026",
            "20 Nov 26",
            "20 Nov 26 10:00:00 +0000",
            "Fri, 20 Nov 126 10:00:00 +0000",
            "20 Nov 26 10:00:00 +2026",
            "20 Nov +202",
            "20 Nov 2026 +1:30",
            "Sat Nov 20 2026",
            "20 Nov 2026 2027",
            "20 Nov 2026 and so on",
            "20/11/2026/1",
            "1763596800",
            "10:00",
            "T10:00",
            "2026-W47-5",
            "2026-324",
            "20 Foo 2026",
            "-2026-11-20",
            "2026-11-20T",
            "2026-11-20garbage",
        ] {
            assert_eq!(parse(text), Err(DateError::Unreadable(text.into())), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn every_way_of_writing_a_day_reads_back(days in 0_i64..40_000) {
            let day = date(1970, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            for format in ["%F", "%d %B %Y", "%b %d, %Y", "%A, %d %b %Y", "%Y/%m/%d", "%a %b %d %Y"] {
                let text = day.strftime(format).to_string();
                proptest::prop_assert_eq!(parse(&text), Ok(day), "{}", text);
            }
        }
    }
}
