//! What must come of every call: an exact model in memory, with rules of its own for what the engine is judged by: which
//! usage is taken, when and of what; what is a duplicate, and of whom; what adds up to what. It has in common with the
//! engine how values are spelt (the types of `domain`) and the database of time zones.
//!
//! It is told of every call in the order in which the engine decides them, and says what must be answered. What a failed
//! write left behind nobody can know: it is *in doubt* until the call is made again, and counts once either way.

mod api_usage;
mod batches;
mod catalog;
mod product_usage;
mod rules;

use std::collections::HashMap;

use jiff::Timestamp;

pub(super) use self::{
    api_usage::ApiModel,
    batches::{BatchModel, BatchOutcome, Line},
    catalog::CatalogModel,
    product_usage::{Kept, ProductModel},
};
use super::{
    clients::{Call, Report},
    plan::{Account, CatalogStep, Customer, Plan},
};
use crate::{
    domain::id::OrganizationId,
    service::{
        api_usage::EventVerdict,
        product_usage::{RecordVerdict, ReportedTarget},
    },
};

/// What must be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected<V> {
    /// This.
    Exactly(V),
    /// It was in doubt: either that it is accepted, or that it is there and says the same.
    Settled,
}

/// What must be answered to a call.
#[derive(Debug, Clone)]
pub(super) enum ExpectedAnswer {
    Records(Vec<Expected<RecordVerdict>>),
    Events(Vec<Expected<EventVerdict>>),
    Batch(Expected<BatchOutcome>),
}

/// Everything that the engine must hold.
#[derive(Debug)]
pub(super) struct Model {
    catalogs: HashMap<OrganizationId, CatalogModel>,
    pub(super) product: ProductModel,
    pub(super) api: ApiModel,
    pub(super) batches: BatchModel,
    /// When the log was last written, by the server's clock: no later entry has an earlier time.
    log_time: Timestamp,
}

impl Model {
    pub(super) fn new(plan: &Plan) -> Self {
        let catalog = |organization: &OrganizationId| {
            (organization.clone(), CatalogModel::at_first(organization, &plan.customers))
        };
        Self {
            catalogs: plan.organizations.iter().map(catalog).collect(),
            product: ProductModel::default(),
            api: ApiModel::default(),
            batches: BatchModel::default(),
            log_time: Timestamp::MIN,
        }
    }

    /// What an organization sells.
    pub(super) fn catalog(&self, organization: &OrganizationId) -> Option<&CatalogModel> {
        self.catalogs.get(organization)
    }

    /// Changes what an organization sells.
    pub(super) fn change_catalog(&mut self, organization: &OrganizationId, step: &CatalogStep) {
        if let Some(catalog) = self.catalogs.get_mut(organization) {
            catalog.change(step);
        }
    }

    /// Whether a record of a customer's is accepted at the moment, if it is right.
    pub(super) fn takes_usage_of(&self, customer: &Customer) -> bool {
        let target = match &customer.account {
            Account::Instance(instance) => ReportedTarget::Instance(instance.to_string()),
            Account::Client(_) => ReportedTarget::Product(customer.product.to_owned()),
        };
        self.catalog(&customer.organization).is_some_and(|catalog| {
            let target = catalog.target(&target);
            target.is_some_and(|target| catalog.sku(&target.product, "requests").is_some())
        })
    }

    /// Decides a call that the engine decides at `now`; answers what the engine must.
    pub(super) fn decide(&mut self, call: &Call, now: Timestamp) -> Option<ExpectedAnswer> {
        let organization = &call.caller.organization;
        let catalog = self.catalogs.get(organization)?;
        // The log is in the order of stored times whatever the clock does.
        let stored = now.max(self.log_time);
        let before = self.written();
        let answer = match &call.report {
            Report::Product(report) => {
                let caller = &call.caller;
                let verdicts = self.product.decide(catalog, caller, report, now, stored);
                ExpectedAnswer::Records(verdicts)
            }
            Report::ApiUsage(events) => {
                ExpectedAnswer::Events(self.api.decide(&call.caller, events, now))
            }
            Report::Batch { id, usages } => {
                let caller = &call.caller;
                let outcome = self.batches.decide(catalog, caller, id, usages, now, stored);
                ExpectedAnswer::Batch(outcome)
            }
        };
        if self.written() > before {
            self.log_time = stored;
        }
        Some(answer)
    }

    /// A write failed at `now`: whether anything of the call was kept is not known until it is made again.
    pub(super) fn doubt(&mut self, call: &Call, now: Timestamp) {
        let stored = now.max(self.log_time);
        let organization = &call.caller.organization;
        match &call.report {
            Report::Product(report) => self.product.doubt(organization, report, stored),
            Report::ApiUsage(events) => self.api.doubt(organization, events),
            Report::Batch { id, .. } => self.batches.doubt(organization, id, stored),
        }
    }

    /// How much is still in doubt.
    pub(super) fn doubts(&self) -> usize {
        self.product.doubts() + self.api.doubts() + self.batches.doubts()
    }

    /// Records and events that are kept: what the store counts.
    pub(super) fn records(&self) -> u64 {
        (self.product.kept().len() + self.api.kept()) as u64
    }

    fn written(&self) -> usize {
        self.product.kept().len() + self.api.kept() + self.batches.kept()
    }
}
