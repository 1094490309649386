//! `meterd checkpoint`: where the log ends, signed, to be kept elsewhere. `meterd verify --against` compares.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod keys;
mod signed;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::keys::PrivateKey;
pub(super) use self::{keys::PublicKey, signed::SignedHead};
use super::{
    CommandError, CommandResult,
    connection::{ServerOptions, call_failed},
};
use crate::{
    api::{
        pb::meterd::v1::{GetLogHeadRequest, store_service_client::StoreServiceClient},
        wire_backup,
    },
    store::{
        LogHead, UsageStore as _,
        sled::{SledStore, StoreOptions},
    },
};

/// Sign where the log ends, so that it can be proved later that nothing before it was changed or cut off
#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    Sign(SignCommand),
    NewKey(NewKeyCommand),
}

/// Sign where the log of a server ends; operators only
///
/// Everything acknowledged before is in it. The checkpoint goes to stdout or --to. Keep it, and the public key, where nobody who can write to the store's disk can
/// write.
#[derive(Debug, Args)]
pub(super) struct SignCommand {
    /// Read the store of this directory, which no server has open, instead of asking a server
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Private key that signs: Ed25519, PEM (PKCS#8), as of checkpoint new-key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Where the checkpoint is written, instead of stdout; must not exist yet
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    #[command(flatten)]
    server: ServerOptions,
}

/// Make a key pair that signs checkpoints
#[derive(Debug, Args)]
pub(super) struct NewKeyCommand {
    /// Where the private key is written; the public one goes beside it, to FILE.pub. Neither may exist yet
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl CheckpointCommand {
    pub(super) async fn run(self) -> CommandResult {
        match self {
            Self::Sign(command) => command.run().await,
            Self::NewKey(command) => command.run(),
        }
    }
}

impl SignCommand {
    async fn run(self) -> CommandResult {
        let key = PrivateKey::read(&self.key)?;
        let head = match &self.data_dir {
            Some(data_dir) => closed_log_head(data_dir)?,
            None => served_log_head(&self.server).await?,
        };
        let checkpoint = SignedHead::sign(&head, &key);
        let text = checkpoint.to_json()?;
        match &self.to {
            Some(path) => keys::write_new(path, 0o644, text.as_bytes()),
            None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
        }
    }
}

/// Of a store that no server has open.
fn closed_log_head(data_dir: &Path) -> CommandResult<LogHead> {
    if !data_dir.is_dir() {
        let what = format!("there is no store in {}", data_dir.display());
        return Err(CommandError::failed(what));
    }
    let store = SledStore::open(StoreOptions::new(data_dir)).context("cannot open the store")?;
    store.log_head().ok_or_else(|| CommandError::failed("the store has no log"))
}

async fn served_log_head(server: &ServerOptions) -> CommandResult<LogHead> {
    let mut client = StoreServiceClient::new(server.connect().await?);
    let answer = client.get_log_head(GetLogHeadRequest {}).await;
    let head = answer.map_err(|status| call_failed(&status))?.into_inner().head;
    head.and_then(wire_backup::head_from_proto)
        .ok_or_else(|| CommandError::failed("the server sent what this meterd does not know"))
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
