//! The table that rows are inserted into, from its making to its end.

use std::sync::Arc;

use tokio_postgres::{Client, error::SqlState};

use super::{Postgres, answered};
use crate::cli::{
    CommandError, CommandResult,
    bench::{callers::postgres::PostgresCalls, workload::Plan},
    terminal::tell,
};

const TABLE: &str = "meterd_bench_usage";

/// What callers need to know of the table.
#[derive(Debug, Clone)]
pub(in crate::cli::bench) struct TableAddress {
    postgres: Postgres,
    schema: String,
}

impl TableAddress {
    /// Callers with a connection each.
    pub(in crate::cli::bench) async fn callers(
        &self,
        callers: u32,
        plan: &Arc<Plan>,
    ) -> CommandResult<Vec<PostgresCalls>> {
        let insert = self.insert();
        let mut calls = Vec::new();
        for client in self.postgres.connect_all(callers).await? {
            let prepared =
                answered("PostgreSQL does not prepare the insertion", client.prepare(&insert))
                    .await?;
            calls.push(PostgresCalls::new(client, prepared, Arc::clone(plan)));
        }
        Ok(calls)
    }

    /// A call in one round trip, whatever its number of rows. Answers the uuids that were new.
    fn insert(&self) -> String {
        format!(
            "INSERT INTO {}.{TABLE} (uuid, product, sku, quantity, ts, client) \
             SELECT uuid, $2::text, sku, quantity, ts, $6::text \
             FROM unnest($1::uuid[], $3::text[], $4::bigint[], $5::timestamptz[]) \
             AS record (uuid, sku, quantity, ts) \
             ON CONFLICT DO NOTHING RETURNING uuid",
            self.schema
        )
    }
}

/// A table in a schema of its own. It has to be dropped with `conclude`: dropping the value cannot wait for the server.
#[derive(Debug)]
pub(in crate::cli::bench) struct UsageTable {
    address: TableAddress,
    client: Client,
}

impl UsageTable {
    /// Makes schema and table in one step; what is there already is left as it is, and fails this.
    pub(in crate::cli::bench) async fn create(
        postgres: &Postgres,
        seed: u64,
    ) -> CommandResult<Self> {
        // Without anything that would have to be quoted.
        let schema = format!("meterd_bench_{seed}");
        let client = postgres.connect().await?;
        let create = format!(
            "CREATE SCHEMA {schema} CREATE TABLE {TABLE} (uuid uuid PRIMARY KEY, product text NOT NULL, \
             sku text NOT NULL, quantity bigint NOT NULL, ts timestamptz NOT NULL, client text NOT NULL)"
        );
        let failed = format!("PostgreSQL does not create the schema {schema}");
        let created = answered(&failed, client.batch_execute(&create)).await;
        created.map_err(|error| {
            let cause = error.downcast_ref::<tokio_postgres::Error>();
            if cause.and_then(tokio_postgres::Error::code) == Some(&SqlState::DUPLICATE_SCHEMA) {
                return CommandError::failed(format!(
                    "PostgreSQL has a schema {schema} already: another run with --seed {seed} is under way, or was \
                     killed and has left it. Drop the schema, or choose another --seed"
                ));
            }
            error.into()
        })?;
        let address = TableAddress { postgres: postgres.clone(), schema };
        Ok(Self { address, client })
    }

    pub(in crate::cli::bench) fn address(&self) -> TableAddress {
        self.address.clone()
    }

    /// Drops the table and answers what became of its use. What others have put into the schema is not touched, and
    /// then the schema stays.
    pub(in crate::cli::bench) async fn conclude<T>(
        self,
        used: CommandResult<T>,
    ) -> CommandResult<T> {
        let schema = &self.address.schema;
        let drop = format!("DROP TABLE {schema}.{TABLE}; DROP SCHEMA {schema}");
        let failed = format!(
            "the schema {schema} is left behind in PostgreSQL, and has to be dropped by hand"
        );
        let dropped = answered(&failed, self.client.batch_execute(&drop)).await;
        match (used, dropped) {
            (used, Ok(())) => used,
            (Ok(_), Err(error)) => Err(error.into()),
            (Err(used), Err(error)) => {
                tell(format_args!("{error:#}"));
                Err(used)
            }
        }
    }
}
