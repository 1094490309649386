//! `meterd report-batch`: a batch of asset usage from a file or a pipe.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    CommandError, CommandResult,
    connection::{ServerOptions, call_failed},
    lines::{InputFile, LineError, whole_number},
    output::{grouped, json_document},
    terminal::tell,
};
use crate::{
    api::pb::meterd::v1::{
        AssetUsage, ReportUsageBatchRequest, usage_batch_service_client::UsageBatchServiceClient,
    },
    domain::limits::BATCH_USAGES_MAX,
};

/// Report a batch of asset usage from a file or a pipe, all of it or nothing; safe to repeat
///
/// Every line names asset_id, quantity and usage_date: JSON Lines with these members, or CSV with these columns.
/// Succeeds if the batch is recorded, or was before and said the same.
#[derive(Debug, Args)]
pub(super) struct ReportBatchCommand {
    #[command(flatten)]
    input: InputFile,
    /// The batch's id; the same when it is sent again
    #[arg(long, value_name = "ID")]
    id: String,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Form {
    #[default]
    Text,
    Json,
}

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    asset_id: String,
    #[serde(deserialize_with = "whole_number")]
    quantity: i64,
    usage_date: String,
}

/// What became of the batch.
enum Outcome {
    Recorded(usize),
    RecordedBefore(usize),
}

impl ReportBatchCommand {
    pub(super) async fn run(self) -> CommandResult {
        let asset_usages = self.read()?;
        let count = asset_usages.len();
        let mut client = UsageBatchServiceClient::new(self.server.connect().await?);
        let request = ReportUsageBatchRequest { id: self.id.clone(), asset_usages };
        let outcome = match client.report_usage_batch(request).await {
            Ok(_) => Outcome::Recorded(count),
            Err(status) if says_the_same(&status) => Outcome::RecordedBefore(count),
            Err(status) => return Err(call_failed(&status)),
        };
        let mut out = io::stdout().lock();
        match (self.output, outcome) {
            (Form::Json, outcome) => {
                let (Outcome::Recorded(count) | Outcome::RecordedBefore(count)) = outcome;
                let recorded_before = matches!(outcome, Outcome::RecordedBefore(_));
                let document = json!({
                    "id": self.id,
                    "total_asset_usages_processed": count,
                    "recorded_before": recorded_before,
                });
                json_document(out, &document)
            }
            (Form::Text, Outcome::Recorded(count)) => Ok(writeln!(
                out,
                "{} usages recorded as batch {:?}",
                grouped(count as u64),
                self.id
            )?),
            (Form::Text, Outcome::RecordedBefore(_)) => {
                tell(format_args!("batch {:?} was recorded before, and said the same", self.id));
                Ok(())
            }
        }
    }

    fn read(&self) -> CommandResult<Vec<AssetUsage>> {
        let name = self.input.name();
        let (lines, _) = self.input.open::<Line>()?;
        let mut usages = Vec::new();
        for line in lines {
            let (at, Line { asset_id, quantity, usage_date }) = match line {
                Ok(line) => line,
                Err(LineError::Io(error)) => {
                    return Err(CommandError::failed(format!("cannot read {name}: {error}")));
                }
                Err(LineError::Bad { line, reason }) => {
                    return Err(CommandError::failed(format!("{name}:{line}: {reason}")));
                }
            };
            let quantity = i32::try_from(quantity).map_err(|_| {
                let text = format!("quantity {quantity} is not one of 1 to {}", i32::MAX);
                CommandError::failed(format!("{name}:{at}: {text}"))
            })?;
            usages.push(AssetUsage { asset_id, quantity, usage_date });
            if usages.len() > BATCH_USAGES_MAX {
                return Err(CommandError::failed(format!(
                    "{name}: a batch has at most {BATCH_USAGES_MAX} usages, and this is line {at}"
                )));
            }
        }
        Ok(usages)
    }
}

/// Whether a batch of that id is there and says the same, so that there is nothing left to do.
pub(super) fn says_the_same(status: &Status) -> bool {
    status.code() == Code::AlreadyExists
        && status.get_details_error_info().is_some_and(|info| {
            info.metadata.get("identical").is_some_and(|identical| identical == "true")
        })
}
