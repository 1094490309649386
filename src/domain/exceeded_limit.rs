//! Limits on what an organization, or the server, keeps.

/// A limit on how many things are kept, which a change would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there would be {count} {what}, at most {max} are allowed ({option})")]
pub struct ExceededLimit {
    /// The option of `serve` that sets the limit, such as `organization-skus-max`.
    pub option: &'static str,
    /// What is counted, such as `SKUs of the organization`.
    pub what: &'static str,
    /// How many there would be.
    pub count: usize,
    /// How many there may be.
    pub max: usize,
}

impl ExceededLimit {
    /// The limit, if a change that raises a count from `before` to `count` exceeds it. A change that does not raise the
    /// count is allowed even above the limit, which may have been lowered meanwhile.
    #[must_use]
    pub fn by_growth(
        option: &'static str,
        what: &'static str,
        before: usize,
        count: usize,
        max: usize,
    ) -> Option<Self> {
        (count > max && count > before).then_some(Self { option, what, count, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_above_the_limit_is_refused() {
        let exceeds =
            |before, count| ExceededLimit::by_growth("x-max", "x", before, count, 10).is_some();
        assert!(exceeds(10, 11) && exceeds(12, 13));
        assert!(!exceeds(9, 10) && !exceeds(12, 12) && !exceeds(12, 11));
    }
}
