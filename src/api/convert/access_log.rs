//! Entries of Envoy's access logs.

use jiff::SignedDuration;

use super::time;
use crate::{
    api::pb::envoy::{
        config::core::v3::RequestMethod,
        data::accesslog::v3::{AccessLogCommon, AccessLogType, HttpAccessLogEntry},
        service::accesslog::v3::{StreamAccessLogsMessage, stream_access_logs_message::LogEntries},
    },
    domain::api_usage::HttpMethod,
    service::access_log::{AccessLogEntry, EntryKind},
};

/// The longest `google.protobuf.Duration`: about 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// The entries of a message, one by one, so that they are never there twice.
pub(in crate::api) fn entries_from_proto(
    message: StreamAccessLogsMessage,
) -> impl Iterator<Item = AccessLogEntry> {
    let (http, tcp) = match message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => (logs.log_entry, 0),
        Some(LogEntries::TcpLogs(logs)) => (Vec::new(), logs.log_entry.len()),
        None => (Vec::new(), 0),
    };
    let on_tcp = || AccessLogEntry { kind: EntryKind::NotHttp, ..AccessLogEntry::default() };
    http.into_iter().map(from_http).chain(std::iter::repeat_with(on_tcp).take(tcp))
}

fn from_http(entry: HttpAccessLogEntry) -> AccessLogEntry {
    let common = entry.common_properties.unwrap_or_default();
    let request = entry.request.unwrap_or_default();
    AccessLogEntry {
        kind: kind(&common),
        method: method(request.request_method()),
        route_name: common.route_name,
        path: request.path,
        original_path: request.original_path,
        status: entry.response.and_then(|response| response.response_code),
        start_time: common.start_time.and_then(time::from_proto),
        duration: common.duration.and_then(duration),
        headers: request.request_headers,
    }
}

/// Every request has one DownstreamEnd, when its stream ends at the connection manager, whatever became of it; so those are
/// the calls. All others stand for something that a DownstreamEnd stands for as well, or for no request:
///
/// - DownstreamStart, DownstreamPeriodic and DownstreamTunnelSuccessfullyEstablished come before it, if the configuration
///   asks for them.
/// - UpstreamPoolReady, UpstreamPeriodic and UpstreamEnd are the router's, about its attempts, of which a request that is
///   retried has several and one that is refused none.
/// - Those on TCP and UDP are about connections and sessions.
///
/// NotSet comes from versions before this enum, which wrote at the end, and periodically with `intermediate_log_entry`.
fn kind(common: &AccessLogCommon) -> EntryKind {
    if common.intermediate_log_entry {
        return EntryKind::Partial;
    }
    match AccessLogType::try_from(common.access_log_type) {
        Ok(AccessLogType::NotSet | AccessLogType::DownstreamEnd) => EntryKind::Completed,
        Ok(
            AccessLogType::DownstreamStart
            | AccessLogType::DownstreamPeriodic
            | AccessLogType::DownstreamTunnelSuccessfullyEstablished
            | AccessLogType::UpstreamPoolReady
            | AccessLogType::UpstreamPeriodic
            | AccessLogType::UpstreamEnd,
        ) => EntryKind::Partial,
        Ok(
            AccessLogType::TcpUpstreamConnected
            | AccessLogType::TcpPeriodic
            | AccessLogType::TcpConnectionEnd
            | AccessLogType::UdpTunnelUpstreamConnected
            | AccessLogType::UdpPeriodic
            | AccessLogType::UdpSessionEnd,
        ) => EntryKind::NotHttp,
        Err(_) => EntryKind::Unknown,
    }
}

fn method(method: RequestMethod) -> Option<HttpMethod> {
    match method {
        RequestMethod::MethodUnspecified => None,
        RequestMethod::Get => Some(HttpMethod::Get),
        RequestMethod::Head => Some(HttpMethod::Head),
        RequestMethod::Post => Some(HttpMethod::Post),
        RequestMethod::Put => Some(HttpMethod::Put),
        RequestMethod::Delete => Some(HttpMethod::Delete),
        RequestMethod::Connect => Some(HttpMethod::Connect),
        RequestMethod::Options => Some(HttpMethod::Options),
        RequestMethod::Trace => Some(HttpMethod::Trace),
        RequestMethod::Patch => Some(HttpMethod::Patch),
    }
}

/// `None` for what is no length of time, or longer than the wire type allows. (The conversion of prost-types panics for some
/// of those.)
fn duration(duration: prost_types::Duration) -> Option<SignedDuration> {
    let in_range = (0..=DURATION_SECONDS_MAX).contains(&duration.seconds)
        && (0..1_000_000_000).contains(&duration.nanos);
    in_range.then(|| SignedDuration::new(duration.seconds, duration.nanos))
}

#[cfg(test)]
mod tests;
