//! `meterd simulate`: billing months on the real engine, with everything that goes wrong in one, and every total
//! compared with an exact model.
//!
//! The engine is what `serve` composes, without the wire: the store, the committer and the use cases. Time is simulated,
//! and everything is drawn from a seed. *Clients* make the calls, the *world* is the engine and what happens to it, the
//! *model* knows what must be answered and kept, and the *auditor* compares and counts.

mod auditor;
mod clients;
mod figures;
mod model;
mod plan;
mod report;
mod simulation;
#[cfg(test)]
mod tests;
mod world;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use self::{
    plan::{Plan, Size},
    report::Outcome,
    simulation::Simulation,
    world::{Wrap, plain},
};
use super::{
    CommandError, CommandResult, output,
    serve::stop_signal,
    terminal::{progress_bar, tell},
};
use crate::telemetry::{self, LogFormat};

/// Simulate billing months on the real engine, and check that every record is counted once
///
/// Customers of two organizations, which have the same names for everything, use products in many time zones while some
/// of these set their clocks. Clients report that, lose answers, report again, late, twice, with wrong clocks and with
/// mistakes; catalogs change, the server's clock is set, the disk runs full, and the engine is restarted and crashes.
/// Every verdict, total, invoice and listing is compared with an exact model, and the store is verified.
///
/// Prints what was simulated, how often each invariant was checked and violated, and at the end PASS or FAIL with the
/// seed, which repeats the run. A full disk and a crash are faults that are planted in the store: a write fails; or the
/// engine goes on with the files as they are at that moment.
#[derive(Debug, Args)]
pub(super) struct SimulateCommand {
    /// Decides everything [default: a random one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Days to simulate, at most 366
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// Customers of both organizations, at most 10,000; each reports some 28 records a day. A month of 1,000 takes half a
    /// gigabyte of memory
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    customers: u32,
    /// Use this directory for the store, which must be new or empty, and leave it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: OutcomeForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum OutcomeForm {
    #[default]
    Table,
    Json,
}

impl SimulateCommand {
    pub(super) fn run(self) -> CommandResult {
        // The store says of every planted fault that it has failed: here that is no news.
        telemetry::init(LogFormat::Human, "off").context("cannot set up logging")?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u32().map(u64::from).context("cannot draw a seed")?,
        };
        // Removed when it is dropped, also after a failure or an interrupt.
        let temporary = tempfile::Builder::new()
            .prefix("meterd-simulate-")
            .tempdir()
            .context("cannot create a temporary directory")?;
        let data_dir = match &self.keep {
            Some(kept) => checked_new(kept)?,
            None => temporary.path().join("store"),
        };
        let interrupted = interrupted()?;
        tell(format_args!("seed {seed}"));
        let size = Size { seed, days: self.days, customers: self.customers };
        let outcome = simulate(size, &data_dir, Box::new(plain), Arc::clone(&interrupted))?;
        if outcome.stopped.is_some() && interrupted.load(Ordering::Relaxed) {
            return Err(CommandError::failed("interrupted"));
        }
        let mut out = io::stdout().lock();
        match self.output {
            OutcomeForm::Table => out.write_all(outcome.text().as_bytes())?,
            OutcomeForm::Json => output::json_document(out, &outcome)?,
        }
        if outcome.has_passed() { Ok(()) } else { Err(CommandError::Reported) }
    }
}

/// Runs a simulation in a directory that is new or empty. What stops it on the way is part of the outcome.
fn simulate(
    size: Size,
    data_dir: &Path,
    wrap: Wrap,
    interrupted: Arc<AtomicBool>,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let mut simulation = Simulation::new(Plan::new(size)?, data_dir, wrap, interrupted)?;
    let bar = progress_bar(Some(size.days.into()), "{bar:40.cyan} day {pos}/{len}, {eta} left");
    let completed = all_days(&mut simulation, || bar.inc(1));
    bar.finish_and_clear();
    Ok(Outcome::new(&simulation, completed, began.elapsed()))
}

fn all_days(simulation: &mut Simulation, day_is_over: impl Fn()) -> anyhow::Result<()> {
    for day in 0..simulation.plan.size.days {
        simulation.day(day)?;
        day_is_over();
    }
    simulation.finish()
}

/// Raised by Ctrl-C from now on.
fn interrupted() -> CommandResult<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let stop = {
        let _in_runtime = runtime.enter();
        stop_signal()?
    };
    std::thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || {
            runtime.block_on(stop);
            raised.store(true, Ordering::Relaxed);
        })
        .context("cannot start a thread")?;
    Ok(interrupted)
}

fn checked_new(kept: &Path) -> CommandResult<PathBuf> {
    let is_used =
        kept.exists() && fs::read_dir(kept).map_or(true, |mut entries| entries.next().is_some());
    if is_used {
        return Err(CommandError::usage(format!(
            "--keep {} holds something; name a new or an empty directory",
            kept.display()
        )));
    }
    Ok(kept.to_owned())
}
