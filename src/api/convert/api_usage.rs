//! Events of API usage and their verdicts.

use crate::{
    api::pb::meterd::v1 as pb,
    domain::api_usage::EventRejection,
    service::api_usage::{EventVerdict, ReportedEvent},
};

use super::time;

pub(in crate::api) fn event_from_proto(event: pb::ApiUsageEvent) -> ReportedEvent {
    ReportedEvent {
        uuid: event.uuid,
        client_id: event.client_id,
        user_id: event.user_id,
        template_uri: event.template_uri,
        http_method: event.http_method,
        status: event.status,
        platform: event.platform,
        timestamp: event.timestamp.and_then(time::from_proto),
        count: event.count.unwrap_or(1),
    }
}

/// The answer, with the caller's spelling of the uuids.
pub(in crate::api) fn verdicts_to_proto(
    uuids: Vec<String>,
    verdicts: &[EventVerdict],
) -> pb::RecordApiUsageResponse {
    let mut answer = pb::RecordApiUsageResponse::default();
    for (index, (uuid, verdict)) in (0..).zip(uuids.into_iter().zip(verdicts)) {
        match *verdict {
            EventVerdict::Accepted => answer.accepted_count += 1,
            EventVerdict::Rejected { reason, conflict } => {
                let reason = reason_to_proto(reason).into();
                answer.rejected.push(pb::RejectedApiUsage { uuid, reason, conflict, index });
            }
        }
    }
    answer
}

fn reason_to_proto(reason: EventRejection) -> pb::ApiUsageRejectionReason {
    use pb::ApiUsageRejectionReason as Reason;

    match reason {
        EventRejection::InvalidId => Reason::InvalidId,
        EventRejection::InvalidClientId => Reason::InvalidClientId,
        EventRejection::InvalidUserId => Reason::InvalidUserId,
        EventRejection::InvalidTemplateUri => Reason::InvalidTemplateUri,
        EventRejection::InvalidHttpMethod => Reason::InvalidHttpMethod,
        EventRejection::InvalidStatus => Reason::InvalidStatus,
        EventRejection::InvalidPlatform => Reason::InvalidPlatform,
        EventRejection::InvalidCount => Reason::InvalidCount,
        EventRejection::InvalidTimestamp => Reason::InvalidTimestamp,
        EventRejection::Expired => Reason::Expired,
        EventRejection::Duplicate => Reason::Duplicate,
    }
}
