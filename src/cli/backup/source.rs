//! Where a backup is read: from a server, or from a store that none has open.

use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::writer::BackupWriter;
use crate::{
    api::{
        pb::meterd::v1::{
            self as pb, StreamBackupRequest, store_service_client::StoreServiceClient,
            stream_backup_response::Part,
        },
        wire_backup,
    },
    cli::{
        CommandError, CommandResult,
        connection::{ServerOptions, call_failed},
        terminal::progress_bar,
    },
    store::{
        StoreError, UsageStore as _,
        backup::{BackupEnd, BackupRequest, put_entry},
        sled::{SledStore, StoreOptions},
    },
};

const BAR: &str = "{spinner} {bytes} {elapsed} {bytes_per_sec}";
/// Entries are handed to the files in pieces of about so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Asks a server.
pub(super) async fn read_served(
    server: &ServerOptions,
    request: &BackupRequest,
    writer: &mut BackupWriter,
) -> CommandResult<BackupEnd> {
    let mut client = StoreServiceClient::new(server.connect().await?);
    let request = StreamBackupRequest {
        after: request.after.as_ref().map(wire_backup::head_to_proto),
        bytes_per_second_max: request.bytes_per_second_max,
    };
    let answer = client.stream_backup(request).await.map_err(|status| call_failed(&status))?;
    let mut parts = answer.into_inner();
    let bar = progress_bar(None, BAR);
    let strange = || CommandError::failed("the server sent what this meterd does not know");
    while let Some(part) = parts.message().await.map_err(|status| call_failed(&status))? {
        match part.part.ok_or_else(strange)? {
            Part::Entries(pb::BackupEntries { section, entries }) => {
                let section = wire_backup::section_from_proto(section).ok_or_else(strange)?;
                writer.write(section, &entries)?;
                bar.set_position(writer.bytes);
            }
            Part::End(end) => {
                bar.finish_and_clear();
                return wire_backup::end_from_proto(end).ok_or_else(strange);
            }
        }
    }
    Err(CommandError::failed("the server ended the backup before it was complete"))
}

/// Opens the store itself.
pub(super) fn read_closed(
    data_dir: &Path,
    request: &BackupRequest,
    writer: &mut BackupWriter,
) -> CommandResult<BackupEnd> {
    if !data_dir.is_dir() {
        return Err(CommandError::failed(format!("there is no {}", data_dir.display())));
    }
    let store = SledStore::open(StoreOptions::new(data_dir)).context("cannot open the store")?;
    let bar = progress_bar(None, BAR);
    let mut piece = Vec::new();
    let mut last = None;
    let mut failure = None;
    let read = store.back_up(request, &mut |section, key, value| {
        let before = last.replace(section).filter(|before| *before != section);
        let full = (piece.len() >= PIECE_BYTES).then_some(section);
        if let Some(of) = before.or(full) {
            if let Err(error) = writer.write(of, &piece) {
                failure = Some(error);
                return Err(StoreError::GivenUp);
            }
            bar.set_position(writer.bytes);
            piece.clear();
        }
        put_entry(&mut piece, key, value);
        Ok(())
    });
    bar.finish_and_clear();
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let end = read.map_err(|error| anyhow!(error).context("cannot read the store"))?;
    if let Some(section) = last {
        writer.write(section, &piece)?;
    }
    store.close();
    Ok(end)
}
