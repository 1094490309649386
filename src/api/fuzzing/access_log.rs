//! Messages of Envoy's access log.

use std::{collections::BTreeSet, sync::LazyLock};

use jiff::Timestamp;
use prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::{
    api::{
        convert::access_log::entries_from_proto,
        pb::{
            self,
            envoy::service::accesslog::v3::{
                StreamAccessLogsMessage, stream_access_logs_message::LogEntries,
            },
        },
        rest::made_up as messages,
    },
    domain::{
        caller::Caller,
        fuzzing::{Choices, made_up},
        id::{ClientId, OrganizationId},
    },
    service::{
        acceptance::AcceptanceWindow,
        access_log::{AccessLogEntry, AccessLogHeaders, AccessLogRules, Digest, EntryKind},
    },
};

static MESSAGE: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET).expect("compiled in");
    let name = "envoy.service.accesslog.v3.StreamAccessLogsMessage";
    pool.get_message_by_name(name).expect("compiled in")
});

static RULES: LazyLock<AccessLogRules> = LazyLock::new(|| {
    let templates = ["/v1/products/{id}", "/v1/{*rest}", "/"].map(str::to_owned);
    AccessLogRules::new(&templates, AccessLogHeaders::default()).expect("templates")
});

/// Every entry that stands for a call is counted once or dropped for a reason, at a time that is accepted, and calls that
/// are alike are one event.
///
/// # Panics
/// If not.
pub fn access_log(input: &[u8]) {
    let mut choices = Choices::new(input);
    let is_made_up = choices.once_in(2);
    let bytes = if is_made_up {
        let bytes = messages::message(&MESSAGE, &mut choices, 0).encode_to_vec();
        if choices.once_in(2) { messages::damaged(bytes, &mut choices) } else { bytes }
    } else {
        choices.rest().to_vec()
    };
    let Ok(mut message) = StreamAccessLogsMessage::decode(bytes.as_slice()) else { return };
    if is_made_up {
        change(&mut message, &mut choices);
    }
    let wanted = match &message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => logs.log_entry.len(),
        Some(LogEntries::TcpLogs(logs)) => logs.log_entry.len(),
        None => 0,
    };
    let entries: Vec<AccessLogEntry> = entries_from_proto(message).collect();
    assert_eq!(entries.len(), wanted);
    let now: Timestamp = Timestamp::from_second(1_763_640_000).unwrap_or_default();
    digested(&entries, now);
}

/// What made-up messages lack: headers, and times that are accepted.
fn change(message: &mut StreamAccessLogsMessage, choices: &mut Choices<'_>) {
    let Some(LogEntries::HttpLogs(logs)) = &mut message.log_entries else { return };
    for entry in &mut logs.log_entry {
        let request = entry.request.get_or_insert_default();
        for name in ["x-client-id", "x-user-id", "x-platform", "other"] {
            if choices.once_in(2) {
                request.request_headers.insert(name.to_owned(), made_up::name(choices));
            }
        }
        if choices.once_in(2) {
            request.request_method = choices.pick(12) as i32;
            request.path = choices.of(&["/", "/v1/products/7?x", "/v1/a/b#c", "", "*"]).to_owned();
            let response = entry.response.get_or_insert_default();
            response.response_code = Some(choices.number() as u32 % 700);
            let common = entry.common_properties.get_or_insert_default();
            common.access_log_type = choices.of(&[0, 3, 3, 1, 4, 7, 99]);
        }
    }
}

fn digested(entries: &[AccessLogEntry], now: Timestamp) {
    let window = AcceptanceWindow::default();
    let caller = Caller {
        organization: OrganizationId::new("o").expect("an identifier"),
        client: ClientId::new("proxy").expect("an identifier"),
    };
    let Digest { events, tally } = RULES.digest(&caller, entries.iter().cloned(), &window, now);
    let partial = entries.iter().filter(|entry| entry.kind == EntryKind::Partial).count() as u64;
    let counted: u64 = events.iter().map(|event| event.count.get().unsigned_abs()).sum();
    let dropped: u64 = tally.dropped.values().sum();
    assert_eq!(counted + dropped + partial, entries.len() as u64);
    assert_eq!(tally.calls, 0, "nothing is stored yet");
    let mut kinds = BTreeSet::new();
    for event in &events {
        assert_eq!(window.judge(event.time, now), Ok(()));
        let day = event.time.as_second().div_euclid(86_400);
        assert!(kinds.insert((event.series.clone(), event.status, day)), "two events of a kind");
    }
}
