//! The body of a request: its type, its encoding, its size.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::failure::Failure;
use crate::api::{request_bytes::Unread, status};

/// Whether the body's type is one that is understood: JSON, in UTF-8.
///
/// # Errors
/// 415.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    // What could be decompressed has been, and has lost this header.
    if let Some(given) = headers.get(header::CONTENT_ENCODING).filter(|given| *given != "identity")
    {
        let status = status::unsupported_encoding(&String::from_utf8_lossy(given.as_bytes()));
        return Err(Failure::with(status, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    // An empty body needs none; of several, all must be right.
    match headers.get_all(header::CONTENT_TYPE).iter().find(|given| !is_json(given)) {
        Some(given) => Err(wrong_type(&String::from_utf8_lossy(given.as_bytes()))),
        None => Ok(()),
    }
}

/// A body that does not say what it is. Taking it for JSON would let any web page call: browsers ask
/// first only for types that forms do not have, and a body without a type is not asked for.
pub(super) fn without_type() -> Failure {
    wrong_type("")
}

fn wrong_type(given: &str) -> Failure {
    let status = status::unsupported_media_type(given);
    Failure::with(status, StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let right_type = essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"));
    let right_charset = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii"]
                .iter()
                .any(|known| value.trim().trim_matches('"').eq_ignore_ascii_case(known))
    });
    right_type && right_charset
}

/// 413 for a body over the limit, 408 for one that takes too long, 429 if there are too many large ones, 400 for one that
/// breaks off or cannot be decompressed. Where the rest of the body may still come, the connection ends with the answer.
impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        let http = match unread {
            Unread::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::NoRoom(_) => StatusCode::TOO_MANY_REQUESTS,
            Unread::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Unread::Broken | Unread::Zstd(_) => StatusCode::BAD_REQUEST,
        };
        Self::with(unread.into(), http).close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let accepted = |text: &str| is_json(&HeaderValue::from_str(text).unwrap());
        for text in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"; x=y",
            "application/merge-patch+json",
        ] {
            assert!(accepted(text), "{text}");
        }
        for text in [
            "",
            "text/plain",
            "text/json",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
        ] {
            assert!(!accepted(text), "{text}");
        }
    }
}
