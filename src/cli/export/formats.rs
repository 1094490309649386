//! The forms of an export.

use super::{
    Format, parquet,
    target::{Target, Written},
};
use crate::{
    api::pb::meterd::v1::UsageRecord,
    cli::{
        CommandResult,
        output::{csv_rows, json_line},
        records::{COLUMNS, cells, printed},
    },
};

/// Writes records in one of the forms.
pub(super) trait RecordWriter: Send {
    /// Writes some more.
    fn write(&mut self, records: &[UsageRecord]) -> CommandResult;

    /// Completes the output.
    fn finish(self: Box<Self>) -> CommandResult<Written>;
}

/// The writer of a form.
pub(super) fn writer(format: Format, target: Target) -> CommandResult<Box<dyn RecordWriter>> {
    Ok(match format {
        Format::Jsonl => Box::new(Jsonl(target)),
        Format::Csv => {
            let mut csv = Csv(target);
            csv_rows(&mut csv.0, Some(&COLUMNS), &[])?;
            Box::new(csv)
        }
        Format::Parquet => Box::new(parquet::Parquet::new(target)?),
    })
}

struct Jsonl(Target);

impl RecordWriter for Jsonl {
    fn write(&mut self, records: &[UsageRecord]) -> CommandResult {
        records.iter().try_for_each(|record| json_line(&mut self.0, &printed(record)))
    }

    fn finish(self: Box<Self>) -> CommandResult<Written> {
        self.0.finish()
    }
}

struct Csv(Target);

impl RecordWriter for Csv {
    fn write(&mut self, records: &[UsageRecord]) -> CommandResult {
        let rows: Vec<Vec<String>> = records.iter().map(cells).collect();
        csv_rows(&mut self.0, None, &rows)
    }

    fn finish(self: Box<Self>) -> CommandResult<Written> {
        self.0.finish()
    }
}
