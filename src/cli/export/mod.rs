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
/// Response metadata: the moment up to which an export has everything.
const AS_OF_METADATA: &str = "meterd-as-of";
/// Records that are written at once.
const RECORDS_PER_WRITE: usize = 1000;

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
    /// Only records that arrived after this one: the last one of an earlier export
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    after_uuid: String,
    /// Only what this moment includes: the as_of of a report, or of an export that broke off
    #[arg(long, value_name = "AS_OF", default_value = "", hide_default_value = true)]
    through: String,
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
    /// The last record that is written, or the one to begin after.
    last_uuid: String,
    /// Up to where to export; empty until it is known.
    through: String,
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
        let bar = progress_bar(None, "{spinner} {msg} records, {elapsed}");
        let mut progress = Progress {
            last_uuid: self.after_uuid.clone(),
            through: self.through.clone(),
            records: 0,
            bar: bar.clone(),
        };
        let exported = self.export(&mut *writer, &mut progress).await;
        bar.finish_and_clear();
        exported?;
        let written = writer.finish()?;
        tell(format_args!(
            "{} records, {} bytes, sha256 {}",
            grouped(progress.records),
            grouped(written.bytes),
            written.sha256
        ));
        if !progress.last_uuid.is_empty() {
            tell(format_args!("later ones: --after-uuid {}", progress.last_uuid));
        }
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
            let before = progress.records;
            let Some(status) = self.attempt(&mut client, writer, progress).await? else {
                return Ok(());
            };
            if progress.records > before {
                gives_up = None;
            }
            let gives_up = *gives_up.get_or_insert_with(|| Instant::now() + self.retry_for.0);
            if !is_passing(&status) || Instant::now() >= gives_up {
                return Err(CommandError::failed(format!(
                    "{}\nthe export broke off after {} records",
                    call_failed(&status),
                    grouped(progress.records)
                )));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads one stream to its end; what ended it otherwise is answered. The next attempt goes on after what was written.
    async fn attempt(
        &self,
        client: &mut UsageReportServiceClient<super::connection::Connection>,
        writer: &mut dyn RecordWriter,
        progress: &mut Progress,
    ) -> CommandResult<Option<Status>> {
        let response = match client.export_usage_records(self.request(progress)).await {
            Ok(response) => response,
            Err(status) => return Ok(Some(status)),
        };
        if progress.through.is_empty() {
            // A later attempt would include what has arrived since.
            let as_of =
                response.metadata().get(AS_OF_METADATA).and_then(|value| value.to_str().ok());
            progress.through = as_of.unwrap_or_default().to_owned();
        }
        let mut stream = response.into_inner();
        let mut received: Vec<UsageRecord> = Vec::new();
        loop {
            let message = stream.message().await;
            if let Ok(Some(message)) = message {
                received.extend(message.record);
                if received.len() >= RECORDS_PER_WRITE {
                    progress.write(&mut received, writer)?;
                }
                continue;
            }
            progress.write(&mut received, writer)?;
            return Ok(message.err());
        }
    }

    fn request(&self, progress: &Progress) -> ExportUsageRecordsRequest {
        let filter = self.filter.clone();
        ExportUsageRecordsRequest {
            usage_interval: self.interval.clone().unwrap_or_default(),
            stored_interval: self.stored_interval.clone().unwrap_or_default(),
            product_ids: filter.product,
            product_instance_ids: filter.instance,
            sku_ids: filter.sku,
            client_ids: filter.client,
            after_uuid: progress.last_uuid.clone(),
            through: progress.through.clone(),
        }
    }
}

impl Progress {
    /// Writes what was received.
    fn write(
        &mut self,
        received: &mut Vec<UsageRecord>,
        writer: &mut dyn RecordWriter,
    ) -> CommandResult {
        let Some(last) = received.last() else { return Ok(()) };
        writer.write(received)?;
        self.last_uuid.clone_from(&last.uuid);
        self.records += received.len() as u64;
        received.clear();
        self.bar.set_message(grouped(self.records));
        Ok(())
    }
}
