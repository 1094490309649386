//! `meterd restore`: makes a store of a backup.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::ProgressBar;

use super::{
    CommandResult,
    backup::{
        directory::{BackupDirectory, StoredBackup},
        point, total_bytes,
    },
    private_files::make_files_private,
    terminal::progress_bar,
    verify::VerifyCommand,
};
use crate::store::{
    backup::BackupSection,
    sled::{Restore, StoreOptions},
};

/// Make a store of a backup, in a new directory, and verify it
///
/// Everything is checked before anything is written: files, and that each increment follows the backup before. A restore
/// that was interrupted leaves a directory that no server opens; remove it and restore again. The store keeps its id and its
/// secrets; never let two stores of one id go on, for their backups would not fit together.
#[derive(Debug, Args)]
pub(super) struct RestoreCommand {
    /// Directory of the backups
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory of the new store; must be empty or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Number of the backup to restore [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    backup: Option<u32>,
    /// Do not recount the store afterwards
    #[arg(long)]
    no_verify: bool,
}

impl RestoreCommand {
    pub(super) fn run(self) -> CommandResult {
        make_files_private();
        let directory = BackupDirectory::read(&self.from)?;
        let last = match self.backup {
            Some(number) => directory.numbered(number)?,
            None => directory
                .newest()
                .with_context(|| format!("{} holds no complete backup", self.from.display()))?,
        };
        let chain = directory.chain(last)?;
        let bytes = total_bytes(&chain);
        let bar =
            progress_bar(Some(bytes), "{prefix:>9} {bar:40.cyan} {bytes}/{total_bytes} {elapsed}");
        bar.set_prefix("checking");
        for backup in &chain {
            backup.check_files(&mut |read| bar.inc(read))?;
        }
        bar.set_position(0);
        bar.set_prefix("restoring");
        let restored = self.restore(&chain, &bar);
        bar.finish_and_clear();
        restored?;
        {
            let mut out = io::stdout().lock();
            writeln!(out, "restored      {}", last.manifest.directory_name())?;
            writeln!(out, "store         {}", last.manifest.store_id)?;
            writeln!(out, "as of         {}", last.manifest.began)?;
        }
        if self.no_verify { Ok(()) } else { VerifyCommand::of(self.data_dir).run() }
    }

    fn restore(&self, chain: &[StoredBackup], bar: &ProgressBar) -> anyhow::Result<()> {
        let (Some(full), Some(last)) = (chain.first(), chain.last()) else {
            bail!("there is nothing to restore");
        };
        let options = StoreOptions::new(&self.data_dir);
        let mut restore = Restore::begin(options, &full.manifest.after.position()?)?;
        // Of the state only the last counts. The log comes when what it is added to is there.
        let parts = [(full, BackupSection::Index), (last, BackupSection::State)];
        let logs = chain.iter().map(|backup| (backup, BackupSection::Log));
        for (backup, section) in parts.into_iter().chain(logs) {
            backup.visit(section, |key, value| {
                bar.inc((key.len() + value.map_or(0, <[u8]>::len)) as u64);
                Ok::<_, anyhow::Error>(restore.entry(section, key, value)?)
            })?;
        }
        restore.finish(&point(last)?)?;
        Ok(())
    }
}
