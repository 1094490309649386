//! A PostgreSQL server to compare with: the same records as rows of a table.

mod table;

use std::time::Duration;

use anyhow::Context as _;
use tokio_postgres::{Client, Config, Error, NoTls, config::SslMode};

pub(super) use self::table::{TableAddress, UsageTable};
use crate::cli::{CommandError, CommandResult, terminal::tell};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For everything but the rows. Ctrl-C does not end it, so it has to end by itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Without these, a row that is acknowledged need not be on the disk, and nothing could be learnt from a ratio.
const DURABLE_SETTINGS: [&str; 2] = ["fsync", "synchronous_commit"];
/// The connection that makes and drops the table.
const KEEPER_CONNECTIONS: i64 = 1;

/// Where the server is, and who calls.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    config: Config,
}

impl Postgres {
    /// Reads what `--postgres` says.
    pub(super) fn parse(url: &str) -> CommandResult<Self> {
        let mut config: Config = url.parse().map_err(|error: Error| {
            CommandError::usage(format!(
                "--postgres is not understood: {:#}; it looks like postgres://user:password@127.0.0.1/database, and \
                 its sslmode is disable or prefer, since the bench does not speak TLS",
                anyhow::Error::new(error)
            ))
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(CommandError::usage(
                "--postgres demands TLS (sslmode=require), which the bench does not speak; name a server that takes \
                 connections without, and sslmode=disable",
            ));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("meterd bench");
        }
        Ok(Self { config })
    }

    /// Goes through everything but the measuring, so that what would fail after minutes fails at once.
    pub(super) async fn rehearse(&self, seed: u64, callers: u32) -> CommandResult {
        let client = self.connect().await?;
        check_durable(&client).await?;
        check_connections(&client, callers).await?;
        let table = UsageTable::create(self, seed).await?;
        // Others may have taken the connections that the server allows, or the user may have fewer.
        let connected = self.connect_all(callers.saturating_sub(1)).await;
        table.conclude(connected).await?;
        let version = show(&client, "server_version").await?;
        tell(format_args!("PostgreSQL {version}: {} are on", DURABLE_SETTINGS.join(" and ")));
        Ok(())
    }

    async fn connect(&self) -> CommandResult<Client> {
        let connected = self.config.connect(NoTls);
        let (client, connection) =
            answered("cannot reach PostgreSQL (--postgres)", connected).await?;
        // It ends with the client, which is told what became of it.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn connect_all(&self, connections: u32) -> CommandResult<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.connect().await?);
        }
        Ok(clients)
    }
}

async fn check_durable(client: &Client) -> CommandResult {
    for name in DURABLE_SETTINGS {
        let value = show(client, name).await?;
        if value != "on" {
            return Err(CommandError::failed(format!(
                "{name} of PostgreSQL is {value}: its rows would not be on the disk when it says so, so there is \
                 nothing to compare; set it to on"
            )));
        }
    }
    Ok(())
}

/// Callers have a connection each.
async fn check_connections(client: &Client, callers: u32) -> CommandResult {
    let allowed = number(&show(client, "max_connections").await?)
        - number(&show(client, "superuser_reserved_connections").await?);
    let wanted = i64::from(callers) + KEEPER_CONNECTIONS;
    if wanted > allowed {
        return Err(CommandError::failed(format!(
            "--connections times --callers is {callers}, which takes {wanted} connections to PostgreSQL; its \
             max_connections leaves {allowed}"
        )));
    }
    Ok(())
}

/// A setting, as the server shows it.
async fn show(client: &Client, name: &str) -> CommandResult<String> {
    let failed = format!("PostgreSQL does not tell its {name}");
    let row = answered(&failed, client.query_one(&format!("SHOW {name}"), &[])).await?;
    Ok(row.try_get(0).context(failed)?)
}

fn number(shown: &str) -> i64 {
    shown.parse().unwrap_or_default()
}

/// Waits for an answer. `failed` is what there is to say if there is none.
async fn answered<T>(
    failed: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answered) => answered.with_context(|| failed.to_owned()),
        Err(_) => anyhow::bail!("{failed}: no answer within {ANSWER_TIMEOUT:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_without_tls_only() {
        for url in [
            "postgres://bench:secret@127.0.0.1:5433/usage",
            "postgresql://127.0.0.1/usage?sslmode=disable",
            "postgres:///usage?host=/var/run/postgresql&sslmode=prefer",
        ] {
            assert!(Postgres::parse(url).is_ok(), "{url}");
        }
        for (url, part) in [
            ("postgres://127.0.0.1/usage?sslmode=require", "demands TLS (sslmode=require)"),
            ("postgres://127.0.0.1/usage?sslmode=verify-full", "does not speak TLS"),
            ("postgres://u:secret@127.0.0.1:port/usage", "port"),
            ("127.0.0.1", "it looks like postgres://"),
        ] {
            let error = Postgres::parse(url).unwrap_err().to_string();
            assert!(error.contains("--postgres") && error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
