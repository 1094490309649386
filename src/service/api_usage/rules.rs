//! The rules of an event of API usage, apart from the last one (whether the uuid is new). Pure.

use jiff::Timestamp;

use super::ReportedEvent;
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiSeries, EventRejection, HttpStatus},
        caller::Caller,
        id::{ClientId, PlatformName, TemplateUri, UserId},
        limits::{
            API_EVENT_CALLS_MAX, API_EVENTS_MAX, ID_CHARS_MAX, METHOD_CHARS_MAX,
            TEMPLATE_URI_CHARS_MAX, UUID_TEXT_CHARS_MAX,
        },
        quantity::Quantity,
    },
    service::{
        FieldViolation, ServiceError,
        acceptance::{AcceptanceWindow, OutsideWindow},
        arguments::check_length,
        product_usage::parse_uuid,
    },
};

/// Checks what makes the whole request fail; names everything at once.
pub(super) fn check(events: &[ReportedEvent]) -> Result<(), ServiceError> {
    let mut violations = Vec::new();
    let count = events.len();
    if count == 0 || count > API_EVENTS_MAX {
        violations.push(FieldViolation::new(
            "events",
            format!("has {count} events, between 1 and {API_EVENTS_MAX} are allowed"),
        ));
    }
    for (place, event) in events.iter().enumerate() {
        for (name, text, chars_max) in [
            ("uuid", &event.uuid, UUID_TEXT_CHARS_MAX),
            ("client_id", &event.client_id, ClientId::chars_max(&event.client_id)),
            ("user_id", &event.user_id, ID_CHARS_MAX),
            ("template_uri", &event.template_uri, TEMPLATE_URI_CHARS_MAX),
            ("http_method", &event.http_method, METHOD_CHARS_MAX),
            ("platform", &event.platform, ID_CHARS_MAX),
        ] {
            let field = || format!("events[{place}].{name}");
            check_length(&mut violations, field, text, chars_max);
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(ServiceError::InvalidArgument(violations)) }
}

/// Judges one event; the first rule that it breaks, in the order of the contract, is the reason.
pub(super) fn judge(
    event: &ReportedEvent,
    caller: &Caller,
    now: Timestamp,
    window: &AcceptanceWindow,
) -> Result<ApiEvent, EventRejection> {
    let uuid = parse_uuid(&event.uuid).ok_or(EventRejection::InvalidId)?;
    let client = match event.client_id.as_str() {
        "" => caller.client.clone(),
        text => ClientId::of_new(text).map_err(|_| EventRejection::InvalidClientId)?,
    };
    let user =
        optional(&event.user_id, UserId::of_new).map_err(|_| EventRejection::InvalidUserId)?;
    let template_uri =
        TemplateUri::of_new(&event.template_uri).map_err(|_| EventRejection::InvalidTemplateUri)?;
    let method = event.http_method.parse().map_err(|_| EventRejection::InvalidHttpMethod)?;
    let status = u16::try_from(event.status).ok().and_then(HttpStatus::new);
    let status = status.ok_or(EventRejection::InvalidStatus)?;
    let platform = optional(&event.platform, PlatformName::of_new)
        .map_err(|_| EventRejection::InvalidPlatform)?;
    let count = Quantity::new(event.count)
        .filter(|count| count.get() <= API_EVENT_CALLS_MAX)
        .ok_or(EventRejection::InvalidCount)?;
    let time = event.timestamp.ok_or(EventRejection::InvalidTimestamp)?;
    window.judge(time, now).map_err(|outside| match outside {
        OutsideWindow::Future => EventRejection::InvalidTimestamp,
        OutsideWindow::Expired => EventRejection::Expired,
    })?;
    let series = ApiSeries { template_uri, method, client, user, platform };
    Ok(ApiEvent { uuid, series, status, time, count })
}

fn optional<T, E>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, E> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}
