//! What organizations have in all, and how many records that is.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{civil::Date, tz::TimeZone};

use super::{
    Auditor, Books, Invariant,
    reading::{auditor, dates_around, page},
};
use crate::{
    domain::{
        calendar::Granularity,
        id::OrganizationId,
        quantity::Total,
        report::{Grouping, RowOrder},
    },
    service::reports::{ProductUsagePage, ProductUsageQuery, RawFilter},
};

impl Books<'_> {
    /// What an organization has in an interval of days in UTC, nothing kept apart.
    fn in_all(
        &self,
        organization: &OrganizationId,
        interval: String,
        granularity: Granularity,
    ) -> anyhow::Result<ProductUsagePage> {
        let query = ProductUsageQuery {
            interval,
            granularity,
            time_zone: String::new(),
            filter: RawFilter::default(),
            grouping: Grouping::default(),
            order: RowOrder::TimeAscending,
            // As many rows as there are days.
            page: page(String::new()),
        };
        let engine = self.world.engine()?;
        let caller = auditor(organization)?;
        let page = self.world.wait(engine.reports.product_usage(&caller, query));
        page.context("cannot ask for a sum")
    }
}

impl Auditor {
    /// Each organization has, in all, what was accepted.
    pub(in crate::cli::simulate) fn sums(
        &mut self,
        books: Books<'_>,
        invariant: Invariant,
    ) -> anyhow::Result<()> {
        for organization in &books.plan.organizations {
            let interval = books.all_dates(&TimeZone::UTC);
            let sum = books.in_all(organization, interval, Granularity::Total)?.sum;
            let expected = books.model.product.total(organization);
            self.check(invariant, sum == expected, || {
                format!("{organization} has {sum} instead of {expected}")
            });
        }
        Ok(())
    }

    /// The same of the day that it is by the server's clock, with its records as they are counted.
    pub(super) fn today(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        let today = books.world.now().to_zoned(TimeZone::UTC).date();
        let tomorrow = today.tomorrow()?;
        for organization in &books.plan.organizations {
            let interval = format!("{today}/{tomorrow}");
            let sum = books.in_all(organization, interval, Granularity::Total)?.sum;
            let mut of_day = books.model.product.by_date(organization, today..tomorrow);
            let expected = of_day.next().map(|(_, total)| total).unwrap_or_default();
            self.check(Invariant::Together, sum == expected, || {
                format!("{organization} has {sum} instead of {expected} on {today}")
            });
        }
        Ok(())
    }

    /// The same of the last days, one by one.
    pub(in crate::cli::simulate) fn recent_sums(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        let now = books.world.now();
        let interval = dates_around(now, now, &TimeZone::UTC);
        let (first, end) = interval.split_once('/').context("an interval has two ends")?;
        let (first, end): (Date, Date) = (first.parse()?, end.parse()?);
        for organization in &books.plan.organizations {
            let rows = books.in_all(organization, interval.clone(), Granularity::Day)?.rows;
            let rows = rows.iter().map(|row| (row.start.to_zoned(TimeZone::UTC).date(), row.total));
            let actual: BTreeMap<Date, Total> = rows.collect();
            let expected = books.model.product.by_date(organization, first..end).collect();
            self.compare(Invariant::Exact, organization.as_str(), &expected, &actual);
        }
        Ok(())
    }

    /// The store counts as many records and events as were accepted. Not while something is in doubt.
    pub(super) fn count(&mut self, books: Books<'_>, invariant: Invariant) -> anyhow::Result<()> {
        if books.model.doubts() > 0 {
            return Ok(());
        }
        let (stored, accepted) =
            (books.world.engine()?.store.statistics().records, books.model.records());
        self.check(invariant, stored == accepted, || {
            format!("{stored} records and events are stored, {accepted} were accepted")
        });
        Ok(())
    }
}
