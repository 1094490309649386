//! Asking the engine, page by page.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{Books, totals::Accounts};
use crate::{
    cli::simulate::{clients, plan::Account},
    domain::{
        calendar::Granularity,
        caller::Caller,
        id::OrganizationId,
        limits::PAGE_SIZE_MAX,
        quantity::Total,
        report::{Group, Grouping, RowOrder},
        usage::StoredRecord,
    },
    service::{
        PageRequest,
        reports::{ProductUsageQuery, RawFilter, RecordsQuery, UsageRow},
    },
};

/// Keeps everything apart that there is.
const BY_ALL: Grouping = Grouping { product: true, instance: true, sku: true, client: true };

/// Usage of the period may be of so much before and after it: clocks of servers are wrong by less.
const MARGIN: SignedDuration = SignedDuration::from_hours(72);

/// Totals by the local date of a bucket's first instant, and by what is kept apart.
pub(super) type Totals = BTreeMap<(Date, Group), Total>;

/// Whoever asks.
pub(super) fn auditor(organization: &OrganizationId) -> anyhow::Result<Caller> {
    clients::caller(organization, "auditor")
}

/// The page that follows the one of a token.
pub(super) fn page(page_token: String) -> PageRequest {
    PageRequest { page_size: i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX), page_token }
}

/// The local dates of an interval with some days around it, as an interval.
pub(super) fn dates_around(from: Timestamp, to: Timestamp, zone: &TimeZone) -> String {
    let date = |instant: Timestamp| instant.to_zoned(zone.clone()).date();
    let first = from.saturating_sub(MARGIN).unwrap_or(from);
    let end = to.saturating_add(MARGIN).unwrap_or(to);
    format!("{}/{}", date(first), date(end))
}

impl Books<'_> {
    /// The whole simulated time, and what is around it.
    pub(super) fn all_dates(&self, zone: &TimeZone) -> String {
        dates_around(self.plan.period.start, self.plan.period.end, zone)
    }

    /// Rows of some accounts' usage.
    pub(super) fn rows(
        &self,
        accounts: &Accounts,
        interval: &str,
        granularity: Granularity,
    ) -> anyhow::Result<Vec<UsageRow>> {
        let mut query = ProductUsageQuery {
            interval: interval.to_owned(),
            granularity,
            time_zone: accounts.zone_name.to_owned(),
            filter: filter(accounts),
            grouping: BY_ALL,
            order: RowOrder::TimeAscending,
            page: page(String::new()),
        };
        let engine = self.world.engine()?;
        let caller = auditor(&accounts.organization)?;
        let mut rows = Vec::new();
        loop {
            let asked = engine.reports.product_usage(&caller, query.clone());
            let answer = self.world.wait(asked).context("cannot ask for totals")?;
            rows.extend(answer.rows);
            if answer.next_page_token.is_empty() {
                return Ok(rows);
            }
            query.page = page(answer.next_page_token);
        }
    }

    /// The same by local date; a bucket that a month begins in the middle of counts for its first day.
    pub(super) fn totals(
        &self,
        accounts: &Accounts,
        interval: &str,
        granularity: Granularity,
    ) -> anyhow::Result<Totals> {
        let mut totals = Totals::new();
        for row in self.rows(accounts, interval, granularity)? {
            let date = row.start.to_zoned(accounts.zone.clone()).date();
            let date = if granularity == Granularity::Month { date.first_of_month() } else { date };
            // Two rows of one bucket and group would be a fault: their sum differs from what is expected.
            totals.entry((date, row.group)).or_default().add(row.total)?;
        }
        Ok(totals)
    }

    /// Hands every record of an organization that a query lists to `visit`, in the order of the log.
    pub(super) fn list(
        &self,
        organization: &OrganizationId,
        mut query: RecordsQuery,
        mut visit: impl FnMut(StoredRecord),
    ) -> anyhow::Result<()> {
        let engine = self.world.engine()?;
        let caller = auditor(organization)?;
        query.page = page(String::new());
        loop {
            let asked = engine.reports.records(&caller, query.clone());
            let answer = self.world.wait(asked).context("cannot list records")?;
            answer.items.into_iter().for_each(&mut visit);
            if answer.next_page_token.is_empty() {
                return Ok(());
            }
            query.page = page(answer.next_page_token);
        }
    }
}

/// Only usage of these accounts.
pub(super) fn filter(accounts: &Accounts) -> RawFilter {
    let mut filter =
        RawFilter { product_ids: vec![accounts.product.to_owned()], ..RawFilter::default() };
    for account in &accounts.accounts {
        match account {
            Account::Instance(instance) => filter.product_instance_ids.push(instance.to_string()),
            Account::Client(client) => filter.client_ids.push(client.to_string()),
        }
    }
    filter
}
