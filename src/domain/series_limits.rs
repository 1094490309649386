//! How many series of usage there may be: totals are kept for each of them permanently.

/// Series up to which an organization is small: the last tenth of all series is for those.
const SMALL_ORGANIZATION_SERIES: u64 = 10_000;

/// Most series, of product, asset and API usage together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Of one organization. Default 1,000,000.
    pub organization_series_max: u64,
    /// Of all organizations. Default 10,000,000. An organization with over 10,000 may add more only while nine tenths of them
    /// are not there yet, so that large ones leave something to small ones.
    pub series_max: u64,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self { organization_series_max: 1_000_000, series_max: 10_000_000 }
    }
}

/// Why usage is not stored that would begin new series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManySeries {
    /// Its organization would have too many.
    #[error(
        "the organization has {series} series of usage, and {new} new ones would be more than the {limit} that are allowed; \
         report with fewer distinct clients, users, templates and platforms, or ask the operator to raise \
         organization-series-max; series that are there go on counting"
    )]
    OfOrganization {
        /// Those that it has.
        series: u64,
        /// Those that would be added.
        new: u64,
        /// Those that are allowed.
        limit: u64,
    },
    /// All organizations together would have too many.
    #[error(
        "the server has no room for {new} new series of usage beside the {series} of the organization; ask the operator to \
         raise series-max; series that are there go on counting"
    )]
    OfServer {
        /// Those that the organization has. How many others have is none of its business.
        series: u64,
        /// Those that would be added.
        new: u64,
    },
}

impl SeriesLimits {
    /// That an organization with `series` of `all` series may have `new` more.
    ///
    /// # Errors
    /// [`TooManySeries`] names the limit that would be passed.
    pub fn check(&self, series: u64, all: u64, new: u64) -> Result<(), TooManySeries> {
        if new == 0 {
            return Ok(());
        }
        let limit = self.organization_series_max;
        let after = series.saturating_add(new);
        if after > limit {
            return Err(TooManySeries::OfOrganization { series, new, limit });
        }
        let kept_back =
            if after > SMALL_ORGANIZATION_SERIES { self.series_max.div_ceil(10) } else { 0 };
        if all.saturating_add(new) > self.series_max.saturating_sub(kept_back) {
            return Err(TooManySeries::OfServer { series, new });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organization_may_reach_its_limit_and_no_more() {
        let limits = SeriesLimits { organization_series_max: 5, series_max: 100 };
        assert_eq!(limits.check(3, 10, 2), Ok(()));
        let refused = TooManySeries::OfOrganization { series: 3, new: 3, limit: 5 };
        assert_eq!(limits.check(3, 10, 3), Err(refused));
        let text = refused.to_string();
        assert!(text.contains("has 3 series") && text.contains("3 new ones"), "{text}");
        assert!(text.contains("the 5 that are allowed"), "{text}");
        assert!(text.contains("organization-series-max"), "{text}");
        // A limit that was lowered stops what is new only.
        assert_eq!(limits.check(9, 10, 0), Ok(()));
        assert!(limits.check(9, 10, 1).is_err());
    }

    #[test]
    fn large_organizations_leave_a_tenth_to_small_ones() {
        let limits = SeriesLimits { organization_series_max: 50_000, series_max: 100_000 };
        assert_eq!(limits.check(20_000, 80_000, 10_000), Ok(()));
        let refused = TooManySeries::OfServer { series: 20_000, new: 10_001 };
        assert_eq!(limits.check(20_000, 80_000, 10_001), Err(refused));
        assert!(!refused.to_string().contains("80"), "{refused}");
        assert_eq!(limits.check(0, 90_000, 10_000), Ok(()));
        assert!(limits.check(0, 90_000, 10_001).is_err());
        assert!(limits.check(0, 99_999, 2).is_err());
    }
}
