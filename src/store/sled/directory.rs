//! The directory of a store: making it, making its names durable, and removing what a crash left unfinished.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use super::{durability::LossWitness, head, options::OpenError};

/// sled's settings. It writes them when it creates a store, and never syncs them.
const SETTINGS: &str = "conf";
const TORN_SETTINGS: &str = "conf.torn";
/// sled's log, which holds everything.
pub(super) const LOG: &str = "db";

/// Marks directories that all users share, such as /tmp.
const STICKY: u32 = 0o1000;
/// What may be there before a store: the keys that sign tokens, put beside a store that will be restored, and what every new
/// filesystem holds.
const EARLIER_FILES: [&str; 2] = ["signing-keys.json", "lost+found"];
/// What may be done with a directory that holds secrets: everything by its owner, nothing by others.
const PRIVATE: u32 = 0o700;

/// Makes the directory, and those above it; one that is there is closed to others.
pub(super) fn create(directory: &Path) -> Result<(), OpenError> {
    if directory.is_dir() {
        return close_to_others(directory);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(directory)
        .map_err(OpenError::io("cannot create", directory))
}

/// Container runtimes and systemd make the directory beforehand, open to all. Files of an earlier process may be readable in it,
/// so the directory itself must not be entered.
fn close_to_others(directory: &Path) -> Result<(), OpenError> {
    // One descriptor for looking and changing, so that no other directory can be put in between.
    let opened = File::open(directory).map_err(OpenError::io("cannot open", directory))?;
    let mode_of = |opened: &File| {
        let found = opened.metadata().map_err(OpenError::io("cannot look at", directory))?;
        Ok::<_, OpenError>(found.permissions().mode() & 0o7777)
    };
    let mode = mode_of(&opened)?;
    if mode == PRIVATE {
        return Ok(());
    }
    // A mistake in the command line must not close a shared directory, such as /tmp.
    if !is_ours_alone(directory, mode)? {
        return Err(OpenError::Shared { directory: directory.to_owned(), mode });
    }
    let not_private =
        |source| OpenError::NotPrivate { directory: directory.to_owned(), mode, source };
    opened.set_permissions(Permissions::from_mode(PRIVATE)).map_err(not_private)?;
    // Some filesystems of other systems accept every mode and keep theirs.
    if mode_of(&opened)? != PRIVATE {
        return Err(not_private(ErrorKind::Unsupported.into()));
    }
    tracing::warn!(
        directory = %directory.display(),
        "closed the data directory to others: its mode was {mode:04o} and is 0700 now"
    );
    Ok(())
}

/// Whether a directory holds a store, or nothing but what may be there before one.
fn is_ours_alone(directory: &Path, mode: u32) -> Result<bool, OpenError> {
    if mode & STICKY != 0 {
        return Ok(false);
    }
    if directory.join(LOG).exists() {
        return Ok(true);
    }
    for entry in fs::read_dir(directory).map_err(OpenError::io("cannot list", directory))? {
        let name = entry.map_err(OpenError::io("cannot list", directory))?.file_name();
        if !EARLIER_FILES.iter().any(|known| name == *known) {
            return Ok(false);
        }
    }
    Ok(true)
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
