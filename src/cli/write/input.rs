//! Records as people and programs write them: JSON Lines and CSV.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    api::pb::meterd::v1::ProductUsageRecord,
    cli::{
        lines::whole_number,
        reporting::{UsageKind, at_most, timestamp},
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
}

/// A record as `--rejected-to` writes it.
#[derive(Serialize)]
pub(super) struct PrintedRecord<'a> {
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_instance_id: Option<&'a str>,
    sku_id: &'a str,
    quantity: i64,
    timestamp: String,
}

/// Usage of products and of their instances.
pub(super) struct ProductUsage {
    /// What a line is of that does not say.
    pub(super) target: Option<Target>,
}

impl UsageKind for ProductUsage {
    type Line = Line;
    type Target = Target;
    type Record = ProductUsageRecord;
    const NOUN: &'static str = "records";

    fn record(&self, line: Line) -> Result<(Target, ProductUsageRecord), String> {
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
        let (Target::Product(id) | Target::Instance(id)) = &target;
        at_most("product_id or product_instance_id", id, ID_CHARS_MAX)?;
        at_most("uuid", &line.uuid, UUID_TEXT_CHARS_MAX)?;
        at_most("sku_id", &line.sku_id, ID_CHARS_MAX)?;
        let record = ProductUsageRecord {
            uuid: line.uuid,
            sku_id: line.sku_id,
            quantity: line.quantity,
            timestamp: Some(wire_time::to_wire(timestamp(&line.timestamp)?)),
        };
        Ok((target, record))
    }

    fn uuid(record: &ProductUsageRecord) -> &str {
        &record.uuid
    }

    fn printed<'a>(target: &'a Target, record: &'a ProductUsageRecord) -> impl Serialize + use<'a> {
        let (product_id, product_instance_id) = match target {
            Target::Product(id) => (Some(&**id), None),
            Target::Instance(id) => (None, Some(&**id)),
        };
        PrintedRecord {
            uuid: &record.uuid,
            product_id,
            product_instance_id,
            sku_id: &record.sku_id,
            quantity: record.quantity,
            timestamp: wire_time::text(record.timestamp.as_ref()),
        }
    }
}
