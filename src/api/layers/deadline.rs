//! The caller's deadline, from the `grpc-timeout` header.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::service::FieldViolation;

const HEADER: &str = "grpc-timeout";
/// The gRPC specification allows up to eight digits.
const DIGITS_MAX: usize = 8;

/// When the call must be over; `None` if the caller does not say.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, FieldViolation> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
        FieldViolation::new(HEADER, "must be one to eight digits and a unit: H, M, S, m, u or n")
    })?;
    Ok(Instant::now().checked_add(timeout))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_nothing_else() {
        assert_eq!(parse("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        for text in ["", "S", "123456789S", "-1S", "1 S", "1s", "1", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
