//! What a backup says of itself, written last: a directory without it holds no backup.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::regular_file;
use crate::{
    cli::hexadecimal::{hexadecimal, link},
    domain::usage::LogSequence,
    store::{LogPosition, backup::BackupSection},
};

/// Its name in the directory of a backup.
pub(in crate::cli) const FILE_NAME: &str = "manifest.json";
/// The name that it has until it is complete.
const TEMPORARY_NAME: &str = "manifest.json.unfinished";
/// A larger file is no manifest: it names three files.
const BYTES_MAX: u64 = 64 << 10;
/// The version of directories, files and manifests.
pub(in crate::cli) const FORMAT: u32 = 1;

/// Whether a backup stands on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Kind {
    /// It does.
    Full,
    /// It holds what came after the backup before.
    Increment,
}

impl Kind {
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Increment => "increment",
        }
    }
}

/// A place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Place {
    pub(in crate::cli) sequence: u64,
    /// In hexadecimal.
    pub(in crate::cli) link: String,
}

impl Place {
    pub(in crate::cli) fn of(position: &LogPosition) -> Self {
        Self { sequence: position.sequence.0, link: hexadecimal(&position.link) }
    }

    pub(in crate::cli) fn position(&self) -> anyhow::Result<LogPosition> {
        match link(&self.link) {
            Some(link) => Ok(LogPosition { sequence: LogSequence(self.sequence), link }),
            None => bail!("the link {:?} is not 64 hexadecimal digits", self.link),
        }
    }
}

/// A file of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct DataFile {
    pub(in crate::cli) name: String,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) entries: u64,
    /// In hexadecimal.
    pub(in crate::cli) sha256: String,
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    pub(in crate::cli) format: u32,
    pub(in crate::cli) number: u32,
    pub(in crate::cli) kind: Kind,
    /// SHA-256 of the manifest of the backup before; none of a full one.
    pub(in crate::cli) previous_manifest_sha256: Option<String>,
    /// A uuid.
    pub(in crate::cli) store_id: String,
    /// When the backup began; everything acknowledged before is in it.
    pub(in crate::cli) began: String,
    pub(in crate::cli) completed: String,
    /// Where its part of the log begins.
    pub(in crate::cli) after: Place,
    /// Where it ends.
    pub(in crate::cli) through: Place,
    pub(in crate::cli) files: Vec<DataFile>,
}

impl Manifest {
    /// The file of a section, if the backup has one.
    pub(in crate::cli) fn file(&self, section: BackupSection) -> Option<&DataFile> {
        self.files.iter().find(|file| file.name == file_name(section))
    }

    /// Bytes of all files.
    pub(in crate::cli) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// The name of the directory that it belongs into.
    pub(in crate::cli) fn directory_name(&self) -> String {
        directory_name(self.number, self.kind)
    }

    /// Writes it into the directory of its backup; there in one step, and durable on return.
    pub(in crate::cli) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let temporary = directory.join(TEMPORARY_NAME);
        let text = self.to_text()?;
        let write = || {
            let mut file = create_new(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, directory.join(FILE_NAME))?;
            sync_directory(directory)
        };
        write().with_context(|| format!("cannot write the manifest in {}", directory.display()))
    }

    /// Reads that of a directory, and its SHA-256; `None` if it has none.
    pub(in crate::cli) fn read(directory: &Path) -> anyhow::Result<Option<(Self, String)>> {
        let path = directory.join(FILE_NAME);
        let cannot = || format!("cannot read {}", path.display());
        let (file, bytes) = match regular_file::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.with_context(cannot)?,
        };
        if bytes > BYTES_MAX {
            bail!("{} has {bytes} bytes, a manifest at most {BYTES_MAX}", path.display());
        }
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text).with_context(cannot)?;
        let manifest =
            Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(Some((manifest, hexadecimal(&Sha256::digest(&text)))))
    }

    /// The text of its file.
    pub(super) fn to_text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).context("cannot write a manifest")?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the text of its file.
    pub(super) fn parse(text: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_slice(text).context("it is damaged")?;
        if format != FORMAT {
            bail!("it is of format {format}, which this meterd does not know");
        }
        let manifest: Self = serde_json::from_slice(text).context("it is damaged")?;
        let (after, through) = (manifest.after.sequence, manifest.through.sequence);
        // Something always comes after the end of a log.
        if after > through || through == u64::MAX {
            bail!("no log goes from {after} to {through}");
        }
        Ok(manifest)
    }
}

/// The name of a backup's directory.
pub(in crate::cli) fn directory_name(number: u32, kind: Kind) -> String {
    format!("{number:06}-{}", kind.as_str())
}

/// The name of a section's file.
pub(in crate::cli) fn file_name(section: BackupSection) -> &'static str {
    match section {
        BackupSection::Index => "index",
        BackupSection::State => "state",
        BackupSection::Log => "log",
    }
}

/// A new file that nobody else may read.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LINK_BYTES;

    fn manifest(after: u64, through: u64, bytes: &[u64]) -> Manifest {
        let place = |sequence| Place { sequence, link: "a5".repeat(LINK_BYTES) };
        let file = |bytes: &u64| DataFile {
            name: "log".into(),
            bytes: *bytes,
            entries: 1,
            sha256: "".into(),
        };
        Manifest {
            format: FORMAT,
            number: 1,
            kind: Kind::Full,
            previous_manifest_sha256: None,
            store_id: String::new(),
            began: String::new(),
            completed: String::new(),
            after: place(after),
            through: place(through),
            files: bytes.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_stretch_that_no_log_has_is_refused() {
        let read = |after, through| {
            let manifest = manifest(after, through, &[]);
            Manifest::parse(&manifest.to_text().unwrap()).map(|read| read == manifest).ok()
        };
        assert_eq!(read(0, 0), Some(true));
        assert_eq!(read(7, u64::MAX - 1), Some(true));
        assert_eq!(read(8, 7), None, "backwards");
        assert_eq!(read(7, u64::MAX), None, "nothing could follow");
    }

    #[test]
    fn files_that_claim_to_be_enormous_are_added_up() {
        assert_eq!(manifest(0, 1, &[1, 2]).bytes(), 3);
        assert_eq!(manifest(0, 1, &[u64::MAX, 2]).bytes(), u64::MAX);
    }

    #[test]
    fn a_place_reads_back_and_nothing_else_does() {
        let position = LogPosition { sequence: LogSequence(7), link: [0xa5; LINK_BYTES] };
        assert_eq!(Place::of(&position).position().unwrap(), position);
        for link in [
            "",
            "a5",
            &"zz".repeat(32),
            &"+5".repeat(32),
            &"A5".repeat(32),
            &"a5".repeat(33),
            &"é".repeat(32),
        ] {
            let place = Place { sequence: 7, link: link.to_owned() };
            assert!(place.position().is_err(), "{link}");
        }
    }
}
