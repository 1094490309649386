//! A directory of backups: `NNNNNN-full` and `NNNNNN-increment`, each complete or not, and which follow which.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{self, BufReader, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use sha2::{Digest as _, Sha256};

use super::{
    manifest::{DataFile, FILE_NAME, Kind, Manifest, directory_name, file_name, sync_directory},
    regular_file,
};
use crate::{
    cli::hexadecimal::hexadecimal,
    store::backup::{BackupSection, EntryReader},
};

/// Whoever writes holds a lock on it.
const LOCK_NAME: &str = "lock";
const READ_BYTES: usize = 1 << 20;

/// A complete backup.
#[derive(Debug, Clone)]
pub(in crate::cli) struct StoredBackup {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) manifest: Manifest,
    pub(in crate::cli) manifest_sha256: String,
}

/// What a directory holds.
#[derive(Debug)]
pub(in crate::cli) struct BackupDirectory {
    path: PathBuf,
    /// By number.
    pub(in crate::cli) complete: Vec<StoredBackup>,
    /// Backups that were interrupted.
    pub(in crate::cli) incomplete: Vec<PathBuf>,
    numbers_max: u32,
}

/// The right to write into a directory.
#[derive(Debug)]
pub(in crate::cli) struct WriteLock {
    _file: File,
}

/// Makes the directory if it is not there, and keeps other writers out of it.
pub(in crate::cli) fn lock(path: &Path) -> anyhow::Result<WriteLock> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| sync_parent(path))
        .with_context(|| format!("cannot create {}", path.display()))?;
    let name = path.join(LOCK_NAME);
    let cannot = || format!("cannot lock {}", path.display());
    let file = match super::manifest::create_new(&name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            regular_file::open_with(&name, File::options().write(true)).map(|(file, _)| file)
        }
        created => created,
    };
    let file = file.with_context(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(WriteLock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            bail!("another backup into {} is under way", path.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
    }
}

/// Makes the name of a directory durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    std::path::absolute(path)?.parent().map_or(Ok(()), sync_directory)
}

impl BackupDirectory {
    /// Reads what is there; files are not looked into.
    pub(in crate::cli) fn read(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot list {}", path.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            if let Some((number, kind)) = name.to_str().and_then(parse_name) {
                found.push((number, kind, path.join(name)));
            }
        }
        found.sort();
        let mut directory = Self {
            path: path.to_owned(),
            complete: Vec::new(),
            incomplete: Vec::new(),
            numbers_max: 0,
        };
        for (number, name, backup) in found {
            directory.numbers_max = number;
            match Manifest::read(&backup)? {
                None => directory.incomplete.push(backup),
                Some((manifest, _)) if manifest.directory_name() != name => bail!(
                    "{} holds the manifest of {}",
                    backup.display(),
                    manifest.directory_name()
                ),
                Some((manifest, manifest_sha256)) => {
                    directory.complete.push(StoredBackup {
                        path: backup,
                        manifest,
                        manifest_sha256,
                    });
                }
            }
        }
        Ok(directory)
    }

    /// The number of the next backup.
    pub(in crate::cli) fn next_number(&self) -> anyhow::Result<u32> {
        self.numbers_max.checked_add(1).context("there are too many backups")
    }

    /// The newest backup.
    pub(in crate::cli) fn newest(&self) -> Option<&StoredBackup> {
        self.complete.last()
    }

    /// The backup of a number.
    pub(in crate::cli) fn numbered(&self, number: u32) -> anyhow::Result<&StoredBackup> {
        let found = self.complete.iter().find(|backup| backup.manifest.number == number);
        found.with_context(|| format!("{} holds no complete backup {number}", self.path.display()))
    }

    /// What has to be restored for a backup, first first: a full one, and every increment up to it.
    pub(in crate::cli) fn chain(&self, last: &StoredBackup) -> anyhow::Result<Vec<StoredBackup>> {
        let mut chain = vec![last.clone()];
        let mut first = last;
        while let Some(previous) = first.previous()? {
            let before = self.complete.iter().find(|backup| backup.manifest_sha256 == previous);
            let before = before.with_context(|| {
                format!("the backup that {} follows is not there", first.path.display())
            })?;
            let (one, other) = (&before.manifest, &first.manifest);
            // A link cannot be made up without the manifest that it names, but better safe than in a circle.
            if one.number >= other.number
                || one.store_id != other.store_id
                || one.through != other.after
            {
                bail!("{} does not follow {}", first.path.display(), before.path.display());
            }
            chain.push(before.clone());
            first = before;
        }
        chain.reverse();
        Ok(chain)
    }
}

impl StoredBackup {
    /// The manifest that it follows; `None` of a full one.
    fn previous(&self) -> anyhow::Result<Option<&str>> {
        let Manifest { kind, previous_manifest_sha256, .. } = &self.manifest;
        match (kind, previous_manifest_sha256) {
            (Kind::Full, None) => Ok(None),
            (Kind::Increment, Some(previous)) => Ok(Some(previous)),
            _ => bail!("{} contradicts itself", self.path.join(FILE_NAME).display()),
        }
    }

    /// Compares every file with what the manifest says of it; tells `read` of bytes that were read.
    pub(in crate::cli) fn check_files(&self, read: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        for file in &self.manifest.files {
            self.check_file(file, read)?;
        }
        Ok(())
    }

    fn check_file(&self, file: &DataFile, read: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        let path = self.path.join(&file.name);
        if BackupSection::ALL.iter().all(|section| file_name(*section) != file.name) {
            bail!("{} names a file {:?}", self.path.join(FILE_NAME).display(), file.name);
        }
        let cannot = || format!("cannot read {}", path.display());
        let opened = file.open(&self.path).with_context(cannot)?;
        // No more than it has: it may be growing.
        let mut opened = opened.take(file.bytes);
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
        loop {
            let count = opened.read(&mut buffer).with_context(cannot)?;
            if count == 0 {
                break;
            }
            hash.update(buffer.get(..count).unwrap_or_default());
            bytes += count as u64;
            read(count as u64);
        }
        if bytes != file.bytes {
            return Err(wrong_length(bytes, file.bytes)).with_context(cannot);
        }
        if hexadecimal(&hash.finalize()) != file.sha256 {
            bail!("{} is damaged: its SHA-256 is not the one in its manifest", path.display());
        }
        Ok(())
    }

    /// Visits the entries of a section, if there is one.
    pub(in crate::cli) fn visit(
        &self,
        section: BackupSection,
        mut visit: impl FnMut(&[u8], Option<&[u8]>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(file) = self.manifest.file(section) else { return Ok(()) };
        let path = self.path.join(&file.name);
        let what = || format!("cannot restore {}", path.display());
        let opened = file.open(&self.path).with_context(what)?.take(file.bytes);
        let mut entries = EntryReader::new(BufReader::with_capacity(READ_BYTES, opened));
        let mut count = 0;
        while let Some((key, value)) = entries.next_entry().with_context(what)? {
            visit(key, value).with_context(what)?;
            count += 1;
        }
        if count != file.entries {
            return Err(anyhow!("it has {count} entries, its manifest says {}", file.entries))
                .with_context(what);
        }
        Ok(())
    }
}

impl DataFile {
    /// Opens it in the directory of its backup, if it is a file of the length that the manifest says: what is longer need not
    /// be read to be found wrong.
    fn open(&self, directory: &Path) -> anyhow::Result<File> {
        let (file, bytes) = regular_file::open(&directory.join(&self.name))?;
        if bytes == self.bytes { Ok(file) } else { Err(wrong_length(bytes, self.bytes)) }
    }
}

fn wrong_length(found: u64, told: u64) -> anyhow::Error {
    anyhow!("it has {found} bytes, its manifest says {told}")
}

/// The number in the name of a backup's directory, and the name.
pub(super) fn parse_name(name: &str) -> Option<(u32, String)> {
    let (number, _) = name.split_once('-')?;
    let number = number.parse().ok()?;
    [Kind::Full, Kind::Increment]
        .map(|kind| directory_name(number, kind))
        .into_iter()
        .find(|known| known == name)
        .map(|known| (number, known))
}
