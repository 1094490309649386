//! Totals of product usage: by the hour, by the day and by the month in each customer's zone, and invoices.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{
    Auditor, Books, Invariant, Ledger,
    reading::{Totals, dates_around},
};
use crate::{
    cli::simulate::{
        model::Kept,
        plan::{Account, Customer, clock_changes, zone},
    },
    domain::{
        calendar::Granularity, id::OrganizationId, limits::FILTER_VALUES_MAX, quantity::Total,
        report::Group,
    },
};

/// Accounts whose hours are looked at in each zone that sets its clocks.
const HOURLY_ACCOUNTS_MAX: usize = 5;

/// Accounts of one organization, product and zone, few enough for one query.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) struct Accounts {
    pub(super) organization: OrganizationId,
    pub(super) product: &'static str,
    pub(super) zone_name: &'static str,
    pub(super) zone: TimeZone,
    pub(super) accounts: Vec<Account>,
}

/// Puts together whom one query can ask for.
pub(super) fn accounts(customers: &[Customer]) -> Vec<Accounts> {
    let mut groups: BTreeMap<_, Vec<Account>> = BTreeMap::new();
    for customer in customers {
        let has_instance = matches!(customer.account, Account::Instance(_));
        let Customer { organization, product, zone, account, .. } = customer;
        let key = (organization.clone(), *product, *zone, has_instance);
        groups.entry(key).or_default().push(account.clone());
    }
    let groups = groups.into_iter().flat_map(|((organization, product, zone_name, _), all)| {
        // Unknown zones were refused when the customers' plan was made.
        let zone = zone(zone_name).unwrap_or(TimeZone::UTC);
        let chunks: Vec<Vec<Account>> = all.chunks(FILTER_VALUES_MAX).map(<[_]>::to_vec).collect();
        chunks.into_iter().map(move |accounts| {
            let (organization, zone) = (organization.clone(), zone.clone());
            Accounts { organization, product, zone_name, zone, accounts }
        })
    });
    groups.collect()
}

/// What a record stands under in a report that keeps everything apart.
fn group_of(kept: &Kept) -> Group {
    Group {
        product: Some(kept.target.product.clone()),
        instance: kept.target.instance.clone(),
        sku: Some(kept.record.sku.clone()),
        client: Some(kept.client.clone()),
    }
}

impl Books<'_> {
    fn kept_of<'a>(&'a self, accounts: &'a Accounts) -> impl Iterator<Item = &'a Kept> {
        let of_account = |account| self.model.product.of_account(&accounts.organization, account);
        accounts.accounts.iter().flat_map(of_account)
    }

    /// Recounts records by the date on the calendar at the customers' place.
    fn recount(
        &self,
        accounts: &Accounts,
        is_wanted: impl Fn(Timestamp) -> bool,
    ) -> anyhow::Result<Totals> {
        let mut totals = Totals::new();
        for kept in self.kept_of(accounts).filter(|kept| is_wanted(kept.record.usage_time)) {
            let date = kept.record.usage_time.to_zoned(accounts.zone.clone()).date();
            let total = totals.entry((date, group_of(kept))).or_default();
            total.add(Total::of(kept.record.quantity))?;
        }
        Ok(totals)
    }
}

impl Auditor {
    /// The last days of some customers, others every time: cheap enough for every day.
    pub(in crate::cli::simulate) fn recent_days(
        &mut self,
        books: Books<'_>,
        turn: usize,
    ) -> anyhow::Result<()> {
        let turns = self.accounts.len().max(1);
        let Some(accounts) = self.accounts.get(turn % turns).cloned() else { return Ok(()) };
        let now = books.world.now();
        let interval = dates_around(now, now, &accounts.zone);
        let days = books.totals(&accounts, &interval, Granularity::Day)?;
        let (first, end) = ends(&interval, &accounts.zone)?;
        let expected = books.recount(&accounts, |used| first <= used && used < end)?;
        let what = format!("{} of {} in {interval}", accounts.product, accounts.organization);
        self.compare(Invariant::Days, &what, &expected, &days);
        Ok(())
    }

    /// Every customer's days, months and invoices, of the whole time.
    pub(in crate::cli::simulate) fn invoices(
        &mut self,
        books: Books<'_>,
        ledger: &Ledger,
    ) -> anyhow::Result<()> {
        for accounts in self.accounts.clone() {
            let what = format!(
                "{} of {} in {}",
                accounts.product, accounts.organization, accounts.zone_name
            );
            let interval = books.all_dates(&accounts.zone);
            let days = books.totals(&accounts, &interval, Granularity::Day)?;
            let expected = books.recount(&accounts, |_| true)?;
            self.compare(Invariant::Days, &what, &expected, &days);
            let months = books.totals(&accounts, &interval, Granularity::Month)?;
            let expected = by_month(&expected)?;
            self.compare(Invariant::Months, &what, &expected, &months);
            // Months that only the model knows of are asked for as well.
            let billed = expected.keys().map(|(month, _)| *month).collect();
            self.invoices_of(books, ledger, &accounts, billed, &by_month(&days)?)?;
        }
        Ok(())
    }

    /// What is asked for as one month is what its days add up to, and its records.
    fn invoices_of(
        &mut self,
        books: Books<'_>,
        ledger: &Ledger,
        accounts: &Accounts,
        mut months: BTreeSet<Date>,
        sums_of_days: &Totals,
    ) -> anyhow::Result<()> {
        months.extend(sums_of_days.keys().map(|(month, _)| *month));
        let mut invoices = Totals::new();
        for month in months {
            let interval = format!("{month}/P1M");
            invoices.extend(books.totals(accounts, &interval, Granularity::Total)?);
        }
        let lines: BTreeSet<_> = invoices.keys().chain(sums_of_days.keys()).cloned().collect();
        for line in lines {
            let invoice = invoices.get(&line).copied().unwrap_or_default();
            let of_days = sums_of_days.get(&line).copied().unwrap_or_default();
            let (month, group) = &line;
            let of_records = ledger.sum(&accounts.organization, *month, group);
            self.check(Invariant::Invoices, invoice == of_days && invoice == of_records, || {
                format!(
                    "{} {line:?}: {invoice}, its days {of_days}, its records {of_records}",
                    accounts.organization
                )
            });
        }
        Ok(())
    }

    /// Hours around every moment at which clocks are set: each row has what was used from its start to its end.
    pub(in crate::cli::simulate) fn hours(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        for mut accounts in self.accounts.clone() {
            accounts.accounts.truncate(HOURLY_ACCOUNTS_MAX);
            let changes = clock_changes(&accounts.zone, &books.plan.period);
            for &change in &changes {
                let day = SignedDuration::from_hours(24);
                let date = |instant: Timestamp| instant.to_zoned(accounts.zone.clone()).date();
                let first = date(change.saturating_sub(day).unwrap_or(change));
                let end = date(change).checked_add(2.days()).context("the last days")?;
                let interval = format!("{first}/{end}");
                self.hours_of(books, &accounts, &interval, &changes)?;
            }
        }
        Ok(())
    }

    fn hours_of(
        &mut self,
        books: Books<'_>,
        accounts: &Accounts,
        interval: &str,
        changes: &[Timestamp],
    ) -> anyhow::Result<()> {
        let (first, end) = ends(interval, &accounts.zone)?;
        let wanted = books
            .kept_of(accounts)
            .filter(|kept| first <= kept.record.usage_time && kept.record.usage_time < end);
        let records: Vec<&Kept> = wanted.collect();
        let mut in_rows = 0;
        for row in books.rows(accounts, interval, Granularity::Hour)? {
            let mut expected = Total::default();
            for kept in &records {
                let used = kept.record.usage_time;
                if row.start <= used && used < row.end && group_of(kept) == row.group {
                    expected.add(Total::of(kept.record.quantity))?;
                }
            }
            in_rows += row.total.records;
            let begins_hour = row.start.to_zoned(accounts.zone.clone()).minute() == 0;
            // Where clocks are set within an hour, it ends there and another begins.
            let is_hour = row.end.duration_since(row.start) <= SignedDuration::from_hours(1)
                && (begins_hour || changes.contains(&row.start))
                && !changes.iter().any(|change| row.start < *change && *change < row.end);
            self.check(Invariant::Hours, row.total == expected && is_hour, || {
                format!("{} instead of {expected}: {row:?}", row.total)
            });
        }
        let count = records.len() as u64;
        self.check(Invariant::Hours, in_rows == count, || {
            format!("{in_rows} records instead of {count} in {interval}, {}", accounts.zone_name)
        });
        Ok(())
    }
}

/// Adds days up to months.
fn by_month(days: &Totals) -> anyhow::Result<Totals> {
    let mut months = Totals::new();
    for ((date, group), total) in days {
        months.entry((date.first_of_month(), group.clone())).or_default().add(*total)?;
    }
    Ok(months)
}

/// The first instant of an interval of dates, and the first one after it.
fn ends(interval: &str, zone: &TimeZone) -> anyhow::Result<(Timestamp, Timestamp)> {
    let (first, end) = interval.split_once('/').context("an interval has two ends")?;
    let instant = |date: &str| -> anyhow::Result<Timestamp> {
        let date: Date = date.parse()?;
        Ok(date.to_zoned(zone.clone())?.timestamp())
    };
    Ok((instant(first)?, instant(end)?))
}
