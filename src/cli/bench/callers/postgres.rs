//! Rows of a table of PostgreSQL: what a service does that keeps usage in a database of its own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_postgres::{
    Client, Statement,
    error::{DbError, Severity},
};
use uuid::Uuid;

use super::{
    super::{
        verdict::{Failure, Malformed, Verdict},
        workload::{Message, Plan},
    },
    Transport,
};

/// meterd keeps with each record who reported it.
const CLIENT: &str = "bench";

/// Inserts over a connection that no other uses at the same time.
#[derive(Debug, Clone)]
pub(in crate::cli::bench) struct PostgresCalls {
    client: Arc<Client>,
    insert: Statement,
    plan: Arc<Plan>,
}

impl PostgresCalls {
    /// `insert` is prepared on this connection. It takes uuids, a product, SKUs, quantities, times and a client.
    pub(in crate::cli::bench) fn new(client: Client, insert: Statement, plan: Arc<Plan>) -> Self {
        Self { client: Arc::new(client), insert, plan }
    }
}

impl Transport for PostgresCalls {
    async fn call(
        &mut self,
        message: &Message,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<Result<(), Malformed>, Failure> {
        let Columns { uuids, skus, quantities, times } = Columns::of(&self.plan, message);
        let product = self.plan.product(message);
        // A statement outside of a transaction is one of its own: it is committed before it is answered.
        let rows = self
            .client
            .query(&self.insert, &[&uuids, &product, &skus, &quantities, &times, &CLIENT])
            .await?;
        let new: Result<Vec<Uuid>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        Ok(new.map_err(|_| Malformed).and_then(|new| judge(&uuids, new, verdicts)))
    }
}

/// The records of a message, as the statement takes them.
struct Columns<'a> {
    uuids: Vec<Uuid>,
    skus: Vec<&'a str>,
    quantities: Vec<i64>,
    times: Vec<SystemTime>,
}

impl<'a> Columns<'a> {
    fn of(plan: &'a Plan, message: &Message) -> Self {
        let records = &message.records;
        let uuid = |text| Uuid::try_parse_ascii(text).unwrap_or_default();
        let time = |second: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(second.try_into().unwrap_or_default())
        };
        Self {
            uuids: records.iter().map(|planned| uuid(&planned.uuid)).collect(),
            skus: records.iter().map(|planned| plan.sku(planned)).collect(),
            quantities: records.iter().map(|planned| planned.quantity.into()).collect(),
            times: records.iter().map(|planned| time(plan.time(planned).0)).collect(),
        }
    }
}

/// Those that were new are accepted; all others were there before. Whether those say the same, the statement does not
/// look.
fn judge(uuids: &[Uuid], mut new: Vec<Uuid>, verdicts: &mut Vec<Verdict>) -> Result<(), Malformed> {
    // In no promised order.
    new.sort_unstable();
    let verdict = |uuid| {
        if new.binary_search(uuid).is_ok() { Verdict::Accepted } else { Verdict::Identical }
    };
    verdicts.clear();
    verdicts.extend(uuids.iter().map(verdict));
    let accepted = verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted).count();
    if accepted == new.len() { Ok(()) } else { Err(Malformed) }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refused) = error.as_db_error() else {
            return Self {
                code: "UNAVAILABLE".to_owned(),
                message: format!("{:#}", anyhow::Error::new(error)),
                nothing_stored: false,
            };
        };
        Self {
            code: format!("SQLSTATE {}", refused.code().code()),
            message: refused.message().to_owned(),
            nothing_stored: was_rolled_back(refused),
        }
    }
}

/// Anything worse ends the connection, and may come after the commit.
fn was_rolled_back(refused: &DbError) -> bool {
    refused.parsed_severity() == Some(Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::{
        uuids::UuidVersion,
        workload::{Lane, MessageShape, PlanSize},
    };

    #[test]
    fn rows_say_what_the_records_say() {
        let size = PlanSize {
            seed: 3,
            version: UuidVersion::V7,
            lanes: 1,
            products: 2,
            skus: 5,
            usage_spread: std::time::Duration::from_mins(15),
        };
        let plan = Arc::new(Plan::new(size, "2026-11-20T12:00:00Z".parse().unwrap()));
        let mut message = Message::default();
        let shape = MessageShape { records: 25, duplicates_percent: 0 };
        Lane::new(&plan, 0).compose(&mut message, shape);
        let columns = Columns::of(&plan, &message);
        assert_eq!(message.records.len(), 25);
        for (at, planned) in message.records.iter().enumerate() {
            assert_eq!(columns.uuids[at].to_string().as_bytes(), planned.uuid);
            assert_eq!(columns.skus[at], plan.sku(planned));
            assert_eq!(columns.quantities[at], i64::from(planned.quantity));
            let time = columns.times[at].duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(i64::try_from(time.as_secs()), Ok(plan.time(planned).0));
        }
    }

    #[test]
    fn what_is_not_new_is_a_duplicate() {
        let [one, two, three] = [3, 1, 2].map(Uuid::from_u128);
        let mut verdicts = vec![Verdict::Missing];
        assert_eq!(judge(&[one, two, three], vec![three, one], &mut verdicts), Ok(()));
        assert_eq!(verdicts, [Verdict::Accepted, Verdict::Identical, Verdict::Accepted]);
        // A row that was not asked for, or one twice.
        for new in [vec![three], vec![one, one]] {
            assert_eq!(judge(&[one, two], new, &mut verdicts), Err(Malformed));
        }
    }
}
