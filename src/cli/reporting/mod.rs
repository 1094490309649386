//! Usage from a file or a pipe to a server, whatever kind of usage it is: what `write` and `record-api` share.
//!
//! A thread reads lines, [`batches`] puts records together that may share a message, and a [`Delivery`] sends them.
//! [`persistence`] has it send those again that were not answered before a connection broke. That is safe: the server
//! knows every uuid it ever accepted.

mod batches;
mod persistence;
mod reading;
mod summary;

use std::{io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

pub(super) use self::{
    batches::Batch,
    persistence::{Delivery, Interruption, interruption},
    reading::{UsageKind, at_most, timestamp},
    summary::{Rejection, Summary},
};
use self::{persistence::Persistence, reading::ReadLines};
use super::{
    CommandError, CommandResult,
    connection::{Connection, ServerOptions},
    lines::InputFile,
    terminal,
};
use crate::config::HumanDuration;

/// Records that may wait between the reader and the batches.
const READ_AHEAD_RECORDS_MAX: usize = 8192;

/// What is read, how it is delivered, and what is said about it.
#[derive(Debug, Args)]
pub(super) struct ReportingOptions {
    #[command(flatten)]
    input: InputFile,
    /// Report lines that cannot be read and go on, instead of stopping at the first
    #[arg(long)]
    skip_bad_lines: bool,
    /// Write every rejected line, with the reason, to this file as JSON Lines
    #[arg(long, value_name = "FILE")]
    rejected_to: Option<PathBuf>,
    /// Messages of up to 1000 lines that may be under way
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: u16,
    /// How long to go on trying when the server cannot be reached any more
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    retry_for: HumanDuration,
    /// Form of the summary
    #[arg(long, short, value_enum, default_value_t)]
    output: SummaryForm,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum SummaryForm {
    #[default]
    Table,
    Json,
}

/// What a delivery needs.
pub(super) struct Means<U: UsageKind> {
    pub(super) connection: Connection,
    pub(super) batches: mpsc::Receiver<Batch<U>>,
    /// Messages that may wait for their answers.
    pub(super) in_flight_max: usize,
    /// Shows how much was answered.
    pub(super) bar: ProgressBar,
}

impl ReportingOptions {
    /// Reads lines of `kind` and delivers them; ends well only if the server holds all of them.
    pub(super) async fn run<U: UsageKind, D: Delivery>(
        &self,
        kind: U,
        delivery: impl FnOnce(Means<U>) -> D,
    ) -> CommandResult {
        let connection = self.server.connect().await?;
        let mut summary = Summary::new(U::NOUN, self.rejected_to.as_deref())?;
        let (lines, bytes) = self.input.open()?;
        let bar = progress_bar(bytes, U::NOUN);
        let (records, received) = mpsc::channel(READ_AHEAD_RECORDS_MAX);
        let reading = {
            let (bar, skip) = (bar.clone(), self.skip_bad_lines);
            tokio::task::spawn_blocking(move || reading::read(lines, &kind, &records, &bar, skip))
        };
        let mut delivery = delivery(Means {
            connection,
            batches: batches::of(received),
            in_flight_max: usize::from(self.in_flight),
            bar: bar.clone(),
        });
        let persistence = Persistence { retry_for: self.retry_for.0, bar: bar.clone() };
        let delivered = persistence.deliver(&mut delivery, &mut summary).await;
        bar.finish_and_clear();
        // After a failed delivery the reader may wait for stdin for ever; its part is over.
        let read = if delivered.is_ok() {
            reading.await.context("the reader failed")?
        } else {
            Ok(ReadLines::default())
        };
        let stopped = match read {
            Ok(read) => {
                summary.bad_lines = read.bad_lines;
                read.stopped
            }
            Err(error) => {
                return Err(CommandError::failed(format!("cannot read the input: {error}")));
            }
        };
        summary.finish()?;
        match self.output {
            SummaryForm::Table => summary.write_text(io::stdout().lock())?,
            SummaryForm::Json => summary.write_json(io::stdout().lock())?,
        }
        delivered?;
        if let Some((line, reason)) = stopped {
            return Err(CommandError::failed(format!(
                "{}:{line}: {reason}\nnothing from this line on was sent; mend it and run the same command \
                 again, what was sent before cannot count twice",
                self.input.name()
            )));
        }
        if summary.all_delivered() { Ok(()) } else { Err(CommandError::Reported) }
    }
}

fn progress_bar(bytes: Option<u64>, noun: &str) -> ProgressBar {
    match bytes {
        Some(_) => terminal::progress_bar(
            bytes,
            &format!(
                "{{bar:40.cyan}} {{percent:>3}} % {{msg}} {noun} answered, {{elapsed}}, {{eta}} left"
            ),
        ),
        None => terminal::progress_bar(
            None,
            &format!("{{spinner}} {{msg}} {noun} answered, {{elapsed}}"),
        ),
    }
}
