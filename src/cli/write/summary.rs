//! What became of the records.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Instant,
};

use anyhow::Context as _;
use serde::Serialize;

use super::{batches::Batch, input::Target};
use crate::{
    api::pb::meterd::v1::{ProductUsageRecord, RejectionReason, StreamProductUsageResponse},
    cli::{
        CommandError, CommandResult,
        output::{self, grouped},
        terminal::tell,
        wire_time,
    },
};

/// Rejected records that are listed one by one.
pub(super) const LISTED_MAX: u64 = 20;

/// Counts, and where rejected records go.
#[derive(Debug)]
pub(super) struct Summary {
    accepted: u64,
    identical: u64,
    conflicting: u64,
    rejected: BTreeMap<&'static str, u64>,
    /// Lines that were no records.
    pub(super) bad_lines: u64,
    /// Times the connection was lost.
    pub(super) reconnects: u64,
    listed: u64,
    rejected_to: Option<BufWriter<File>>,
    started: Instant,
}

#[derive(Serialize)]
struct JsonSummary<'a> {
    accepted: u64,
    duplicates: JsonDuplicates,
    rejected: &'a BTreeMap<&'static str, u64>,
    bad_lines: u64,
    reconnects: u64,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct JsonDuplicates {
    identical: u64,
    conflicting: u64,
}

/// A rejected record as `--rejected-to` writes it; `write` can read it again.
#[derive(Serialize)]
struct RejectedLine<'a> {
    line: u64,
    reason: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conflict: bool,
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_instance_id: Option<&'a str>,
    sku_id: &'a str,
    quantity: i64,
    timestamp: String,
}

impl Summary {
    pub(super) fn new(rejected_to: Option<&Path>) -> CommandResult<Self> {
        let rejected_to = rejected_to
            .map(|path| {
                File::create(path).with_context(|| format!("cannot write {}", path.display()))
            })
            .transpose()?
            .map(BufWriter::new);
        Ok(Self {
            accepted: 0,
            identical: 0,
            conflicting: 0,
            rejected: BTreeMap::new(),
            bad_lines: 0,
            reconnects: 0,
            listed: 0,
            rejected_to,
            started: Instant::now(),
        })
    }

    /// Records that the server has answered.
    pub(super) fn answered(&self) -> u64 {
        self.accepted + self.identical + self.conflicting + self.rejected.values().sum::<u64>()
    }

    /// Whether the server holds every record of the input.
    pub(super) fn all_delivered(&self) -> bool {
        self.conflicting == 0 && self.rejected.is_empty() && self.bad_lines == 0
    }

    /// Counts the answer to a batch.
    pub(super) fn add(
        &mut self,
        batch: &Batch,
        answer: &StreamProductUsageResponse,
    ) -> CommandResult {
        self.accepted += u64::from(answer.accepted_count);
        for rejected in &answer.rejected {
            let reason = rejected.reason();
            if reason == RejectionReason::Duplicate && !rejected.conflict {
                self.identical += 1;
                continue;
            }
            if reason == RejectionReason::Duplicate {
                self.conflicting += 1;
            } else {
                *self.rejected.entry(reason_name(reason)).or_default() += 1;
            }
            let at = rejected.index as usize;
            let (Some(record), Some(line)) = (batch.records.get(at), batch.lines.get(at)) else {
                return Err(CommandError::failed("the server rejected a record that was not sent"));
            };
            self.list(*line, &batch.target, record, reason, rejected.conflict)?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        line: u64,
        target: &Target,
        record: &ProductUsageRecord,
        reason: RejectionReason,
        conflict: bool,
    ) -> CommandResult {
        self.listed += 1;
        if self.listed <= LISTED_MAX {
            let remark = if conflict { ", differs from the record accepted before" } else { "" };
            let name = reason_name(reason);
            tell(format_args!("line {line}: {} rejected: {name}{remark}", record.uuid));
        }
        let Some(file) = &mut self.rejected_to else { return Ok(()) };
        let (product_id, product_instance_id) = match target {
            Target::Product(id) => (Some(&**id), None),
            Target::Instance(id) => (None, Some(&**id)),
        };
        let rejected = RejectedLine {
            line,
            reason: reason_name(reason),
            conflict,
            uuid: &record.uuid,
            product_id,
            product_instance_id,
            sku_id: &record.sku_id,
            quantity: record.quantity,
            timestamp: wire_time::text(record.timestamp.as_ref()),
        };
        output::json_line(file, &rejected)
    }

    /// Completes the file of rejected records.
    pub(super) fn finish(&mut self) -> CommandResult {
        if self.listed > LISTED_MAX {
            tell(format_args!("… and {} more", grouped(self.listed - LISTED_MAX)));
        }
        if let Some(file) = &mut self.rejected_to {
            file.flush().context("cannot write the file of rejected records")?;
        }
        Ok(())
    }

    /// A few lines for people.
    pub(super) fn write_text(&self, mut out: impl Write) -> CommandResult {
        let elapsed = self.started.elapsed();
        writeln!(out, "accepted    {}", grouped(self.accepted))?;
        writeln!(
            out,
            "duplicates  {} identical, {} conflicting",
            grouped(self.identical),
            grouped(self.conflicting)
        )?;
        writeln!(out, "rejected    {}", grouped(self.rejected.values().sum::<u64>()))?;
        for (reason, count) in &self.rejected {
            writeln!(out, "  {reason:<20} {}", grouped(*count))?;
        }
        if self.bad_lines > 0 {
            writeln!(out, "bad lines   {}", grouped(self.bad_lines))?;
        }
        if self.reconnects > 0 {
            writeln!(out, "reconnects  {}", self.reconnects)?;
        }
        let rate = self.answered() as f64 / elapsed.as_secs_f64().max(0.001);
        // A rate of records a second is far below 2^53.
        Ok(writeln!(
            out,
            "{} records in {:.1} s, {} a second",
            grouped(self.answered()),
            elapsed.as_secs_f64(),
            grouped(rate as u64)
        )?)
    }

    /// One JSON document.
    pub(super) fn write_json(&self, out: impl io::Write) -> CommandResult {
        let summary = JsonSummary {
            accepted: self.accepted,
            duplicates: JsonDuplicates { identical: self.identical, conflicting: self.conflicting },
            rejected: &self.rejected,
            bad_lines: self.bad_lines,
            reconnects: self.reconnects,
            elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        output::json_document(out, &summary)
    }
}

/// The vendor's name of a reason.
fn reason_name(reason: RejectionReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REJECTION_REASON_").unwrap_or(name)
}
