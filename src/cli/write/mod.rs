//! `meterd write`: usage from a file or a pipe to a server.
//!
//! A thread reads lines, [`batches`] puts records of one target together, and [`delivery`] keeps
//! several messages under way and sends those again that were not answered before a connection broke.
//! A retry is safe: the server knows every uuid it ever accepted.

mod batches;
mod delivery;
mod input;
mod summary;

use std::{io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use self::{
    delivery::{Delivery, DeliveryOptions},
    input::{Input, InputRecord, Target},
    summary::Summary,
};
use super::{
    CommandError, CommandResult,
    connection::ServerOptions,
    lines::{InputFile, LineError},
    terminal,
};
use crate::config::HumanDuration;

/// Records that may wait between the reader and the batches.
const READ_AHEAD_RECORDS_MAX: usize = 8192;

/// Report usage from a file or a pipe; safe to repeat
///
/// Every line names uuid, product_id or product_instance_id, sku_id, quantity and timestamp (RFC 3339):
/// JSON Lines with these members, or CSV with these columns. Succeeds only if every record was accepted
/// or repeats one that was accepted before.
#[derive(Debug, Args)]
pub(super) struct WriteCommand {
    #[command(flatten)]
    input: InputFile,
    /// Product of the lines that name neither a product nor an instance
    #[arg(long, value_name = "ID", conflicts_with = "instance")]
    product: Option<String>,
    /// Product instance of the lines that name neither a product nor an instance
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Report lines that cannot be read and go on, instead of stopping at the first
    #[arg(long)]
    skip_bad_lines: bool,
    /// Only have the records judged; store nothing
    #[arg(long)]
    validate_only: bool,
    /// Write every rejected record, with the reason, to this file as JSON Lines
    #[arg(long, value_name = "FILE")]
    rejected_to: Option<PathBuf>,
    /// Messages of up to 1000 records that may be under way
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

impl WriteCommand {
    pub(super) async fn run(self) -> CommandResult {
        let connection = self.server.connect().await?;
        let mut summary = Summary::new(self.rejected_to.as_deref())?;
        let (input, bytes) = self.open()?;
        let bar = match bytes {
            Some(bytes) => terminal::progress_bar(
                Some(bytes),
                "{bar:40.cyan} {percent:>3} % {msg} records answered, {elapsed}, {eta} left",
            ),
            None => terminal::progress_bar(None, "{spinner} {msg} records answered, {elapsed}"),
        };
        let (records, received) = mpsc::channel(READ_AHEAD_RECORDS_MAX);
        let reading = {
            let (bar, skip) = (bar.clone(), self.skip_bad_lines);
            tokio::task::spawn_blocking(move || read(input, &records, &bar, skip))
        };
        let options = DeliveryOptions {
            in_flight_max: usize::from(self.in_flight),
            retry_for: self.retry_for.0,
            validate_only: self.validate_only,
        };
        let batches = batches::of(received);
        let delivered =
            Delivery::new(connection, options, batches, &mut summary, bar.clone()).run().await;
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

    /// The input, and how many bytes of it there are, if that is known.
    fn open(&self) -> CommandResult<(Input, Option<u64>)> {
        let target = match (&self.product, &self.instance) {
            (Some(id), _) => Some(Target::Product(id.as_str().into())),
            (None, Some(id)) => Some(Target::Instance(id.as_str().into())),
            (None, None) => None,
        };
        let (lines, bytes) = self.input.open()?;
        Ok((Input::new(lines, target), bytes))
    }
}

/// What came of reading.
#[derive(Debug, Default)]
struct ReadLines {
    bad_lines: u64,
    /// The line that reading stopped at, and why.
    stopped: Option<(u64, String)>,
}

/// Reads to the end, or to the first bad line.
fn read(
    mut input: Input,
    records: &mpsc::Sender<InputRecord>,
    bar: &indicatif::ProgressBar,
    skip_bad_lines: bool,
) -> Result<ReadLines, io::Error> {
    let mut read = ReadLines::default();
    while let Some(next) = input.next() {
        match next {
            Ok(record) => {
                // The other side hangs up when delivery failed, and reports that itself.
                if records.blocking_send(record).is_err() {
                    break;
                }
            }
            Err(LineError::Io(error)) => return Err(error),
            Err(LineError::Bad { line, reason }) if skip_bad_lines => {
                read.bad_lines += 1;
                if read.bad_lines <= summary::LISTED_MAX {
                    bar.suspend(|| terminal::tell(format_args!("line {line} skipped: {reason}")));
                }
            }
            Err(LineError::Bad { line, reason }) => {
                read.bad_lines = 1;
                read.stopped = Some((line, reason));
                break;
            }
        }
        bar.set_position(input.bytes_read());
    }
    Ok(read)
}
