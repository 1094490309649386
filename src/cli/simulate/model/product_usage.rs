//! Product usage, as it must be.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use super::{
    CatalogModel, Expected,
    rules::{judge, uuid},
};
use crate::{
    cli::simulate::plan::{Account, Customer},
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
        quantity::Total,
        usage::{UsageRecord, UsageTarget},
        verdict::RejectionReason,
    },
    service::product_usage::{RecordVerdict, UsageReport},
};

/// A record that was accepted.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) struct Kept {
    pub(in crate::cli::simulate) organization: OrganizationId,
    pub(in crate::cli::simulate) client: ClientId,
    pub(in crate::cli::simulate) target: UsageTarget,
    pub(in crate::cli::simulate) record: UsageRecord,
    pub(in crate::cli::simulate) stored: Timestamp,
    /// It was in doubt: it may have been stored then.
    pub(in crate::cli::simulate) stored_earlier: Option<Timestamp>,
}

impl Kept {
    /// Whose invoice it stands on.
    fn account(&self) -> Account {
        match &self.target.instance {
            Some(instance) => Account::Instance(instance.clone()),
            None => Account::Client(self.client.clone()),
        }
    }
}

/// All records, and where each stands by uuid and by account.
#[derive(Debug, Default)]
pub(in crate::cli::simulate) struct ProductModel {
    kept: Vec<Kept>,
    by_uuid: HashMap<(OrganizationId, Uuid), usize>,
    by_account: HashMap<(OrganizationId, Account), Vec<usize>>,
    by_organization: HashMap<OrganizationId, (Vec<usize>, Total)>,
    /// By dates in UTC.
    by_date: BTreeMap<(OrganizationId, Date), Total>,
    /// Uuids that may be taken, and since when.
    doubts: HashMap<(OrganizationId, Uuid), Timestamp>,
}

impl ProductModel {
    pub(super) fn decide(
        &mut self,
        catalog: &CatalogModel,
        caller: &Caller,
        report: &UsageReport,
        now: Timestamp,
        stored: Timestamp,
    ) -> Vec<Expected<RecordVerdict>> {
        let target = catalog.target(&report.target);
        // Of a call that only asks: what it would keep.
        let mut asked: HashMap<Uuid, UsageRecord> = HashMap::new();
        let mut verdicts = Vec::with_capacity(report.records.len());
        for reported in &report.records {
            let verdict = match judge(catalog, target.as_ref(), reported, now) {
                Err(reason) => {
                    Expected::Exactly(RecordVerdict::Rejected { reason, conflict: false })
                }
                Ok((target, record)) => {
                    let key = (caller.organization.clone(), record.uuid);
                    let known = self.by_uuid.get(&key).and_then(|place| self.kept.get(*place));
                    if let Some(first) = known {
                        duplicate(first.target != target || first.record != record)
                    } else if let Some(first) = asked.get(&record.uuid) {
                        duplicate(*first != record)
                    } else if report.validate_only {
                        asked.insert(record.uuid, record);
                        Expected::Exactly(RecordVerdict::Accepted)
                    } else {
                        let stored_earlier = self.doubts.remove(&key);
                        let client = caller.client.clone();
                        let (organization, _) = key;
                        self.keep(Kept {
                            organization,
                            client,
                            target,
                            record,
                            stored,
                            stored_earlier,
                        });
                        match stored_earlier {
                            Some(_) => Expected::Settled,
                            None => Expected::Exactly(RecordVerdict::Accepted),
                        }
                    }
                }
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    fn keep(&mut self, kept: Kept) {
        let place = self.kept.len();
        let organization = kept.organization.clone();
        self.by_uuid.insert((organization.clone(), kept.record.uuid), place);
        self.by_account.entry((organization.clone(), kept.account())).or_default().push(place);
        let date = kept.record.usage_time.to_zoned(TimeZone::UTC).date();
        let (places, total) = self.by_organization.entry(organization.clone()).or_default();
        places.push(place);
        for total in [total, self.by_date.entry((organization, date)).or_default()] {
            total.records += 1;
            total.quantity += u128::from(kept.record.quantity.get().cast_unsigned());
        }
        self.kept.push(kept);
    }

    /// Records of a call that may have been stored or not.
    pub(super) fn doubt(
        &mut self,
        organization: &OrganizationId,
        report: &UsageReport,
        stored: Timestamp,
    ) {
        for record in &report.records {
            if let Some(uuid) = uuid(&record.uuid) {
                self.doubts.insert((organization.clone(), uuid), stored);
            }
        }
    }

    pub(super) fn doubts(&self) -> usize {
        self.doubts.len()
    }

    /// All records, in the order in which they were accepted.
    pub(in crate::cli::simulate) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Where the record of a uuid stands among all.
    pub(in crate::cli::simulate) fn place_of(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Option<usize> {
        self.by_uuid.get(&(organization.clone(), uuid)).copied()
    }

    /// The record of a uuid.
    pub(in crate::cli::simulate) fn find(
        &self,
        organization: &OrganizationId,
        uuid: Uuid,
    ) -> Option<&Kept> {
        self.kept.get(self.place_of(organization, uuid)?)
    }

    /// The records of an account.
    pub(in crate::cli::simulate) fn of_account(
        &self,
        organization: &OrganizationId,
        account: &Account,
    ) -> impl Iterator<Item = &Kept> {
        let places = self.by_account.get(&(organization.clone(), account.clone()));
        places.into_iter().flatten().filter_map(|place| self.kept.get(*place))
    }

    /// What an organization has in all.
    pub(in crate::cli::simulate) fn total(&self, organization: &OrganizationId) -> Total {
        self.by_organization.get(organization).map(|(_, total)| *total).unwrap_or_default()
    }

    /// What an organization has by date in UTC.
    pub(in crate::cli::simulate) fn by_date(
        &self,
        organization: &OrganizationId,
        dates: Range<Date>,
    ) -> impl Iterator<Item = (Date, Total)> {
        let key = |date: Date| (organization.clone(), date);
        let found = self.by_date.range(key(dates.start)..key(dates.end));
        found.map(|((_, date), total)| (*date, *total))
    }

    /// One of a customer's records, one of the last if `recent`.
    pub(in crate::cli::simulate) fn of_customer(
        &self,
        customer: &Customer,
        random: u64,
        recent: bool,
    ) -> Option<&Kept> {
        let key = (customer.organization.clone(), customer.account.clone());
        let places = self.by_account.get(&key)?;
        let among = if recent { places.len().min(6) } else { places.len() };
        self.kept.get(*nth_from_end(places, random, among)?)
    }

    /// One of an organization's records.
    pub(in crate::cli::simulate) fn any(
        &self,
        organization: &OrganizationId,
        random: u64,
    ) -> Option<&Kept> {
        let (places, _) = self.by_organization.get(organization)?;
        self.kept.get(*nth_from_end(places, random, places.len())?)
    }

    /// Pretends that a record was accepted twice, under two uuids.
    #[cfg(test)]
    pub(in crate::cli::simulate) fn expect_one_more(&mut self) {
        let mut phantom = self.kept.first().cloned().expect("something was accepted");
        phantom.record.uuid = Uuid::from_u128(phantom.record.uuid.as_u128() ^ 1);
        self.keep(phantom);
    }
}

/// One of the last `among`.
pub(super) fn nth_from_end<T>(list: &[T], random: u64, among: usize) -> Option<&T> {
    let back = usize::try_from(random % (among as u64).max(1)).ok()?;
    list.get(list.len().checked_sub(1 + back)?)
}

fn duplicate(conflict: bool) -> Expected<RecordVerdict> {
    Expected::Exactly(RecordVerdict::Rejected { reason: RejectionReason::Duplicate, conflict })
}
