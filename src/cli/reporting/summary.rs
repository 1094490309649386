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

use super::{batches::Batch, reading::UsageKind};
use crate::cli::{
    CommandError, CommandResult,
    output::{self, grouped},
    terminal::tell,
};

/// The name of the reason that is none if it is a mere repetition.
const DUPLICATE: &str = "DUPLICATE";

/// Rejected records that are listed one by one.
pub(super) const LISTED_MAX: u64 = 20;

/// Counts, and where rejected records go.
#[derive(Debug)]
pub(in crate::cli) struct Summary {
    /// What records are called.
    noun: &'static str,
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

/// The server's verdict on a record that it did not accept.
pub(in crate::cli) struct Rejection {
    /// Its place in the message.
    pub(in crate::cli) index: u32,
    /// The last part of the reason's name, such as `EXPIRED`.
    pub(in crate::cli) reason: &'static str,
    /// It repeats the uuid of one that says something else.
    pub(in crate::cli) conflict: bool,
}

/// A rejected record as `--rejected-to` writes it; the same command can read it again.
#[derive(Serialize)]
struct RejectedLine<R: Serialize> {
    line: u64,
    reason: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conflict: bool,
    #[serde(flatten)]
    record: R,
}

impl Summary {
    pub(super) fn new(noun: &'static str, rejected_to: Option<&Path>) -> CommandResult<Self> {
        let rejected_to = rejected_to
            .map(|path| {
                File::create(path).with_context(|| format!("cannot write {}", path.display()))
            })
            .transpose()?
            .map(BufWriter::new);
        Ok(Self {
            noun,
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
    pub(in crate::cli) fn answered(&self) -> u64 {
        self.accepted + self.identical + self.conflicting + self.rejected.values().sum::<u64>()
    }

    /// Whether the server holds every record of the input.
    pub(super) fn all_delivered(&self) -> bool {
        self.conflicting == 0 && self.rejected.is_empty() && self.bad_lines == 0
    }

    /// Counts the answer to a batch.
    pub(in crate::cli) fn add<U: UsageKind>(
        &mut self,
        batch: &Batch<U>,
        accepted_count: u32,
        rejections: impl IntoIterator<Item = Rejection>,
    ) -> CommandResult {
        self.accepted += u64::from(accepted_count);
        for rejection in rejections {
            let Rejection { index, reason, conflict } = rejection;
            match (reason, conflict) {
                (DUPLICATE, false) => {
                    self.identical += 1;
                    continue;
                }
                (DUPLICATE, true) => self.conflicting += 1,
                _ => *self.rejected.entry(reason).or_default() += 1,
            }
            let at = index as usize;
            let (Some(record), Some(line)) = (batch.records.get(at), batch.lines.get(at)) else {
                return Err(CommandError::failed("the server rejected a record that was not sent"));
            };
            let record = (U::uuid(record), U::printed(&batch.target, record));
            self.list(*line, &rejection, record)?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        line: u64,
        rejection: &Rejection,
        (uuid, record): (&str, impl Serialize),
    ) -> CommandResult {
        let Rejection { reason, conflict, .. } = *rejection;
        self.listed += 1;
        if self.listed <= LISTED_MAX {
            let remark = if conflict { ", differs from what was accepted before" } else { "" };
            tell(format_args!("line {line}: {uuid} rejected: {reason}{remark}"));
        }
        let Some(file) = &mut self.rejected_to else { return Ok(()) };
        output::json_line(file, &RejectedLine { line, reason, conflict, record })
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
            "{} {} in {:.1} s, {} a second",
            grouped(self.answered()),
            self.noun,
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
