//! `meterd bench`: a load that anybody can repeat, and what a server makes of it.
//!
//! It measures from the outside, over the wire, and checks what it measures: every verdict is compared with the one that
//! was to come. Client and server share the machine unless `--target` names another.

mod callers;
mod case;
mod compare;
mod disk_probe;
mod load;
mod measure;
mod noop;
mod options;
mod plot;
mod postgres;
mod progress;
mod ratio;
mod report;
mod schedule;
mod server_figures;
mod server_process;
mod sweep;
mod target;
mod uuids;
mod verdict;
mod wire;
mod workload;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::watch;

use self::{
    case::Circumstances,
    compare::Comparison,
    load::{Interrupted, Load, fail_if_wrong},
    options::{Mode, TargetOptions, Workload, WorkloadOptions},
    postgres::Postgres,
    report::Outcome,
    server_process::{ServerKind, ServerProcess},
    sweep::Sweep,
    target::Target,
};
use super::{CommandError, CommandResult, output, serve::stop_signal, terminal::tell};
use crate::config::environment;

/// Parts of the closed loop's throughput, in percent.
const SWEEP_PERCENTS: &str = "10,20,30,40,50,60,70,80,90,100";

/// Measure how much a server takes, and how fast
///
/// Starts a server of its own on a temporary data directory and free ports (or calls a running one, --target), reports
/// invented usage, and prints throughput, latencies and what the server used. Every verdict is compared with the one
/// that was to come; a wrong one fails the run.
///
/// Without --rate in a closed loop: every caller calls again as soon as it is answered. With --rate in an open loop:
/// calls start at fixed times, and latencies count from those.
#[derive(Debug, Args)]
pub(super) struct BenchCommand {
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten)]
    target: TargetOptions,
    /// Records a second to report in an open loop, instead of as many as the server takes
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// After the closed loop, open loops at these parts of its throughput, each as long as --duration; without any,
    /// at every tenth
    #[arg(long, value_name = "PERCENTS", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_value = SWEEP_PERCENTS, conflicts_with = "rate",
        value_parser = clap::value_parser!(u8).range(1..=200))]
    sweep: Option<Vec<u8>>,
    /// Draw the latencies of a --sweep over their throughput, as SVG
    #[arg(long, value_name = "FILE", conflicts_with = "rate")]
    plot: Option<PathBuf>,
    /// Unary calls, a stream and REST, each against a fresh server, beside a server that does nothing, PostgreSQL
    /// (--postgres) and the disk alone: --repeats times, in turns. Prints the ratios
    #[arg(long, conflicts_with_all = ["target", "mode", "records", "rate", "sweep", "plot"])]
    compare: bool,
    /// Rounds of --compare, at most 100
    #[arg(long, value_name = "N", default_value_t = 3, requires = "compare",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Compare with insertions into a PostgreSQL, too, such as postgres://user:password@127.0.0.1/database: without TLS,
    /// and with a connection for each caller. Makes a schema meterd_bench_SEED for each run, drops it, and touches
    /// nothing else [env: METERD_BENCH_POSTGRES, if there is --compare]
    #[arg(long, value_name = "URL", requires = "compare")]
    postgres: Option<String>,
    /// Data directory of the server that is started, which stays; its disk is what is measured. With --compare, where
    /// temporary ones are made [default: a temporary one, in $TMPDIR]
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    data_dir: Option<PathBuf>,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: OutcomeForm,
    /// Serve what the comparison is made with
    #[arg(long, hide = true, exclusive = true)]
    noop_server: bool,
    /// After --: further arguments for the server that is started, as of meterd serve
    #[arg(last = true, value_name = "SERVE_OPTIONS", conflicts_with = "target")]
    serve: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum OutcomeForm {
    #[default]
    Table,
    Json,
}

impl BenchCommand {
    pub(super) async fn run(self) -> CommandResult {
        if self.noop_server {
            return noop::serve().await;
        }
        let workload = self.workload.workload()?;
        let interrupted = interrupted()?;
        tell(format_args!("seed {}", workload.seed));
        if self.compare {
            return self.compare(workload, &interrupted).await;
        }
        let percents = self.percents()?;
        let runs = percents.as_ref().map_or(1, |percents| 1 + percents.len() as u32);
        let running = self.target.server(&workload, runs)?;
        // Removed when it is dropped, also after a failure.
        let mut temporary = None;
        let target = match running {
            Some(options) => Target::Running(options),
            None => {
                let data_dir = match &self.data_dir {
                    Some(data_dir) => data_dir.clone(),
                    None => temporary.insert(temporary_directory(None)?).path().to_owned(),
                };
                start_server(data_dir, &self.serve).await?
            }
        };
        let mut load = Load::prepare(workload, target, &interrupted).await?;
        match percents {
            None => {
                let outcome = load.run(self.rate.map(f64::from)).await?;
                let closed = load.close().await;
                self.print(&outcome, || outcome.text())?;
                closed?;
                conclude(&outcome)
            }
            Some(percents) => {
                let sweep = Sweep::run(&mut load, &percents).await?;
                let closed = load.close().await;
                self.print(&sweep, || sweep.text())?;
                if let Some(file) = &self.plot {
                    fs::write(file, plot::svg(&sweep))
                        .with_context(|| format!("cannot write {}", file.display()))?;
                }
                closed?;
                sweep.outcomes().try_for_each(conclude)
            }
        }
    }

    /// Parts of the most that a server takes, if there is to be a sweep.
    fn percents(&self) -> CommandResult<Option<Vec<u8>>> {
        match (&self.sweep, &self.plot) {
            (Some(percents), _) => Ok(Some(percents.clone())),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let percents = SWEEP_PERCENTS.split(',').map(str::parse).collect::<Result<_, _>>();
                Ok(Some(percents.context("cannot tell the parts of a sweep")?))
            }
        }
    }

    async fn compare(&self, workload: Workload, interrupted: &Interrupted) -> CommandResult {
        let url = self.postgres.clone().or_else(environment::bench_postgres);
        let postgres = url.as_deref().map(Postgres::parse).transpose()?;
        if let Some(postgres) = &postgres {
            postgres.rehearse(workload.seed, workload.in_mode(Mode::Postgres).lanes()).await?;
        }
        let circumstances = Circumstances {
            workload,
            parent: self.data_dir.as_deref(),
            serve: &self.serve,
            postgres: postgres.as_ref(),
            interrupted,
        };
        let comparison = Comparison::run(self.repeats, circumstances).await?;
        self.print(&comparison, || comparison.text())?;
        comparison.cases.iter().flat_map(|case| &case.outcomes).try_for_each(conclude)
    }

    fn print(&self, outcome: &impl Serialize, text: impl FnOnce() -> String) -> CommandResult {
        let mut out = io::stdout().lock();
        match self.output {
            OutcomeForm::Table => Ok(out.write_all(text().as_bytes())?),
            OutcomeForm::Json => output::json_document(out, outcome),
        }
    }
}

/// Fails if the figures are not worth anything.
fn conclude(outcome: &Outcome) -> CommandResult {
    fail_if_wrong(&outcome.tally)?;
    if outcome.verdicts.records == 0 && !outcome.interrupted {
        return Err(CommandError::failed("no call was answered"));
    }
    Ok(())
}

async fn start_server(data_dir: PathBuf, arguments: &[String]) -> CommandResult<Target> {
    let kind = ServerKind::Meterd { data_dir: data_dir.clone(), arguments: arguments.to_vec() };
    Ok(Target::Started { process: ServerProcess::start(&kind).await?, data_dir: Some(data_dir) })
}

fn temporary_directory(parent: Option<&Path>) -> CommandResult<TempDir> {
    let mut directory = tempfile::Builder::new();
    directory.prefix("meterd-bench-");
    let directory = match parent {
        Some(parent) => directory.tempdir_in(parent),
        None => directory.tempdir(),
    };
    Ok(directory.context("cannot create a temporary directory")?)
}

/// Hears of Ctrl-C from now on. The run then ends early and is reported.
fn interrupted() -> CommandResult<Interrupted> {
    let stop = stop_signal()?;
    let (interrupt, interrupted) = watch::channel(false);
    tokio::spawn(async move {
        stop.await;
        tell("ending the run; what was measured so far follows");
        let _ = interrupt.send(true);
        // Until nobody is interested any more.
        interrupt.closed().await;
    });
    Ok(interrupted)
}
