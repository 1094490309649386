//! The ways to report that are compared.

use std::path::Path;

use super::{
    load::{Interrupted, Load},
    options::{Mode, Workload},
    postgres::{Postgres, UsageTable},
    report::Outcome,
    server_process::{ServerKind, ServerProcess},
    target::Target,
    temporary_directory,
};
use crate::cli::{CommandError, CommandResult};

/// A way to report, and a server to report to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) name: &'static str,
    mode: Mode,
    callee: Callee,
    one_caller: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callee {
    Noop,
    Meterd,
    Postgres,
}

impl Case {
    const fn new(name: &'static str, mode: Mode, callee: Callee) -> Self {
        Self { name, mode, callee, one_caller: false }
    }
}

pub(super) const ONE_CALLER: Case =
    Case { one_caller: true, ..Case::new("unary, one caller", Mode::Unary, Callee::Meterd) };
pub(super) const NOOP_UNARY: Case = Case::new("no-op unary", Mode::Unary, Callee::Noop);
pub(super) const UNARY: Case = Case::new("unary", Mode::Unary, Callee::Meterd);
pub(super) const NOOP_STREAM: Case = Case::new("no-op stream", Mode::Stream, Callee::Noop);
pub(super) const STREAM: Case = Case::new("stream", Mode::Stream, Callee::Meterd);
pub(super) const REST: Case = Case::new("REST", Mode::Rest, Callee::Meterd);
pub(super) const POSTGRES: Case = Case::new("PostgreSQL", Mode::Postgres, Callee::Postgres);

/// In the order of each round, which begins with the disk: the lone caller is compared with that.
const CASES: [Case; 7] = [ONE_CALLER, NOOP_UNARY, UNARY, NOOP_STREAM, STREAM, REST, POSTGRES];

/// What all cases have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) workload: Workload,
    /// Where data directories are made.
    pub(super) parent: Option<&'a Path>,
    /// Arguments of the servers that are started.
    pub(super) serve: &'a [String],
    /// Without it, there is no such case.
    pub(super) postgres: Option<&'a Postgres>,
    pub(super) interrupted: &'a Interrupted,
}

impl Circumstances<'_> {
    pub(super) fn cases(&self) -> impl Iterator<Item = Case> {
        let postgres = self.postgres.is_some();
        CASES.into_iter().filter(move |case| postgres || case.callee != Callee::Postgres)
    }
}

impl Case {
    /// Each run has a server or a table of its own.
    pub(super) async fn run(self, circumstances: Circumstances<'_>) -> CommandResult<Outcome> {
        let interrupted = circumstances.interrupted;
        let mut workload = circumstances.workload.in_mode(self.mode);
        if self.one_caller {
            workload = workload.of_one_caller();
        }
        let outcome = match (self.callee, circumstances.postgres) {
            (Callee::Postgres, None) => Err(CommandError::failed("there is no --postgres")),
            (Callee::Postgres, Some(postgres)) => {
                let table = UsageTable::create(postgres, workload.seed).await?;
                let target = Target::Postgres(table.address());
                table.conclude(measured(workload, target, interrupted).await).await
            }
            (Callee::Noop, _) => {
                // It would call nothing a duplicate, and keeps nothing.
                workload.shape.duplicates_percent = 0;
                workload.stored = 0;
                let process = ServerProcess::start(&ServerKind::Noop).await?;
                let target = Target::Started { process, data_dir: None };
                measured(workload, target, interrupted).await
            }
            (Callee::Meterd, _) => {
                let directory = temporary_directory(circumstances.parent)?;
                let data_dir = directory.path().to_owned();
                let arguments = circumstances.serve.to_vec();
                let kind = ServerKind::Meterd { data_dir: data_dir.clone(), arguments };
                let process = ServerProcess::start(&kind).await?;
                let target = Target::Started { process, data_dir: Some(data_dir) };
                measured(workload, target, interrupted).await
            }
        }?;
        if outcome.verdicts.records == 0 && !outcome.interrupted {
            return Err(CommandError::failed(format!("{}: no call was answered", self.name)));
        }
        Ok(outcome)
    }
}

async fn measured(
    workload: Workload,
    target: Target,
    interrupted: &Interrupted,
) -> CommandResult<Outcome> {
    let mut load = Load::prepare(workload, target, interrupted).await?;
    let outcome = load.run(None).await?;
    load.close().await?;
    Ok(outcome)
}
