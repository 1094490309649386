//! Who is called, and the connections to it.

use std::{path::PathBuf, sync::Arc};

use super::{
    callers::postgres::PostgresCalls, options::Workload, postgres::TableAddress,
    server_figures::ServerFigures, server_process::ServerProcess, workload::Plan,
};
use crate::cli::{
    CommandResult, catalog,
    connection::{Connection, ServerOptions},
};

/// What is called.
#[derive(Debug)]
pub(super) enum Target {
    /// A server that was there before.
    Running(ServerOptions),
    /// A server that was started for this.
    Started { process: ServerProcess, data_dir: Option<PathBuf> },
    /// A table, which outlives the load.
    Postgres(TableAddress),
}

/// Connections that stay open for all runs against a target.
#[derive(Debug)]
pub(super) enum Connections {
    /// Callers share them.
    Server(Vec<Connection>),
    /// Each has one caller.
    Postgres(Vec<PostgresCalls>),
}

impl Target {
    /// How the server is called, if it is one of our own kind.
    pub(super) fn options(&self) -> Option<&ServerOptions> {
        match self {
            Self::Running(options) => Some(options),
            Self::Started { process, .. } => Some(&process.options),
            Self::Postgres(_) => None,
        }
    }

    /// Connects, and sees to it that the products are known.
    pub(super) async fn connect(
        &self,
        workload: &Workload,
        plan: &Arc<Plan>,
    ) -> CommandResult<Connections> {
        let options = match self {
            Self::Postgres(table) => {
                return Ok(Connections::Postgres(table.callers(workload.lanes(), plan).await?));
            }
            Self::Running(options) => options,
            Self::Started { process, .. } => &process.options,
        };
        let mut connections = Vec::new();
        for _ in 0..workload.connections {
            connections.push(options.connect().await?);
        }
        if !self.is_noop()
            && let Some(connection) = connections.first()
        {
            let name = "the catalog of the bench";
            catalog::apply(connection.clone(), &plan.catalog(), name, false).await?;
        }
        Ok(Connections::Server(connections))
    }

    /// What the server has used so far, as far as that can be told.
    pub(super) fn figures(&self) -> Option<ServerFigures> {
        match self {
            Self::Running(_) | Self::Postgres(_) => None,
            Self::Started { process, data_dir } => {
                Some(ServerFigures::read(process.id(), data_dir.as_deref()))
            }
        }
    }

    /// Stores nothing, and has no catalog.
    fn is_noop(&self) -> bool {
        matches!(self, Self::Started { data_dir: None, .. })
    }

    /// Ends what was started for this.
    pub(super) async fn close(self) -> CommandResult {
        match self {
            Self::Running(_) | Self::Postgres(_) => Ok(()),
            Self::Started { process, .. } => process.stop().await,
        }
    }
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Server(connections) => connections.len(),
            Self::Postgres(calls) => calls.len(),
        }
    }
}
