//! `meterd verify`: recounts a store from its log and compares.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;

use super::{
    CommandError, CommandResult,
    checkpoint::{PublicKey, SignedHead},
    terminal,
};
use crate::store::sled::{self, VerifyPhase, VerifyProgress};

/// Recount everything from the log of a store that no server has open, and compare
#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// Directory of the store
    #[arg(long, env = "METERD_DATA_DIR", value_name = "DIR", default_value = "./meterd-data")]
    data_dir: PathBuf,

    /// A checkpoint of this store, as of meterd checkpoint sign: nothing before it may have changed or be missing
    #[arg(long, value_name = "FILE", requires = "public_key")]
    against: Option<PathBuf>,

    /// Public key of who signed the checkpoint: Ed25519, PEM
    #[arg(long, value_name = "FILE", requires = "against")]
    public_key: Option<PathBuf>,
}

impl VerifyCommand {
    /// For the store of a directory.
    pub(super) fn of(data_dir: PathBuf) -> Self {
        Self { data_dir, against: None, public_key: None }
    }

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
        let known = match (&self.against, &self.public_key) {
            (Some(checkpoint), Some(key)) => {
                Some(SignedHead::read(checkpoint)?.head(&PublicKey::read(key)?)?)
            }
            _ => None,
        };
        let report = sled::verify_against(&self.data_dir, known.as_ref(), &mut show)
            .context("cannot verify the store")?;
        bar.finish_and_clear();

        let mut out = io::stdout().lock();
        writeln!(out, "records       {}", report.records)?;
        writeln!(out, "api events    {}", report.api_events)?;
        writeln!(out, "log chunks    {}", report.log_chunks)?;
        if report.unlinked_chunks > 0 {
            writeln!(
                out,
                "               {} of them from before log chunks were linked",
                report.unlinked_chunks
            )?;
        }
        let dropped = &report.dropped;
        if dropped.chunks > 0 {
            writeln!(
                out,
                "dropped       {} chunks with {} records, {} api events and {} batches: no longer kept, and counted",
                dropped.chunks, dropped.records, dropped.api_events, dropped.batches
            )?;
        }
        writeln!(out, "uuids         {}", report.index_keys)?;
        writeln!(out, "batches       {}", report.batches)?;
        writeln!(out, "asset usages  {}", report.asset_usages)?;
        writeln!(out, "rows of totals {}", report.total_rows)?;
        if report.differences_count == 0 {
            if let Some(known) = known {
                writeln!(
                    out,
                    "the log leads through the checkpoint at chunk {}",
                    known.position.sequence.0
                )?;
            }
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
