//! Times as text, in the one form that nearly everybody writes.

use prost_types::Timestamp;

/// The shape of a time without its fraction; `0` stands for any digit.
const SHAPE: &[u8] = b"0000-00-00T00:00:00";
const NANOS_PER_SECOND: i32 = 1_000_000_000;
/// From the beginning of the year 1 to the end of 9999, as the ProtoJSON mapping has it.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Reads `2026-11-20T12:00:00Z`, with or without a fraction. What the numbers mean is asked of the library's own type, which
/// takes several times as long to read the whole text.
pub(super) fn read(text: &str) -> Option<Timestamp> {
    let (whole, rest) = text.as_bytes().split_at_checked(SHAPE.len())?;
    let fits = whole.iter().zip(SHAPE).all(|(given, wanted)| match wanted {
        b'0' => given.is_ascii_digit(),
        separator => given == separator,
    });
    let nanos = match rest.strip_suffix(b"Z")? {
        [] => 0,
        [b'.', digits @ ..] if matches!(digits.len(), 1..=9) => nanos(digits)?,
        _ => return None,
    };
    if !fits {
        return None;
    }
    let two = |at: usize| Some(number(whole.get(at..at + 2)?) as u8);
    let year = number(whole.get(..4)?).into();
    let time =
        Timestamp::date_time_nanos(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, nanos);
    time.ok().filter(is_ordinary)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit & 0xF))
}

/// Up to nine digits after the point.
fn nanos(digits: &[u8]) -> Option<u32> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    let zeros = 9_u32.checked_sub(u32::try_from(digits.len()).ok()?)?;
    all_digits.then(|| number(digits) * 10_u32.pow(zeros))
}

/// Whether a time has a text, and needs no normalisation before.
pub(super) fn is_ordinary(time: &Timestamp) -> bool {
    SECONDS.contains(&time.seconds) && (0..NANOS_PER_SECOND).contains(&time.nanos)
}
