//! Made-up queries for the tests of this use case.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Operation,
    computation::Computation,
    job::{Job, JobState, Progress},
    query::{Query, Shape},
    rows::{Bucket, RowPlan},
};
use crate::domain::{
    api_usage::ApiFilter,
    asset_usage::{DayRange, UsageDay},
    id::{ClientId, OrganizationId},
};

pub(super) fn organization(id: &str) -> OrganizationId {
    OrganizationId::new(id).unwrap()
}

pub(super) fn client(id: &str) -> ClientId {
    ClientId::new(id).unwrap()
}

pub(super) fn shape() -> Shape {
    let plan = RowPlan { bucket: Bucket::Day, columns: Vec::new(), sort: Vec::new(), rows_max: 1 };
    Shape { plan, metrics: Vec::new(), organization: false }
}

pub(super) fn query() -> Query {
    let day = |number| UsageDay::from_number(number).unwrap();
    let days = DayRange { start: day(0), end: day(1) };
    Query { days, filter: ApiFilter::default(), client_names: Vec::new() }
}

pub(super) fn computation(id: &str, of: &str, by: &str) -> Computation {
    let started = Timestamp::UNIX_EPOCH;
    Computation::new(id.into(), organization(of), Some(client(by)), None, started, shape())
}

/// A query with a result of its own.
pub(super) fn job(id: &str, of: &str, by: &str) -> Arc<Job> {
    sharing(id, by, &Arc::new(computation(id, of, by)))
}

/// A query that has the result of others.
pub(super) fn sharing(id: &str, by: &str, computation: &Arc<Computation>) -> Arc<Job> {
    Arc::new(Job::new(
        id.into(),
        Operation::OrganizationJob,
        None,
        Some(client(by)),
        Timestamp::UNIX_EPOCH,
        Arc::clone(computation),
    ))
}

/// Has a query succeed at a second.
pub(super) fn succeed(job: &Job, second: i64) {
    let finished = Some(Timestamp::from_second(second).unwrap());
    *job.computation.progress.lock() =
        Progress { state: JobState::Succeeded { rows: 1 }, finished };
}
