//! `meterd backup`: everything of a store, into a directory, while a server has it open.

pub(super) mod directory;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
pub(super) mod manifest;
mod regular_file;
mod source;
mod writer;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;

use self::{
    directory::{BackupDirectory, StoredBackup, lock},
    manifest::{Kind, Manifest},
    writer::{BackupWriter, Plan},
};
use super::{
    CommandError, CommandResult,
    connection::ServerOptions,
    output::{
        grouped,
        table::{render, table},
    },
    private_files::make_files_private,
    terminal::{progress_bar, tell},
};
use crate::{
    config::ByteSize,
    service::clock::{Clock as _, SystemClock},
    store::{LogHead, backup::BackupRequest},
};

/// Back a store up into a directory while its server goes on serving; operators only
///
/// The first backup in a directory is a full one, later ones hold what came since. Each is in a directory of its own, which
/// has a manifest once it is complete; what an interruption left is removed by the next backup. Everything that was
/// acknowledged before the backup began is in it. What is in there is secret: keys, hashes of credentials, and the usage of
/// all organizations.
#[derive(Debug, Args)]
pub(super) struct BackupCommand {
    /// Directory of the backups; made if it is not there
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    to: Option<PathBuf>,
    /// Check every backup of this directory and list them, instead of making one
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "full", "data_dir"])]
    list: Option<PathBuf>,
    /// Make a full backup even if there is one that could be continued
    #[arg(long)]
    full: bool,
    /// Read the store of this directory, which no server has open, instead of asking a server
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Read at most so much a second
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    rate: ByteSize,
    #[command(flatten)]
    server: ServerOptions,
}

impl BackupCommand {
    pub(super) async fn run(self) -> CommandResult {
        if self.rate.0 == 0 {
            return Err(CommandError::usage("--rate 0 would never come to an end"));
        }
        make_files_private();
        match (&self.list, &self.to) {
            (Some(directory), _) => list(directory),
            (None, Some(directory)) => self.back_up(directory).await,
            (None, None) => Err(CommandError::usage("--to says where to")),
        }
    }

    async fn back_up(&self, path: &Path) -> CommandResult {
        let _lock = lock(path)?;
        let directory = BackupDirectory::read(path)?;
        for unfinished in &directory.incomplete {
            std::fs::remove_dir_all(unfinished)
                .with_context(|| format!("cannot remove {}", unfinished.display()))?;
            tell(format_args!("removed {}, which is incomplete", unfinished.display()));
        }
        let previous = directory.newest().filter(|_| !self.full);
        if let Some(previous) = previous {
            // An increment that cannot be restored would be worse than none.
            directory.chain(previous)?;
        }
        let request = BackupRequest {
            after: previous.map(point).transpose()?,
            bytes_per_second_max: self.rate.0,
        };
        let plan = Plan {
            number: directory.next_number()?,
            kind: if previous.is_some() { Kind::Increment } else { Kind::Full },
            previous_manifest_sha256: previous.map(|previous| previous.manifest_sha256.clone()),
            began: SystemClock.now(),
        };
        let mut writer = BackupWriter::new(path, plan);
        let end = match &self.data_dir {
            Some(data_dir) => source::read_closed(data_dir, &request, &mut writer)?,
            None => source::read_served(&self.server, &request, &mut writer).await?,
        };
        let manifest = writer.finish(&end, SystemClock.now())?;
        describe(&manifest)
    }
}

/// Bytes of all files of some backups.
pub(super) fn total_bytes(backups: &[StoredBackup]) -> u64 {
    backups.iter().map(|backup| backup.manifest.bytes()).fold(0, u64::saturating_add)
}

/// Where a backup ended.
pub(super) fn point(backup: &StoredBackup) -> anyhow::Result<LogHead> {
    let unreadable = || format!("the manifest of {} is damaged", backup.path.display());
    Ok(LogHead {
        store_id: backup.manifest.store_id.parse().with_context(unreadable)?,
        position: backup.manifest.through.position().with_context(unreadable)?,
    })
}

fn describe(manifest: &Manifest) -> CommandResult {
    let mut out = io::stdout().lock();
    writeln!(out, "backup        {}", manifest.directory_name())?;
    writeln!(out, "store         {}", manifest.store_id)?;
    writeln!(
        out,
        "log chunks    {} to {}",
        manifest.after.sequence + 1,
        manifest.through.sequence
    )?;
    writeln!(out, "bytes         {}", manifest.bytes())?;
    Ok(())
}

/// Checks all backups, and says what is there.
fn list(path: &Path) -> CommandResult {
    let directory = BackupDirectory::read(path)?;
    let bytes = total_bytes(&directory.complete);
    let bar = progress_bar(Some(bytes), "checking {bar:40.cyan} {bytes}/{total_bytes} {elapsed}");
    let mut found = table(
        &["backup", "store", "began", "log chunks", "bytes", "state"],
        &["log chunks", "bytes"],
    );
    let mut faults = 0_u64;
    for backup in &directory.complete {
        let checked = backup
            .check_files(&mut |read| bar.inc(read))
            .and_then(|()| directory.chain(backup).map(drop));
        let state = match checked {
            Ok(()) => "complete".to_owned(),
            Err(error) => {
                faults += 1;
                format!("{error:#}")
            }
        };
        let Manifest { store_id, began, after, through, .. } = &backup.manifest;
        found.add_row(vec![
            backup.manifest.directory_name(),
            store_id.clone(),
            began.clone(),
            format!("{} to {}", after.sequence + 1, through.sequence),
            grouped(backup.manifest.bytes()),
            state,
        ]);
    }
    for unfinished in &directory.incomplete {
        let name = unfinished.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let nothing = String::new;
        found.add_row(vec![name, nothing(), nothing(), nothing(), nothing(), "incomplete".into()]);
    }
    bar.finish_and_clear();
    write!(io::stdout().lock(), "{}", render(&found))?;
    match faults {
        0 => Ok(()),
        _ => Err(CommandError::failed(format!("{faults} backups cannot be restored"))),
    }
}
