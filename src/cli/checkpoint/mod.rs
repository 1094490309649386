//! `meterd checkpoint`: where the log ends, signed, to be kept elsewhere. `meterd verify --against` compares.

mod keys;
mod signed;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::keys::PrivateKey;
pub(super) use self::{keys::PublicKey, signed::SignedHead};
use super::CommandResult;
use crate::store::sled::{SledStore, StoreOptions};

/// Sign where the log ends, so that it can be proved later that nothing before it was changed or cut off
#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    Sign(SignCommand),
    NewKey(NewKeyCommand),
}

/// Sign where the log of a store ends that no server has open
///
/// The checkpoint goes to stdout or --to. Keep it, and the public key, where nobody who can write to the store's disk can
/// write.
#[derive(Debug, Args)]
pub(super) struct SignCommand {
    /// Directory of the store
    #[arg(long, env = "METERD_DATA_DIR", value_name = "DIR", default_value = "./meterd-data")]
    data_dir: PathBuf,

    /// Private key that signs: Ed25519, PEM (PKCS#8), as of checkpoint new-key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Where the checkpoint is written, instead of stdout; must not exist yet
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Make a key pair that signs checkpoints
#[derive(Debug, Args)]
pub(super) struct NewKeyCommand {
    /// Where the private key is written; the public one goes beside it, to FILE.pub. Neither may exist yet
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl CheckpointCommand {
    pub(super) fn run(self) -> CommandResult {
        match self {
            Self::Sign(command) => command.run(),
            Self::NewKey(command) => command.run(),
        }
    }
}

impl SignCommand {
    fn run(self) -> CommandResult {
        let key = PrivateKey::read(&self.key)?;
        if !self.data_dir.is_dir() {
            return Err(super::CommandError::failed(format!(
                "there is no store in {}",
                self.data_dir.display()
            )));
        }
        let store =
            SledStore::open(StoreOptions::new(&self.data_dir)).context("cannot open the store")?;
        let checkpoint = SignedHead::sign(&store.log_head(), &key);
        let text = checkpoint.to_json()?;
        match &self.to {
            Some(path) => keys::write_new(path, 0o644, text.as_bytes()),
            None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
        }
    }
}

impl NewKeyCommand {
    fn run(self) -> CommandResult {
        let (private, public) = keys::generate()?;
        let beside = keys::public_path(&self.to);
        // The public one first: a private key that nobody knows the other half of is of no use.
        keys::write_new(&beside, 0o644, public.as_bytes())?;
        keys::write_new(&self.to, 0o600, private.as_bytes()).inspect_err(|_| {
            // Not ours to keep without the other half.
            let _ = std::fs::remove_file(&beside);
        })?;
        let mut out = io::stdout().lock();
        writeln!(out, "private key  {}", self.to.display())?;
        writeln!(out, "public key   {}", beside.display())?;
        Ok(())
    }
}
