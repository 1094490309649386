//! Batches of asset usage.

use jiff::{SignedDuration, tz::TimeZone};

use super::{Call, Clients, Fate, Moment, Report, caller};
use crate::{
    cli::simulate::{
        figures::Figures,
        model::Model,
        plan::{ASSETS, LEAVING_ASSET, agent},
    },
    domain::id::OrganizationId,
    service::usage_batches::RawAssetUsage,
};

/// Lines of most batches, and of a few, at most: the latter take several parts of the log.
const LINES_MAX: u64 = 12;
const LINES_OF_LARGE: u64 = 400;

/// How old usage in batches may be, in days: there is no window.
const DAYS_AGO_MAX: u64 = 40;

impl Clients {
    fn new_batch(&mut self, organization: &OrganizationId, at: Moment) -> anyhow::Result<Call> {
        // Both organizations use the same ids.
        let number = self.batches.entry(organization.clone()).or_default();
        *number += 1;
        let id = format!("batch-{number:06}");
        let lines = match self.random.below(20) {
            0 => LINES_OF_LARGE,
            _ => 1 + self.random.below(LINES_MAX),
        };
        let usages = (0..lines).map(|_| self.line(at)).collect();
        let caller = caller(organization, &agent(self.random.next()))?;
        Ok(Call { caller, report: Report::Batch { id, usages }, fate: Fate::Answered })
    }

    /// A batch that is new and right.
    pub(in crate::cli::simulate) fn sure_batch_call(
        &mut self,
        organization: &OrganizationId,
        at: Moment,
    ) -> anyhow::Result<Call> {
        let mut call = self.new_batch(organization, at)?;
        if let Report::Batch { usages, .. } = &mut call.report {
            usages.retain(|usage| usage.asset_id != LEAVING_ASSET);
            let usage_date = at.server.to_zoned(TimeZone::UTC).date().to_string();
            usages.push(RawAssetUsage { asset_id: asset(0), quantity: 3, usage_date });
        }
        Ok(call)
    }

    /// A batch: new as a rule; said before, in the same or in other words, or with a fault now and then.
    pub(super) fn batch_call(
        &mut self,
        organization: &OrganizationId,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> anyhow::Result<Call> {
        let mut call = self.new_batch(organization, at)?;
        let Report::Batch { id, usages } = &mut call.report else { return Ok(call) };
        let dice = self.random.below(10);
        let kept = model.batches.any(organization, self.random.next());
        match (dice, kept) {
            (0, Some((known, said))) => {
                figures.count("batches sent again", "the same batch", 1);
                id.clone_from(known);
                usages.clone_from(said);
            }
            (1, Some((known, _))) => {
                figures.count("batches sent again", "another batch under its id", 1);
                id.clone_from(known);
            }
            (2, _) => {
                let faulty = self.faulty_line(at);
                usages.push(faulty);
            }
            _ => {}
        }
        Ok(call)
    }

    fn line(&mut self, at: Moment) -> RawAssetUsage {
        let ago = self.random.below(DAYS_AGO_MAX);
        let day = at.truth.saturating_sub(SignedDuration::from_hours(24 * ago.cast_signed()));
        RawAssetUsage {
            asset_id: asset(self.random.below(ASSETS)),
            quantity: 1 + self.random.below(1 << 31).cast_signed().min(i64::from(i32::MAX) - 1),
            usage_date: day.unwrap_or(at.truth).to_zoned(TimeZone::UTC).date().to_string(),
        }
    }

    fn faulty_line(&mut self, at: Moment) -> RawAssetUsage {
        let line = self.line(at);
        let days = SignedDuration::from_hours(24 * 9);
        let future = at.server.saturating_add(days).unwrap_or(at.server);
        let future = future.to_zoned(TimeZone::UTC).date().to_string();
        match self.random.below(5) {
            0 => RawAssetUsage { asset_id: "no-such-asset".into(), ..line },
            1 => RawAssetUsage { quantity: 0, ..line },
            2 => RawAssetUsage { quantity: i64::from(i32::MAX) + 1, ..line },
            3 => RawAssetUsage { usage_date: future, ..line },
            _ => RawAssetUsage { usage_date: "03/04/2026".into(), ..line },
        }
    }
}

/// The id of an asset.
pub(in crate::cli::simulate) fn asset(number: u64) -> String {
    format!("asset-{number:02}")
}
