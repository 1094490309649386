//! Batches of asset usage, and their totals.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use super::{
    Auditor, Books, Invariant,
    reading::{auditor, page},
};
use crate::{
    cli::simulate::model::Line,
    domain::{
        calendar::Granularity,
        id::OrganizationId,
        quantity::Total,
        report::{AssetGrouping, RowOrder},
    },
    service::reports::{AssetUsageQuery, RawAssetFilter},
};

/// The last batches that are looked up every day.
const LOOKED_UP: usize = 3;

impl Books<'_> {
    fn asset_totals(&self, organization: &OrganizationId) -> anyhow::Result<BTreeMap<Line, Total>> {
        let date = |instant: Timestamp| instant.to_zoned(TimeZone::UTC).date();
        let first = date(self.plan.period.start).checked_sub(60.days())?;
        let end = date(self.plan.period.end).checked_add(5.days())?;
        let mut query = AssetUsageQuery {
            interval: format!("{first}/{end}"),
            granularity: Granularity::Day,
            filter: RawAssetFilter::default(),
            grouping: AssetGrouping { asset: true, client: true },
            order: RowOrder::TimeAscending,
            page: page(String::new()),
        };
        let engine = self.world.engine()?;
        let caller = auditor(organization)?;
        let mut totals: BTreeMap<Line, Total> = BTreeMap::new();
        loop {
            let asked = engine.reports.asset_usage(&caller, query.clone());
            let answer = self.world.wait(asked).context("cannot ask for totals of assets")?;
            for row in answer.rows {
                let asset = row.group.asset.context("a row without an asset")?.to_string();
                let client = row.group.client.context("a row without a client")?;
                totals.entry((row.start, asset, client)).or_default().add(row.total)?;
            }
            if answer.next_page_token.is_empty() {
                return Ok(totals);
            }
            query.page = page(answer.next_page_token);
        }
    }
}

impl Auditor {
    /// The last batches, line by line.
    pub(in crate::cli::simulate) fn recent_batches(
        &mut self,
        books: Books<'_>,
    ) -> anyhow::Result<()> {
        let engine = books.world.engine()?;
        for organization in &books.plan.organizations {
            let caller = auditor(organization)?;
            for id in books.model.batches.ids(organization).iter().rev().take(LOOKED_UP) {
                let kept = books.model.batches.find(organization, id).context("a batch")?;
                let found = books.world.wait(engine.batches.batch(&caller, id));
                let holds = found.as_ref().is_ok_and(|found| {
                    let lines = found.usages.iter().map(|usage| {
                        (usage.asset.as_str(), usage.quantity.get(), usage.day.date().to_string())
                    });
                    let expected = kept.usages.iter().map(|usage| {
                        (usage.asset_id.as_str(), usage.quantity, usage.usage_date.clone())
                    });
                    let times = [Some(kept.stored), kept.stored_earlier];
                    found.client == kept.client
                        && lines.eq(expected)
                        && times.contains(&Some(found.stored_time))
                });
                self.check(Invariant::Assets, holds, || {
                    format!("batch {id} of {organization} is {found:?} instead of {kept:?}")
                });
            }
        }
        Ok(())
    }

    /// What assets were used, by day, of the whole time.
    pub(in crate::cli::simulate) fn asset_totals(
        &mut self,
        books: Books<'_>,
    ) -> anyhow::Result<()> {
        for organization in &books.plan.organizations {
            let (expected, actual) =
                (books.model.batches.totals(organization), books.asset_totals(organization)?);
            let what = format!("assets of {organization}");
            self.compare(Invariant::Assets, &what, &expected, &actual);
        }
        Ok(())
    }
}
