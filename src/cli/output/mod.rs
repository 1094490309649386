//! Data on stdout, for people and for programs.

pub(super) mod chart;
mod formula;
mod number;
pub(super) mod table;

use std::io;

use anyhow::Context as _;

use super::{CommandError, CommandResult};

pub(super) use number::grouped;

/// Writes rows as CSV for spreadsheets, the header first: no cell is a formula.
pub(super) fn csv_report(
    out: impl io::Write,
    header: Option<&[&str]>,
    mut rows: Vec<Vec<String>>,
) -> CommandResult {
    for cell in rows.iter_mut().flatten() {
        *cell = formula::neutral(cell);
    }
    csv_rows(out, header, &rows)
}

/// Writes rows as CSV, byte for byte as they are, the header first.
pub(super) fn csv_rows<'a>(
    out: impl io::Write,
    header: Option<&[&str]>,
    rows: impl IntoIterator<Item = &'a Vec<String>>,
) -> CommandResult {
    let mut writer = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| -> CommandError {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => anyhow::anyhow!("cannot write CSV: {other:?}").into(),
        }
    };
    if let Some(header) = header {
        writer.write_record(header).map_err(failed)?;
    }
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    Ok(writer.flush()?)
}

/// Writes one JSON document and ends the line.
pub(super) fn json_line(mut out: impl io::Write, value: &impl serde::Serialize) -> CommandResult {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    Ok(writeln!(out, "{text}")?)
}

/// Writes one JSON document over several lines.
pub(super) fn json_document(
    mut out: impl io::Write,
    value: &impl serde::Serialize,
) -> CommandResult {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    Ok(writeln!(out, "{text}")?)
}
