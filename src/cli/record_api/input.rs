//! Events as people and programs write them: JSON Lines and CSV.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::{
    api::pb::meterd::v1::ApiUsageEvent,
    cli::{
        lines::whole_number_as,
        reporting::{UsageKind, at_most, timestamp},
        wire_time,
    },
    domain::{
        id::ClientId,
        limits::{ID_CHARS_MAX, METHOD_CHARS_MAX, TEMPLATE_URI_CHARS_MAX, UUID_TEXT_CHARS_MAX},
    },
};

/// A line, as far as its form goes. What `--rejected-to` writes beside the event is read over, so that its output can
/// be sent again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    uuid: String,
    #[serde(default, alias = "clientId")]
    client_id: Option<String>,
    #[serde(default, alias = "userId")]
    user_id: Option<String>,
    #[serde(alias = "templateUri")]
    template_uri: String,
    #[serde(alias = "httpMethod")]
    http_method: String,
    #[serde(deserialize_with = "status")]
    status: i64,
    #[serde(default)]
    platform: Option<String>,
    timestamp: String,
    #[serde(default)]
    count: Option<Count>,
    #[serde(default, rename = "line")]
    _line: Option<IgnoredAny>,
    #[serde(default, rename = "reason")]
    _reason: Option<IgnoredAny>,
    #[serde(default, rename = "conflict")]
    _conflict: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Count(#[serde(deserialize_with = "count")] i64);

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    whole_number_as("status", deserializer)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    whole_number_as("count", deserializer)
}

/// An event as `--rejected-to` writes it.
#[derive(Serialize)]
pub(super) struct PrintedEvent<'a> {
    uuid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'a str,
    template_uri: &'a str,
    http_method: &'a str,
    status: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    platform: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<i64>,
}

/// Usage of APIs. Any events may share a message.
pub(super) struct ApiUsage;

impl UsageKind for ApiUsage {
    type Line = Line;
    type Target = ();
    type Record = ApiUsageEvent;
    const NOUN: &'static str = "events";

    fn record(&self, line: Line) -> Result<((), ApiUsageEvent), String> {
        let event = ApiUsageEvent {
            uuid: line.uuid,
            client_id: line.client_id.unwrap_or_default(),
            user_id: line.user_id.unwrap_or_default(),
            template_uri: line.template_uri,
            http_method: line.http_method,
            status: i32::try_from(line.status)
                .map_err(|_| format!("status {} is not one of 100 to 599", line.status))?,
            platform: line.platform.unwrap_or_default(),
            timestamp: Some(wire_time::to_wire(timestamp(&line.timestamp)?)),
            count: line.count.map(|count| count.0),
        };
        for (member, text, chars_max) in [
            ("uuid", &event.uuid, UUID_TEXT_CHARS_MAX),
            ("client_id", &event.client_id, ClientId::chars_max(&event.client_id)),
            ("user_id", &event.user_id, ID_CHARS_MAX),
            ("template_uri", &event.template_uri, TEMPLATE_URI_CHARS_MAX),
            ("http_method", &event.http_method, METHOD_CHARS_MAX),
            ("platform", &event.platform, ID_CHARS_MAX),
        ] {
            at_most(member, text, chars_max)?;
        }
        Ok(((), event))
    }

    fn uuid(event: &ApiUsageEvent) -> &str {
        &event.uuid
    }

    fn printed<'a>((): &'a (), event: &'a ApiUsageEvent) -> impl Serialize + use<'a> {
        PrintedEvent {
            uuid: &event.uuid,
            client_id: &event.client_id,
            user_id: &event.user_id,
            template_uri: &event.template_uri,
            http_method: &event.http_method,
            status: event.status,
            platform: &event.platform,
            timestamp: wire_time::text(event.timestamp.as_ref()),
            count: event.count,
        }
    }
}
