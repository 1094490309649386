//! Records as people and programs write them: JSON Lines and CSV.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    api::pb::meterd::v1::ProductUsageRecord,
    cli::{
        lines::{LineError, Lines, whole_number},
        wire_time,
    },
    domain::limits::{ID_CHARS_MAX, UUID_TEXT_CHARS_MAX},
};

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

/// A line, as far as its form goes. What `records` and `--rejected-to` write beside the record is read
/// over, so that their output can be sent again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
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

/// Reads records line by line.
pub(super) struct Input {
    lines: Lines<Line>,
    /// What a line is of that does not say.
    target: Option<Target>,
}

impl Input {
    pub(super) fn new(lines: Lines<Line>, target: Option<Target>) -> Self {
        Self { lines, target }
    }

    /// Bytes consumed so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.lines.bytes_read()
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
