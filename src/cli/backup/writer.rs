//! Writes a backup: files of entries, and the manifest once all of them are on the disk.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{DirBuilder, File},
    io::{BufWriter, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::manifest::{
    DataFile, FORMAT, Kind, Manifest, Place, create_new, directory_name, file_name, sync_directory,
};
use crate::{
    cli::hexadecimal::hexadecimal,
    store::backup::{BackupEnd, BackupSection, EntryReader},
};

/// What a backup is called, and what it follows.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) previous_manifest_sha256: Option<String>,
    /// When it began.
    pub(super) began: jiff::Timestamp,
}

/// A backup that is not complete yet. What is dropped before [`Self::finish`] stays behind without a manifest.
#[derive(Debug)]
pub(super) struct BackupWriter {
    parent: PathBuf,
    path: PathBuf,
    plan: Plan,
    files: BTreeMap<BackupSection, SectionFile>,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct SectionFile {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    entries: u64,
}

impl BackupWriter {
    /// Begins one. Nothing is made on the disk before there is something to write.
    pub(super) fn new(parent: &Path, plan: Plan) -> Self {
        let path = parent.join(directory_name(plan.number, plan.kind));
        Self { parent: parent.to_owned(), path, plan, files: BTreeMap::new(), bytes: 0 }
    }

    /// Writes whole entries of a section, if that is what they are.
    pub(super) fn write(&mut self, section: BackupSection, bytes: &[u8]) -> anyhow::Result<()> {
        let mut entries = EntryReader::new(bytes);
        let mut count = 0;
        while entries.next_entry().context("the backup was damaged on its way")?.is_some() {
            count += 1;
        }
        let path = self.path.join(file_name(section));
        let cannot = || format!("cannot write {}", path.display());
        if self.files.is_empty() {
            DirBuilder::new().mode(0o700).create(&self.path).with_context(cannot)?;
        }
        let file = match self.files.entry(section) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(SectionFile {
                file: BufWriter::new(create_new(&path).with_context(cannot)?),
                hash: Sha256::new(),
                bytes: 0,
                entries: 0,
            }),
        };
        file.file.write_all(bytes).with_context(cannot)?;
        file.hash.update(bytes);
        file.bytes += bytes.len() as u64;
        file.entries += count;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything durable, and with the manifest a backup.
    pub(super) fn finish(
        self,
        end: &BackupEnd,
        completed: jiff::Timestamp,
    ) -> anyhow::Result<Manifest> {
        let Self { parent, path, plan, files, .. } = self;
        let cannot = || format!("cannot write {}", path.display());
        let mut described = Vec::new();
        for (section, SectionFile { file, hash, bytes, entries }) in files {
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
            file.and_then(|file| file.sync_all()).with_context(cannot)?;
            described.push(DataFile {
                name: file_name(section).to_owned(),
                bytes,
                entries,
                sha256: hexadecimal(&hash.finalize()),
            });
        }
        sync_directory(&path).and_then(|()| sync_directory(&parent)).with_context(cannot)?;
        let manifest = Manifest {
            format: FORMAT,
            number: plan.number,
            kind: plan.kind,
            previous_manifest_sha256: plan.previous_manifest_sha256,
            store_id: end.store_id.to_string(),
            began: plan.began.to_string(),
            completed: completed.to_string(),
            after: Place::of(&end.after),
            through: Place::of(&end.through),
            files: described,
        };
        manifest.write(&path)?;
        Ok(manifest)
    }
}
