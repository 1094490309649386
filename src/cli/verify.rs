//! `meterd verify`: recounts a store from its log and compares.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;

use super::{CommandError, CommandResult, terminal};
use crate::store::sled::{self, VerifyPhase, VerifyProgress};

/// Recount everything from the log of a store that no server has open, and compare
#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// Directory of the store
    #[arg(long, env = "METERD_DATA_DIR", value_name = "DIR", default_value = "./meterd-data")]
    data_dir: PathBuf,
}

impl VerifyCommand {
    pub(super) fn run(self) -> CommandResult {
        let bar = terminal::progress_bar(None, "{prefix:>6} {bar:40.cyan} {pos}/{len} {elapsed}");
        let mut show = |progress: VerifyProgress| {
            bar.set_prefix(match progress.phase {
                VerifyPhase::Log => "log",
                VerifyPhase::Index => "uuids",
                VerifyPhase::Totals => "totals",
            });
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        };
        let report = sled::verify(&self.data_dir, &mut show).context("cannot verify the store")?;
        bar.finish_and_clear();

        let mut out = io::stdout().lock();
        writeln!(out, "records       {}", report.records)?;
        writeln!(out, "api events    {}", report.api_events)?;
        writeln!(out, "log chunks    {}", report.log_chunks)?;
        writeln!(out, "uuids         {}", report.index_keys)?;
        writeln!(out, "batches       {}", report.batches)?;
        writeln!(out, "asset usages  {}", report.asset_usages)?;
        writeln!(out, "rows of totals {}", report.total_rows)?;
        if report.differences_count == 0 {
            writeln!(out, "no differences")?;
            return Ok(());
        }
        for difference in &report.differences {
            writeln!(out, "difference: {difference}")?;
        }
        Err(CommandError::failed(format!(
            "{} differences in {}{}",
            report.differences_count,
            self.data_dir.display(),
            if report.differences_count > report.differences.len() as u64 {
                format!(", the first {} of them above", report.differences.len())
            } else {
                String::new()
            }
        )))
    }
}
