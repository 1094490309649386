//! Things of the domain, made of choices: the shortest and the longest, and those in between.

use jiff::{Timestamp, civil};
use uuid::Uuid;

use super::Choices;
use crate::domain::{
    api_usage::{ApiSeries, HttpMethod, HttpStatus},
    asset_usage::{AssetUsage, UsageDay},
    catalog::State,
    id::{
        AssetId, ClientId, IdError, PlatformName, ProductId, ProductInstanceId, SkuId, TemplateUri,
        UserId,
    },
    limits::{ID_CHARS_MAX, TEMPLATE_URI_CHARS_MAX},
    quantity::{Quantity, Total},
    totals::Series,
    usage::UsageTarget,
};

/// What identifiers are made of: one to four bytes of UTF-8 each, and what means something elsewhere.
const CHARACTERS: [char; 8] = ['a', '0', 'é', 'ж', '🦀', '/', '{', '"'];

/// An identifier of a kind that may have so many characters.
pub fn id<T>(
    choices: &mut Choices<'_>,
    chars_max: usize,
    new: impl Fn(&str) -> Result<T, IdError>,
) -> T {
    let chars = match choices.pick(4) {
        0 => 1,
        1 => chars_max,
        _ => 1 + choices.pick(chars_max),
    };
    let filling = choices.of(&CHARACTERS);
    // Few enough that some are the same, many enough that most are not.
    let first = char::from(b'A' + choices.byte() % 26);
    let text: String =
        std::iter::once(first).chain(std::iter::repeat_n(filling, chars - 1)).collect();
    new(&text).expect("letters and signs, no more than are allowed")
}

/// The id of a client.
pub fn client(choices: &mut Choices<'_>) -> ClientId {
    id(choices, ID_CHARS_MAX, ClientId::new)
}

/// Any text, control characters and white space included: names may have them.
pub fn name(choices: &mut Choices<'_>) -> String {
    const PIECES: [&str; 16] = [
        "a", " ", "\n", "\r", "\t", "\u{0}", "\u{85}", "\u{2028}", "\u{feff}", "é", "🦀", "'",
        "\"", ": ", "- ", "#",
    ];
    const WHOLE: [&str; 12] =
        ["", "null", "~", "true", "no", "1", "1e3", "0x1F", "0o7", ".inf", "2026-11-20", "=1+1"];
    match choices.pick(4) {
        0 => choices.of(&WHOLE).to_owned(),
        1 => String::from_utf8_lossy(&[choices.byte(), choices.byte()]).into_owned(),
        _ => (0..choices.pick(12)).map(|_| choices.of(&PIECES)).collect(),
    }
}

/// What product usage is counted by.
pub fn series(choices: &mut Choices<'_>) -> Series {
    let product = id(choices, ID_CHARS_MAX, ProductId::new);
    let has_instance = choices.once_in(2);
    let instance = has_instance.then(|| id(choices, ID_CHARS_MAX, ProductInstanceId::new));
    let sku = id(choices, ID_CHARS_MAX, SkuId::new);
    Series { target: UsageTarget { product, instance }, sku, client: client(choices) }
}

/// What API usage is counted by.
pub fn api_series(choices: &mut Choices<'_>) -> ApiSeries {
    ApiSeries {
        template_uri: id(choices, TEMPLATE_URI_CHARS_MAX, TemplateUri::new),
        method: choices.of(HttpMethod::ALL),
        client: client(choices),
        user: choices.once_in(2).then(|| id(choices, ID_CHARS_MAX, UserId::new)),
        platform: choices.once_in(2).then(|| id(choices, ID_CHARS_MAX, PlatformName::new)),
    }
}

/// A line of a batch.
pub fn asset_usage(choices: &mut Choices<'_>) -> AssetUsage {
    AssetUsage {
        asset: id(choices, ID_CHARS_MAX, AssetId::new),
        quantity: quantity(choices),
        day: day(choices),
    }
}

/// Any quantity.
pub fn quantity(choices: &mut Choices<'_>) -> Quantity {
    let number = i64::try_from(choices.number() >> 1).unwrap_or_default();
    Quantity::new(number.max(1)).expect("greater than zero")
}

/// Any total.
pub fn total(choices: &mut Choices<'_>) -> Total {
    let quantity = u128::from(choices.number()) << 64 | u128::from(choices.number());
    Total { records: choices.number(), quantity: quantity >> choices.pick(128) }
}

/// A uuid; few enough that some are the same.
pub fn uuid(choices: &mut Choices<'_>) -> Uuid {
    let number = u128::from(choices.number());
    Uuid::from_u128(number << 64 | number)
}

/// Any instant that the log can keep, in nanoseconds since 1970.
pub fn nanos(choices: &mut Choices<'_>) -> i64 {
    choices.number().cast_signed()
}

/// Any instant that the log can keep.
pub fn instant(choices: &mut Choices<'_>) -> Timestamp {
    Timestamp::from_nanosecond(nanos(choices).into()).unwrap_or_default()
}

/// Any day of the calendar.
pub fn day(choices: &mut Choices<'_>) -> UsageDay {
    let (first, last) = (UsageDay::of(civil::Date::MIN), UsageDay::of(civil::Date::MAX));
    let days = last.number() - first.number() + 1;
    let after_first = choices.number().cast_signed().rem_euclid(days);
    UsageDay::from_number(first.number() + after_first).unwrap_or_default()
}

/// Any status.
pub fn status(choices: &mut Choices<'_>) -> HttpStatus {
    let status = u16::try_from(100 + choices.place(499)).unwrap_or_default();
    HttpStatus::new(status).expect("between 100 and 599")
}

/// In use or not.
pub fn state(choices: &mut Choices<'_>) -> State {
    choices.of(&[State::Active, State::Retired])
}
