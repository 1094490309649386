//! Batches of asset usage, as they must be.

use std::collections::{BTreeMap, HashMap};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{CatalogModel, Expected, product_usage::nth_from_end};
use crate::{
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
        quantity::Total,
    },
    service::usage_batches::RawAssetUsage,
};

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::simulate) enum BatchOutcome {
    Recorded { usages: usize },
    Taken { identical: bool, usages: usize },
    Invalid { violations: usize, unknown_assets: Vec<String> },
}

/// A batch that was recorded.
#[derive(Debug, Clone)]
pub(in crate::cli::simulate) struct KeptBatch {
    pub(in crate::cli::simulate) client: ClientId,
    pub(in crate::cli::simulate) usages: Vec<RawAssetUsage>,
    pub(in crate::cli::simulate) stored: Timestamp,
    pub(in crate::cli::simulate) stored_earlier: Option<Timestamp>,
}

/// What totals of asset usage are told apart by.
pub(in crate::cli::simulate) type Line = (Date, String, ClientId);

/// All batches.
#[derive(Debug, Default)]
pub(in crate::cli::simulate) struct BatchModel {
    kept: HashMap<(OrganizationId, String), KeptBatch>,
    ids: HashMap<OrganizationId, Vec<String>>,
    totals: HashMap<OrganizationId, BTreeMap<Line, Total>>,
    doubts: HashMap<(OrganizationId, String), Timestamp>,
}

impl BatchModel {
    pub(super) fn decide(
        &mut self,
        catalog: &CatalogModel,
        caller: &Caller,
        id: &str,
        usages: &[RawAssetUsage],
        now: Timestamp,
        stored: Timestamp,
    ) -> Expected<BatchOutcome> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let dates: Vec<Option<Date>> = usages.iter().map(|usage| date(usage, today)).collect();
        let is_wrong = |quantity: i64| !(1..=i64::from(i32::MAX)).contains(&quantity);
        let violations = usages.iter().filter(|usage| is_wrong(usage.quantity)).count()
            + dates.iter().filter(|date| date.is_none()).count();
        let mut unknown_assets: Vec<String> = Vec::new();
        for usage in usages {
            if !catalog.takes_asset(&usage.asset_id) && !unknown_assets.contains(&usage.asset_id) {
                unknown_assets.push(usage.asset_id.clone());
            }
        }
        let key = (caller.organization.clone(), id.to_owned());
        if violations > 0 {
            return Expected::Exactly(BatchOutcome::Invalid { violations, unknown_assets });
        }
        if let Some(first) = self.kept.get(&key) {
            let (identical, count) = (first.usages == usages, first.usages.len());
            return Expected::Exactly(BatchOutcome::Taken { identical, usages: count });
        }
        if !unknown_assets.is_empty() {
            return Expected::Exactly(BatchOutcome::Invalid { violations, unknown_assets });
        }
        let totals = self.totals.entry(caller.organization.clone()).or_default();
        for (usage, date) in usages.iter().zip(dates) {
            let line = (date.unwrap_or(today), usage.asset_id.clone(), caller.client.clone());
            let total = totals.entry(line).or_default();
            total.records += 1;
            total.quantity += u128::from(usage.quantity.cast_unsigned());
        }
        self.ids.entry(caller.organization.clone()).or_default().push(id.to_owned());
        let stored_earlier = self.doubts.remove(&key);
        let client = caller.client.clone();
        let kept = KeptBatch { client, usages: usages.to_vec(), stored, stored_earlier };
        self.kept.insert(key, kept);
        match stored_earlier {
            Some(_) => Expected::Settled,
            None => Expected::Exactly(BatchOutcome::Recorded { usages: usages.len() }),
        }
    }

    pub(super) fn doubt(&mut self, organization: &OrganizationId, id: &str, stored: Timestamp) {
        self.doubts.insert((organization.clone(), id.to_owned()), stored);
    }

    pub(super) fn doubts(&self) -> usize {
        self.doubts.len()
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// One of an organization's batches.
    pub(in crate::cli::simulate) fn any(
        &self,
        organization: &OrganizationId,
        random: u64,
    ) -> Option<(&String, &Vec<RawAssetUsage>)> {
        let ids = self.ids.get(organization)?;
        let id = nth_from_end(ids, random, ids.len())?;
        let kept = self.kept.get(&(organization.clone(), id.clone()))?;
        Some((id, &kept.usages))
    }

    /// The ids of an organization's batches, in the order in which they were recorded.
    pub(in crate::cli::simulate) fn ids(&self, organization: &OrganizationId) -> &[String] {
        self.ids.get(organization).map_or(&[], Vec::as_slice)
    }

    /// A batch.
    pub(in crate::cli::simulate) fn find(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Option<&KeptBatch> {
        self.kept.get(&(organization.clone(), id.to_owned()))
    }

    /// What an organization's totals are.
    pub(in crate::cli::simulate) fn totals(
        &self,
        organization: &OrganizationId,
    ) -> BTreeMap<Line, Total> {
        self.totals.get(organization).cloned().unwrap_or_default()
    }
}

/// The date of a usage, if it may be: clients write it as 2026-11-20.
fn date(usage: &RawAssetUsage, today: Date) -> Option<Date> {
    let date: Date = usage.usage_date.parse().ok()?;
    (date <= today).then_some(date)
}
