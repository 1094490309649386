//! The request id: the caller's if it is sensible, otherwise ours. It comes back with the answer and
//! stands in the log.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(in crate::api) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const CHARS_MAX: usize = 128;

/// The request's id; afterwards the request carries it, too.
pub(super) fn take(headers: &mut HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get(HEADER).filter(|value| is_sensible(value)) {
        return given.clone();
    }
    let mut text = Uuid::encode_buffer();
    let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    let made = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"));
    headers.insert(HEADER, made.clone());
    made
}

fn is_sensible(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    !text.is_empty() && text.len() <= CHARS_MAX && text.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensible_ids_are_kept_and_others_replaced() {
        let taken = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(given).unwrap());
            take(&mut headers).to_str().unwrap().to_owned()
        };
        assert_eq!(taken("abc-123"), "abc-123");
        for given in ["", "with space", &"x".repeat(129)] {
            assert_eq!(taken(given).len(), 36, "{given}");
        }
    }
}
