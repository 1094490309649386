//! Backups on their way over the wire.

use super::is_refused;
use crate::{
    api::{convert::backup, pb::meterd::v1 as ours},
    service::backups::BackupMessage,
};

/// What is asked for is kept, or refused with names.
pub(super) fn request(request: ours::StreamBackupRequest) {
    let read = match backup::request_from_proto(request.clone()) {
        Ok(read) => read,
        Err(error) => return is_refused(Some(error)),
    };
    let asked = request.bytes_per_second_max;
    assert!(read.bytes_per_second_max > 0);
    assert!(asked == 0 || asked == read.bytes_per_second_max);
    let positions = request.after.and_then(|after| after.position);
    assert_eq!(read.after.map(|after| backup::position_to_proto(&after.position)), positions);
    let again = read.after.as_ref().map(backup::head_to_proto);
    assert_eq!(again.and_then(backup::head_from_proto), read.after);
}

/// A part of an answer that can be read is the one that was sent.
pub(super) fn response(response: ours::StreamBackupResponse) {
    let Some(message) = read(response) else { return };
    assert_eq!(read(backup::message_to_proto(message.clone())), Some(message));
}

fn read(response: ours::StreamBackupResponse) -> Option<BackupMessage> {
    use ours::stream_backup_response::Part;

    match response.part? {
        Part::Entries(ours::BackupEntries { section, entries }) => {
            let section = backup::section_from_proto(section)?;
            Some(BackupMessage::Entries(section, entries))
        }
        Part::End(end) => backup::end_from_proto(end).map(BackupMessage::End),
    }
}
