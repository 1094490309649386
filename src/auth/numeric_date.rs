//! Times in tokens.

use serde_json::Value;

/// The seconds of a NumericDate of RFC 7519, which may have a fraction; rounded down.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_i64() {
        return Some(seconds);
    }
    // Whole seconds up to 2^53 are exact.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and dates that far off are the same to us"
    )]
    value.as_f64().map(|seconds| seconds.floor() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fraction_is_rounded_down_and_text_is_no_date() {
        assert_eq!(seconds(&json!(1_763_640_000)), Some(1_763_640_000));
        assert_eq!(seconds(&json!(1_763_640_000.9)), Some(1_763_640_000));
        assert_eq!(seconds(&json!(-0.5)), Some(-1));
        assert_eq!(seconds(&json!(1e300)), Some(i64::MAX));
        assert_eq!(seconds(&json!("1763640000")), None);
        assert_eq!(seconds(&Value::Null), None);
    }
}
