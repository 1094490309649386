//! What the simulated clients do: they report, lose answers and report again, repeat themselves by mistake, report late,
//! have wrong clocks and make mistakes of every kind. They know what was kept only where they repeat it.

mod api_usage;
mod batches;
mod history;
mod product_usage;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub(super) use self::batches::asset;
use super::{
    figures::Figures,
    model::Model,
    plan::{Customer, Plan},
};
use crate::{
    cli::random::{Random, mixed},
    domain::{
        caller::Caller,
        id::{ClientId, OrganizationId},
    },
    service::{api_usage::ReportedEvent, product_usage::UsageReport, usage_batches::RawAssetUsage},
};

/// What becomes of the answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The client gets it.
    Answered,
    /// It is lost on the way; the client calls again.
    Lost,
    /// The client hangs up as soon as the call is queued, and calls again.
    HungUp,
}

/// What is reported.
#[derive(Debug, Clone)]
pub(super) enum Report {
    Product(UsageReport),
    ApiUsage(Vec<ReportedEvent>),
    Batch { id: String, usages: Vec<RawAssetUsage> },
}

/// A call of a client.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) report: Report,
    pub(super) fate: Fate,
}

/// When calls are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) round: u64,
    /// By a clock that is right.
    pub(super) truth: Timestamp,
    /// By the server's.
    pub(super) server: Timestamp,
    /// Nothing is reported late: it may have to be sent again, and be accepted then.
    pub(super) is_fresh: bool,
}

/// Of a hundred calls, so many lose their answer or hang up.
const LOST_PERCENT: u64 = 4;
const HUNG_UP_PERCENT: u64 = 2;

/// Rounds after which a call whose answer is lost is made again, at most.
const RETRY_ROUNDS_MAX: u64 = 2;

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    random: Random,
    organizations: Vec<OrganizationId>,
    customers: Vec<Customer>,
    /// Calls that are made again, by the round.
    retries: BTreeMap<u64, Vec<Call>>,
    /// How many batches each organization has reported.
    batches: BTreeMap<OrganizationId, u64>,
}

impl Clients {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            random: Random::new(mixed(plan.size.seed ^ 0x636c_6965)),
            organizations: plan.organizations.clone(),
            customers: plan.customers.clone(),
            retries: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }

    /// The calls of a round, in the order in which they are made.
    pub(super) fn calls(
        &mut self,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> anyhow::Result<Vec<Call>> {
        let mut calls = Vec::new();
        while let Some(due) = self.retries.first_entry().filter(|due| *due.key() <= at.round) {
            let again = due.remove();
            figures.count("clients", "calls made again", again.len());
            calls.extend(again);
        }
        for number in 0..self.customers.len() {
            let Some(customer) = self.customers.get(number).cloned() else { break };
            if let Some(call) = self.product_call(&customer, at, model, figures) {
                calls.push(call);
            }
        }
        for organization in self.organizations.clone() {
            calls.push(self.api_call(&organization, at, model, figures)?);
            if self.random.below(4) == 0 {
                calls.push(self.batch_call(&organization, at, model, figures)?);
            }
        }
        let mut made = Vec::with_capacity(calls.len());
        for call in calls {
            made.extend(self.with_fate(call, at.round, figures));
        }
        Ok(made)
    }

    /// Makes a call again in a later round.
    pub(super) fn retry_later(&mut self, call: Call, round: u64) {
        let due = round + 1 + self.random.below(RETRY_ROUNDS_MAX);
        self.retries.entry(due).or_default().push(Call { fate: Fate::Answered, ..call });
    }

    /// Calls that are yet to be made again: at the end, nobody gives up.
    pub(super) fn outstanding(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.retries).into_values().flatten().collect()
    }

    /// Draws what becomes of a call's answer. Some calls are made again at once, while the first is still under way.
    fn with_fate(&mut self, call: Call, round: u64, figures: &mut Figures) -> Vec<Call> {
        let dice = self.random.below(100);
        let fate = match &call.report {
            _ if dice < LOST_PERCENT => Fate::Lost,
            Report::Product(_) if dice < LOST_PERCENT + HUNG_UP_PERCENT => Fate::HungUp,
            _ => return vec![Call { fate: Fate::Answered, ..call }],
        };
        let name = if fate == Fate::Lost { "answers lost" } else { "calls hung up" };
        figures.count("clients", name, 1);
        let first = Call { fate, ..call.clone() };
        if self.random.below(2) == 0 {
            figures.count("clients", "calls made again", 1);
            vec![first, Call { fate: Fate::Answered, ..call }]
        } else {
            self.retry_later(call, round);
            vec![first]
        }
    }
}

/// A client of an organization.
pub(super) fn caller(organization: &OrganizationId, client: &str) -> anyhow::Result<Caller> {
    Ok(Caller { organization: organization.clone(), client: ClientId::new(client)? })
}
