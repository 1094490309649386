//! Backups.

use uuid::Uuid;

use crate::{
    api::pb::meterd::v1 as pb,
    domain::usage::LogSequence,
    service::{FieldViolation, ServiceError, backups::BackupMessage},
    store::{
        LogHead, LogPosition,
        backup::{BackupEnd, BackupRequest, BackupSection},
    },
};

/// How fast is read if nothing is said.
const BYTES_PER_SECOND_DEFAULT: u64 = 64 << 20;

/// A request, with every broken rule of it.
pub(in crate::api) fn request_from_proto(
    request: pb::StreamBackupRequest,
) -> Result<BackupRequest, ServiceError> {
    let pb::StreamBackupRequest { after, bytes_per_second_max } = request;
    let bytes_per_second_max = match bytes_per_second_max {
        0 => BYTES_PER_SECOND_DEFAULT,
        bytes => bytes,
    };
    Ok(BackupRequest { after: after.map(after_from_proto).transpose()?, bytes_per_second_max })
}

/// Where a log ends.
pub(crate) fn head_to_proto(head: &LogHead) -> pb::LogHead {
    pb::LogHead {
        store_id: head.store_id.to_string(),
        position: Some(position_to_proto(&head.position)),
    }
}

/// Where a log ends; `None` if it lacks something.
pub(crate) fn head_from_proto(head: pb::LogHead) -> Option<LogHead> {
    let store_id = Uuid::try_parse(&head.store_id).ok()?;
    Some(LogHead { store_id, position: position_from_proto(head.position?)? })
}

fn after_from_proto(head: pb::LogHead) -> Result<LogHead, ServiceError> {
    let store_id = Uuid::try_parse(&head.store_id);
    let position = head.position.and_then(position_from_proto);
    let mut violations = Vec::new();
    if store_id.is_err() {
        violations.push(FieldViolation::new("after.store_id", "must be a uuid"));
    }
    if position.is_none() {
        let description = "must have a sequence and a link of 32 bytes";
        violations.push(FieldViolation::new("after.position", description));
    }
    match (store_id, position) {
        (Ok(store_id), Some(position)) => Ok(LogHead { store_id, position }),
        _ => Err(ServiceError::InvalidArgument(violations)),
    }
}

/// A place in the log; `None` if its link is no link.
pub(crate) fn position_from_proto(position: pb::LogPosition) -> Option<LogPosition> {
    let link = position.link.try_into().ok()?;
    Some(LogPosition { sequence: LogSequence(position.sequence), link })
}

/// A place in the log.
pub(crate) fn position_to_proto(position: &LogPosition) -> pb::LogPosition {
    pb::LogPosition { sequence: position.sequence.0, link: position.link.to_vec() }
}

/// The end of a backup; `None` if it lacks something.
pub(crate) fn end_from_proto(end: pb::BackupEnd) -> Option<BackupEnd> {
    Some(BackupEnd {
        store_id: Uuid::try_parse(&end.store_id).ok()?,
        after: position_from_proto(end.after?)?,
        through: position_from_proto(end.through?)?,
    })
}

/// A section; `None` if there is no such.
pub(crate) fn section_from_proto(section: i32) -> Option<BackupSection> {
    match pb::BackupSection::try_from(section).ok()? {
        pb::BackupSection::Unspecified => None,
        pb::BackupSection::Index => Some(BackupSection::Index),
        pb::BackupSection::State => Some(BackupSection::State),
        pb::BackupSection::Log => Some(BackupSection::Log),
    }
}

/// A piece of a backup.
pub(in crate::api) fn message_to_proto(message: BackupMessage) -> pb::StreamBackupResponse {
    use pb::stream_backup_response::Part;

    let part = match message {
        BackupMessage::Entries(section, entries) => {
            Part::Entries(pb::BackupEntries { section: section_to_proto(section).into(), entries })
        }
        BackupMessage::End(BackupEnd { store_id, after, through }) => Part::End(pb::BackupEnd {
            store_id: store_id.to_string(),
            after: Some(position_to_proto(&after)),
            through: Some(position_to_proto(&through)),
        }),
    };
    pb::StreamBackupResponse { part: Some(part) }
}

fn section_to_proto(section: BackupSection) -> pb::BackupSection {
    match section {
        BackupSection::Index => pb::BackupSection::Index,
        BackupSection::State => pb::BackupSection::State,
        BackupSection::Log => pb::BackupSection::Log,
    }
}
