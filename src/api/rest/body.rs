//! The body of a request: its type, its encoding, its size.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::failure::Failure;
use crate::api::status;

/// How long a body may take. 4 MiB in that time is a slow telephone line.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of a body that nobody wants.
const DISCARDED_BYTES_MAX: usize = 64 << 10;
/// And for how long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

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

/// Reads the whole body.
///
/// # Errors
/// 413 for one over the limit, 408 for one that takes too long, 400 for one that breaks off.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = http_body::Body::size_hint(&body).lower();
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let all = Limited::new(body, bytes_max).collect();
    let Ok(all) = tokio::time::timeout(READ_TIMEOUT, all).await else {
        let status = status::slow_body(READ_TIMEOUT);
        return Err(Failure::with(status, StatusCode::REQUEST_TIMEOUT).close());
    };
    match all {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_over_the_limit(&*error) => Err(too_large(bytes_max)),
        Err(error) => {
            tracing::debug!(error = &*error, "the body of a request broke off");
            Err(Failure::from(status::broken_body()).close())
        }
    }
}

/// Reads a body that nobody wants, so that the connection can go on after the answer, and so that the
/// answer is not lost: closing a connection with unread data makes the peer's system drop it. Whether the body came to
/// its end within limits that strangers may cost us.
pub(super) async fn discard(body: Body) -> bool {
    if http_body::Body::is_end_stream(&body) {
        return true;
    }
    let all = Limited::new(body, DISCARDED_BYTES_MAX).collect();
    tokio::time::timeout(DISCARD_TIMEOUT, all).await.is_ok_and(|all| all.is_ok())
}

fn is_over_the_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<LengthLimitError>())
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::with(status::body_too_large(bytes_max), StatusCode::PAYLOAD_TOO_LARGE).close()
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
