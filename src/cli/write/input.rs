//! Records as people and programs write them: JSON Lines and CSV.

use std::{
    fmt,
    io::{self, BufRead, Read as _},
    sync::Arc,
};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use crate::{
    api::pb::meterd::v1::ProductUsageRecord,
    cli::wire_time,
    domain::limits::{ID_CHARS_MAX, UUID_TEXT_CHARS_MAX},
};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

/// What the usage is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    Product(Arc<str>),
    Instance(Arc<str>),
}

/// A record, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InputRecord {
    /// The line, from 1.
    pub(super) line: u64,
    pub(super) target: Target,
    pub(super) record: ProductUsageRecord,
}

/// Why a line is no record.
#[derive(Debug)]
pub(super) enum LineError {
    /// It says something else.
    Bad { line: u64, reason: String },
    /// It cannot be read at all, nor can those after it.
    Io(io::Error),
}

/// A line, as far as its form goes. What `records` and `--rejected-to` write beside the record is read
/// over, so that their output can be sent again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    uuid: String,
    #[serde(default)]
    product_id: Option<String>,
    #[serde(default)]
    product_instance_id: Option<String>,
    sku_id: String,
    #[serde(deserialize_with = "whole_number")]
    quantity: i64,
    timestamp: String,
    #[serde(default, rename = "line")]
    _line: Option<IgnoredAny>,
    #[serde(default, rename = "reason")]
    _reason: Option<IgnoredAny>,
    #[serde(default, rename = "conflict")]
    _conflict: Option<IgnoredAny>,
    #[serde(default, rename = "stored_time")]
    _stored_time: Option<IgnoredAny>,
    #[serde(default, rename = "client_id")]
    _client_id: Option<IgnoredAny>,
    #[serde(default, rename = "log_sequence")]
    _log_sequence: Option<IgnoredAny>,
}

/// A number, or one in quotes as 64-bit JSON numbers often come.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number of 64 bits as the quantity")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number)
                .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// Reads records line by line.
pub(super) struct Input {
    lines: Lines,
    /// What a line is of that does not say.
    target: Option<Target>,
}

enum Lines {
    Jsonl { reader: Box<dyn BufRead + Send>, line: u64, bytes: u64, buffer: Vec<u8> },
    Csv { reader: Box<csv::Reader<Box<dyn BufRead + Send>>>, record: csv::StringRecord },
}

impl Input {
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        format: Format,
        target: Option<Target>,
    ) -> Self {
        let lines = match format {
            Format::Jsonl => Lines::Jsonl { reader, line: 0, bytes: 0, buffer: Vec::new() },
            Format::Csv => {
                let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
                Lines::Csv { reader: Box::new(reader), record: csv::StringRecord::new() }
            }
        };
        Self { lines, target }
    }

    /// Bytes consumed so far.
    pub(super) fn bytes_read(&self) -> u64 {
        match &self.lines {
            Lines::Jsonl { bytes, .. } => *bytes,
            Lines::Csv { reader, .. } => reader.position().byte(),
        }
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<InputRecord, LineError>> {
        let (at, line) = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let record = self.record(at, line);
        Some(record.map_err(|reason| LineError::Bad { line: at, reason }))
    }

    fn record(&self, at: u64, line: Line) -> Result<InputRecord, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let target = match (given(line.product_id), given(line.product_instance_id)) {
            (Some(_), Some(_)) => {
                return Err("names both product_id and product_instance_id".to_owned());
            }
            (Some(id), None) => Target::Product(id.into()),
            (None, Some(id)) => Target::Instance(id.into()),
            (None, None) => self.target.clone().ok_or(
                "names neither product_id nor product_instance_id (nor do --product, --instance)",
            )?,
        };
        // One record that breaks these would have the server refuse the whole message it is in.
        let (Target::Product(id) | Target::Instance(id)) = &target;
        at_most("product_id or product_instance_id", id, ID_CHARS_MAX)?;
        at_most("uuid", &line.uuid, UUID_TEXT_CHARS_MAX)?;
        at_most("sku_id", &line.sku_id, ID_CHARS_MAX)?;
        let timestamp: Timestamp = line.timestamp.parse().map_err(|_| {
            format!("timestamp {:?} is not RFC 3339, such as 2026-11-21T08:30:00Z", line.timestamp)
        })?;
        let record = ProductUsageRecord {
            uuid: line.uuid,
            sku_id: line.sku_id,
            quantity: line.quantity,
            timestamp: Some(wire_time::to_wire(timestamp)),
        };
        Ok(InputRecord { line: at, target, record })
    }
}

fn at_most(member: &str, text: &str, chars_max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("{member} has {chars} characters, at most {chars_max} are allowed"));
    }
    Ok(())
}

impl Lines {
    fn next(&mut self) -> Option<Result<(u64, Line), LineError>> {
        match self {
            Self::Jsonl { reader, line, bytes, buffer } => loop {
                *line += 1;
                buffer.clear();
                let limit = LINE_BYTES_MAX as u64 + 1;
                match reader.by_ref().take(limit).read_until(b'\n', buffer) {
                    Ok(0) => return None,
                    Ok(count) => *bytes += count as u64,
                    Err(error) => return Some(Err(LineError::Io(error))),
                }
                let bad = |reason| Some(Err(LineError::Bad { line: *line, reason }));
                if buffer.len() > LINE_BYTES_MAX && !buffer.ends_with(b"\n") {
                    // What is left of it would be taken for lines of their own: read past it.
                    if let Err(error) = skip_line(reader, bytes) {
                        return Some(Err(LineError::Io(error)));
                    }
                    return bad(format!("is longer than {LINE_BYTES_MAX} bytes"));
                }
                if buffer.trim_ascii().is_empty() {
                    continue;
                }
                return match serde_json::from_slice(buffer) {
                    Ok(read) => Some(Ok((*line, read))),
                    Err(error) => bad(reason(&error)),
                };
            },
            Self::Csv { reader, record } => {
                let header = match reader.headers() {
                    Ok(header) => header.clone(),
                    Err(error) => return Some(Err(csv_error(error, 1))),
                };
                let at = reader.position().line();
                match reader.read_record(record) {
                    Ok(false) => None,
                    Ok(true) => {
                        let at = record.position().map_or(at, csv::Position::line);
                        let read = record.deserialize(Some(&header));
                        Some(read.map(|line| (at, line)).map_err(|error| csv_error(error, at)))
                    }
                    Err(error) => Some(Err(csv_error(error, at))),
                }
            }
        }
    }
}

fn skip_line(reader: &mut Box<dyn BufRead + Send>, bytes: &mut u64) -> io::Result<()> {
    loop {
        let available = reader.fill_buf()?;
        let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let count = end.unwrap_or(available.len());
        if count == 0 {
            return Ok(());
        }
        reader.consume(count);
        *bytes += count as u64;
        if end.is_some() {
            return Ok(());
        }
    }
}

/// What serde found, without its own idea of line and column.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn csv_error(error: csv::Error, line: u64) -> LineError {
    let reason = match error.into_kind() {
        csv::ErrorKind::Io(error) => return LineError::Io(error),
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, the header {expected_len}")
        }
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => "is not CSV".to_owned(),
    };
    LineError::Bad { line, reason }
}
