//! What the listed records add up to: what an invoice must say, told by the engine's own records.

use std::collections::{BTreeMap, HashMap};

use jiff::{civil::Date, tz::TimeZone};

use crate::{
    cli::simulate::plan::{Account, Customer, zone},
    domain::{
        id::OrganizationId,
        quantity::{Total, TotalOverflow},
        report::Group,
        usage::StoredRecord,
    },
};

/// Sums of listed records by organization, month in the zone of whoever pays, and what is kept apart.
#[derive(Debug, Default)]
pub(in crate::cli::simulate) struct Ledger {
    zones: HashMap<(OrganizationId, Account), TimeZone>,
    sums: HashMap<OrganizationId, BTreeMap<(Date, Group), Total>>,
}

impl Ledger {
    pub(super) fn new(customers: &[Customer]) -> anyhow::Result<Self> {
        let zones = customers.iter().map(|customer| {
            let key = (customer.organization.clone(), customer.account.clone());
            Ok((key, zone(customer.zone)?))
        });
        Ok(Self { zones: zones.collect::<anyhow::Result<_>>()?, sums: HashMap::new() })
    }

    /// Adds a record. One of nobody's stands in UTC, where no invoice asks for it.
    pub(super) fn add(&mut self, stored: &StoredRecord) -> Result<(), TotalOverflow> {
        let account = match &stored.target.instance {
            Some(instance) => Account::Instance(instance.clone()),
            None => Account::Client(stored.client.clone()),
        };
        let zone = self.zones.get(&(stored.organization.clone(), account));
        let zone = zone.cloned().unwrap_or(TimeZone::UTC);
        let month = stored.record.usage_time.to_zoned(zone).date().first_of_month();
        let group = Group {
            product: Some(stored.target.product.clone()),
            instance: stored.target.instance.clone(),
            sku: Some(stored.record.sku.clone()),
            client: Some(stored.client.clone()),
        };
        let sums = self.sums.entry(stored.organization.clone()).or_default();
        sums.entry((month, group)).or_default().add(Total::of(stored.record.quantity))
    }

    /// What a line of an invoice must say.
    pub(super) fn sum(&self, organization: &OrganizationId, month: Date, group: &Group) -> Total {
        let sums = self.sums.get(organization);
        sums.and_then(|sums| sums.get(&(month, group.clone()))).copied().unwrap_or_default()
    }
}
