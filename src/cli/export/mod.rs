//! `meterd export`: all records, in the order of their arrival, into a file or a pipe.

mod formats;
mod parquet;
mod target;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use tonic::Status;

use self::{formats::RecordWriter, target::Target};
use super::{
    CommandError, CommandResult,
    connection::{ServerOptions, call_failed, is_passing},
    filters::FilterOptions,
    output::grouped,
    terminal::{progress_bar, tell},
};
use crate::{
    api::pb::meterd::v1::{
        ExportUsageRecordsRequest, UsageRecord,
        usage_report_service_client::UsageReportServiceClient,
    },
    config::HumanDuration,
};

/// Between one attempt and the next.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Response metadata: the last log sequence of an export.
const THROUGH_METADATA: &str = "meterd-through-sequence";

/// Write all records that are stored now, in the order of their arrival, to a file or a pipe
///
/// Ends with the number of records and the SHA-256 of what was written. A file appears once it is complete. A broken
/// connection is made again, and the export goes on where it was. Everything is written byte for byte, in CSV as well: a
/// spreadsheet may take an id that begins with =, +, - or @ for a formula.
#[derive(Debug, Args)]
pub(super) struct ExportCommand {
    /// The file, or - for stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Form of the output [default: by extension, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only usage of this time: an ISO 8601 interval, ends without an offset in UTC
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<String>,
    /// Only records stored in this time
    #[arg(long, value_name = "INTERVAL")]
    stored_interval: Option<String>,
    /// Only records after this log sequence: the last one of an earlier export
    #[arg(long, value_name = "N", default_value_t = 0)]
    after_sequence: u64,
    /// How long to go on trying when the server cannot be reached any more
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    retry_for: HumanDuration,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, in the form that `meterd write` reads
    Jsonl,
    /// With a header, in the form that `meterd write` reads
    Csv,
    /// Apache Parquet, times in nanoseconds
    Parquet,
}

/// How far an export has come.
#[derive(Debug)]
struct Progress {
    /// Every record up to this sequence is written.
    done: u64,
    /// The last sequence to export, once it is known.
    through: Option<u64>,
    records: u64,
    bar: ProgressBar,
}

impl ExportCommand {
    pub(super) async fn run(self) -> CommandResult {
        let format = self.format();
        let target = Target::create(&self.out)?;
        if format == Format::Parquet && target.is_stdout() {
            return Err(CommandError::usage("Parquet is written to a file: name one with --out"));
        }
        let mut writer = formats::writer(format, target)?;
        let bar = progress_bar(None, "{bar:40.cyan} {percent:>3} % {msg} records, {elapsed}");
        let mut progress =
            Progress { done: self.after_sequence, through: None, records: 0, bar: bar.clone() };
        let exported = self.export(&mut *writer, &mut progress).await;
        bar.finish_and_clear();
        exported?;
        let written = writer.finish()?;
        tell(format_args!(
            "{} records through sequence {}, {} bytes, sha256 {}",
            grouped(progress.records),
            progress.through.unwrap_or(progress.done),
            grouped(written.bytes),
            written.sha256
        ));
        Ok(())
    }

    fn format(&self) -> Format {
        let by_extension = || match self.out.extension()?.to_str()? {
            "csv" => Some(Format::Csv),
            "parquet" => Some(Format::Parquet),
            _ => None,
        };
        self.format.or_else(by_extension).unwrap_or(Format::Jsonl)
    }

    /// Tries until it is done, or has got no further for too long.
    async fn export(
        &self,
        writer: &mut dyn RecordWriter,
        progress: &mut Progress,
    ) -> CommandResult {
        let mut client = UsageReportServiceClient::new(self.server.connect().await?);
        let mut gives_up = None;
        loop {
            let before = progress.done;
            let Some(status) = self.attempt(&mut client, writer, progress).await? else {
                return Ok(());
            };
            if progress.done > before {
                gives_up = None;
            }
            let gives_up = *gives_up.get_or_insert_with(|| Instant::now() + self.retry_for.0);
            if !is_passing(&status) || Instant::now() >= gives_up {
                return Err(CommandError::failed(format!(
                    "{}\nthe export broke off after sequence {}",
                    call_failed(&status),
                    progress.done
                )));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads one stream to its end; what ended it otherwise is answered. Records are written once all of their
    /// sequence are there, so that the next attempt can begin after it.
    async fn attempt(
        &self,
        client: &mut UsageReportServiceClient<super::connection::Connection>,
        writer: &mut dyn RecordWriter,
        progress: &mut Progress,
    ) -> CommandResult<Option<Status>> {
        let request = self.request(progress.done);
        let response = match client.export_usage_records(request).await {
            Ok(response) => response,
            Err(status) => return Ok(Some(status)),
        };
        let through = response.metadata().get(THROUGH_METADATA);
        let through = through.and_then(|value| value.to_str().ok()?.parse().ok());
        // A later attempt would include what has arrived since.
        let through = *progress.through.get_or_insert_with(|| through.unwrap_or(u64::MAX));
        progress.bar.set_length(through.saturating_sub(self.after_sequence));
        let mut stream = response.into_inner();
        let mut of_sequence: Vec<UsageRecord> = Vec::new();
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(status) => return Ok(Some(status)),
            };
            let Some(record) = message.record else { continue };
            let sequence = record.log_sequence;
            if sequence > through {
                return Ok(None);
            }
            of_sequence.push(record);
            if message.completes_sequence {
                writer.write(&of_sequence)?;
                progress.done = sequence;
                progress.records += of_sequence.len() as u64;
                of_sequence.clear();
                progress.bar.set_position(sequence.saturating_sub(self.after_sequence));
                progress.bar.set_message(grouped(progress.records));
            }
        }
    }

    fn request(&self, after_sequence: u64) -> ExportUsageRecordsRequest {
        let filter = self.filter.clone();
        ExportUsageRecordsRequest {
            usage_interval: self.interval.clone().unwrap_or_default(),
            stored_interval: self.stored_interval.clone().unwrap_or_default(),
            product_ids: filter.product,
            product_instance_ids: filter.instance,
            sku_ids: filter.sku,
            client_ids: filter.client,
            after_sequence,
        }
    }
}
