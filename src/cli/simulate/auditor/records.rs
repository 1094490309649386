//! The records themselves: looked up one by one, and listed as a whole.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use uuid::Uuid;

use super::{
    Accounts, Auditor, Books, Invariant, Ledger,
    reading::{auditor, filter},
};
use crate::{
    cli::simulate::model::Kept,
    domain::{
        id::OrganizationId,
        usage::{LogSequence, StoredRecord},
    },
    service::{ServiceError, reports::RecordsQuery},
    store::StoreStatus,
};

/// The last records that are looked up after each round, and after each start of the engine.
const LOOKED_UP: usize = 2;
const LOOKED_UP_AFTER_START: usize = 25;

/// Whether a record is what was accepted.
fn is_kept(stored: &StoredRecord, kept: &Kept) -> bool {
    stored.organization == kept.organization
        && stored.client == kept.client
        && stored.target == kept.target
        && stored.record == kept.record
}

impl Books<'_> {
    fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> anyhow::Result<Option<StoredRecord>> {
        let engine = self.world.engine()?;
        let caller = auditor(organization)?;
        match self.world.wait(engine.reports.record(&caller, &uuid.to_string())) {
            Ok(stored) => Ok(Some(stored)),
            Err(ServiceError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).context("cannot look a record up"),
        }
    }
}

impl Auditor {
    /// After a round: what was just accepted is there, in its organization alone and in the totals.
    pub(in crate::cli::simulate) fn visible(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        self.last_records(books, LOOKED_UP, Invariant::Visible)?;
        self.count(books, Invariant::Together)?;
        self.today(books)
    }

    /// After a start: what was acknowledged last is there, and nothing else.
    pub(in crate::cli::simulate) fn survived(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        self.last_records(books, LOOKED_UP_AFTER_START, Invariant::Durable)?;
        self.count(books, Invariant::Durable)?;
        self.sums(books, Invariant::Durable)
    }

    /// While writes are refused: the store says so, and shows what was acknowledged, and no more.
    pub(in crate::cli::simulate) fn reads_go_on(&mut self, books: Books<'_>) -> anyhow::Result<()> {
        let status = books.world.engine()?.store.status();
        self.check(Invariant::FailsClosed, matches!(status, StoreStatus::Failed(_)), || {
            "the store takes writes after one has failed".into()
        });
        self.last_records(books, LOOKED_UP, Invariant::FailsClosed)?;
        self.sums(books, Invariant::FailsClosed)
    }

    fn last_records(
        &mut self,
        books: Books<'_>,
        count: usize,
        invariant: Invariant,
    ) -> anyhow::Result<()> {
        for kept in books.model.product.kept().iter().rev().take(count) {
            let uuid = kept.record.uuid;
            let found = books.find(&kept.organization, uuid)?;
            let holds = found.as_ref().is_some_and(|found| is_kept(found, kept));
            self.check(invariant, holds, || format!("{kept:?} is there as {found:?}"));
            let others = books.plan.organizations.iter().filter(|id| **id != kept.organization);
            for other in others {
                let expected = books.model.product.find(other, uuid);
                let found = books.find(other, uuid)?;
                let holds = match (&found, expected) {
                    (Some(found), Some(expected)) => is_kept(found, expected),
                    (found, expected) => found.is_none() && expected.is_none(),
                };
                self.check(Invariant::Apart, holds, || {
                    format!("{uuid} of {} is {found:?} in {other}", kept.organization)
                });
            }
        }
        Ok(())
    }

    /// Every record of every organization, once, in the order of the log and at the time it was accepted. Answers what
    /// they add up to.
    pub(in crate::cli::simulate) fn listings(
        &mut self,
        books: Books<'_>,
    ) -> anyhow::Result<Ledger> {
        let mut ledger = Ledger::new(&books.plan.customers)?;
        let mut listed = vec![false; books.model.product.kept().len()];
        for organization in &books.plan.organizations {
            let mut overflow = None;
            let mut end: Option<(LogSequence, Timestamp)> = None;
            books.list(organization, RecordsQuery::default(), |stored| {
                self.listed_once(books, organization, &stored, &mut listed);
                let here = (stored.sequence, stored.stored_time);
                let is_after = end.is_none_or(|end| end.0 <= here.0 && end.1 <= here.1);
                self.check(Invariant::LogTime, is_after, || format!("{stored:?} follows {end:?}"));
                end = Some(here);
                if let Err(error) = ledger.add(&stored) {
                    overflow = Some(error);
                }
            })?;
            self.check(Invariant::Exact, overflow.is_none(), || {
                format!("the records of {organization} pass 128 bits")
            });
        }
        for (kept, _) in books.model.product.kept().iter().zip(&listed).filter(|(_, was)| !**was) {
            self.check(Invariant::Listings, false, || format!("{kept:?} is not listed"));
        }
        Ok(ledger)
    }

    fn listed_once(
        &mut self,
        books: Books<'_>,
        organization: &OrganizationId,
        stored: &StoredRecord,
        listed: &mut [bool],
    ) {
        let place = books.model.product.place_of(organization, stored.record.uuid);
        let Some((kept, was_listed)) = place.and_then(|place| {
            Some((books.model.product.kept().get(place)?, listed.get_mut(place)?))
        }) else {
            self.check(Invariant::Listings, false, || format!("{stored:?} was never accepted"));
            return;
        };
        self.check(Invariant::CountedOnce, !*was_listed, || format!("{stored:?} is listed twice"));
        *was_listed = true;
        self.check(Invariant::Listings, is_kept(stored, kept), || {
            format!("{stored:?} instead of {kept:?}")
        });
        let times = [Some(kept.stored), kept.stored_earlier];
        self.check(Invariant::LogTime, times.contains(&Some(stored.stored_time)), || {
            format!("{stored:?} was accepted at {}", kept.stored)
        });
    }

    /// What some customers have in one month, listed as they would ask for it.
    pub(in crate::cli::simulate) fn listings_of_customers(
        &mut self,
        books: Books<'_>,
    ) -> anyhow::Result<()> {
        let every = (self.accounts.len() / 4).max(1);
        let accounts: Vec<Accounts> = self.accounts.iter().step_by(every).cloned().collect();
        for accounts in accounts {
            // Without a zone: usage intervals of listings are in UTC unless they say otherwise.
            let date = books.plan.period.start.to_zoned(TimeZone::UTC).date();
            let end = date.checked_add(3.days()).context("the third day")?;
            let usage_interval = format!("{date}/{end}");
            let query = RecordsQuery {
                usage_interval,
                filter: filter(&accounts),
                ..RecordsQuery::default()
            };
            let mut found = BTreeSet::new();
            books.list(&accounts.organization, query, |stored| {
                found.insert(stored.record.uuid);
            })?;
            let of_accounts = accounts.accounts.iter().flat_map(|account| {
                books.model.product.of_account(&accounts.organization, account)
            });
            let expected: BTreeSet<Uuid> = of_accounts
                .filter(|kept| {
                    let used = kept.record.usage_time.to_zoned(TimeZone::UTC).date();
                    date <= used && used < end
                })
                .map(|kept| kept.record.uuid)
                .collect();
            self.check(Invariant::Listings, found == expected, || {
                let differing: Vec<_> = found.symmetric_difference(&expected).take(3).collect();
                format!("{accounts:?}: {differing:?} are listed, or missing, wrongly")
            });
        }
        Ok(())
    }
}
