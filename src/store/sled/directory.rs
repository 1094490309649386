//! The directory of a store: making it, making its names durable, and removing what a crash left unfinished.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    path::Path,
};

use super::{durability::LossWitness, head, options::OpenError};

/// sled's settings. It writes them when it creates a store, and never syncs them.
const SETTINGS: &str = "conf";
const TORN_SETTINGS: &str = "conf.torn";
/// sled's log, which holds everything.
pub(super) const LOG: &str = "db";

/// Makes the directory, and those above it.
pub(super) fn create(directory: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;

    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(OpenError::io("cannot create", directory))
}

/// sled takes a snapshot file that it was interrupted in writing for a finished one, and then finds
/// it corrupt. The unfinished file holds nothing that is not in the log.
pub(super) fn remove_unfinished_snapshots(directory: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(directory).map_err(OpenError::io("cannot list", directory))? {
        let path = entry.map_err(OpenError::io("cannot list", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path).map_err(OpenError::io("cannot remove", &path))?;
            tracing::warn!(
                file = name,
                "removed a snapshot that an earlier process did not finish"
            );
        }
    }
    Ok(())
}

/// sled refuses settings that are torn, as they are if the power fails while a store is being created. Then there is no head
/// file yet, nothing was acknowledged, and sled can write them again: they say the same for every store. The file is kept under
/// another name, since it may be somebody else's.
pub(super) fn set_torn_settings_aside(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(SETTINGS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("cannot read", &path)(error)),
    };
    let is_whole = bytes.split_last_chunk().is_some_and(|(settings, checksum)| {
        crc32fast::hash(settings) == u32::from_le_bytes(*checksum)
    });
    if is_whole || directory.join(head::FILE_NAME).exists() {
        return Ok(());
    }
    fs::rename(&path, directory.join(TORN_SETTINGS))
        .map_err(OpenError::io("cannot rename", &path))?;
    tracing::warn!(
        file = TORN_SETTINGS,
        "set the settings of a store aside whose creation was interrupted"
    );
    Ok(())
}

/// Listens for what cannot be written to sled's log.
pub(super) fn watch_losses(directory: &Path) -> Result<LossWitness, OpenError> {
    let path = directory.join(LOG);
    LossWitness::of(&path).map_err(OpenError::io("cannot watch", &path))
}

/// Makes sled's settings durable.
pub(super) fn sync_settings(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(SETTINGS);
    sync(&path).map_err(OpenError::io("cannot sync", &path))
}

pub(super) fn refuse_blobs(directory: &Path) -> Result<(), OpenError> {
    let blobs = directory.join("blobs");
    let entries = match fs::read_dir(&blobs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("cannot list", &blobs)(error)),
    };
    if entries.count() == 0 { Ok(()) } else { Err(OpenError::Blobs(blobs)) }
}

/// Makes the names in the directory durable, and its own: a synced file is lost if its name is. On every start, since an earlier
/// process may have been killed before it did.
pub(super) fn sync_names(directory: &Path) -> Result<(), OpenError> {
    let absolute =
        std::path::absolute(directory).map_err(OpenError::io("cannot resolve", directory))?;
    for (level, path) in absolute.ancestors().enumerate() {
        match sync(path) {
            Ok(()) => {}
            // Those further up are hardly ever ours, and need not be readable.
            Err(error) if level > 1 => {
                tracing::debug!(path = %path.display(), %error, "cannot sync a directory above the store");
            }
            Err(error) => return Err(OpenError::io("cannot sync", path)(error)),
        }
    }
    Ok(())
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
