//! The server that the demo runs: the real one, in this process, on free ports.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    cli::{
        CommandResult,
        connection::{Connection, ServerOptions, ServerPlace},
        serve::{Host, Settings},
    },
    config::{HumanDuration, ServeOptions},
};

/// Usage of the last day is written, so the server must accept it; the default is an hour.
pub(super) const ACCEPT_PAST: Duration = Duration::from_hours(48);

/// A serving server.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) api: String,
    pub(super) admin: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<CommandResult>,
}

impl Stage {
    /// Opens the store of `data_dir` and serves it.
    pub(super) async fn open(data_dir: &Path) -> CommandResult<Self> {
        let local = "127.0.0.1:0".parse().ok();
        let options = ServeOptions {
            data_dir: Some(data_dir.to_owned()),
            listen: local,
            admin_listen: local,
            dev: Some(true),
            accept_past: Some(HumanDuration(ACCEPT_PAST)),
            ..ServeOptions::default()
        };
        let mut settings = Settings::new(options, None)?;
        // The demo applies the sample itself, over the wire.
        settings.fill_with_sample = false;
        let host = Host::open(settings).await?;
        let api = host.server().api_address().to_string();
        let admin = host.server().admin_address().to_string();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(host.serve(async {
            // Dropped without a word means to stop, too.
            let _ = stopped.await;
        }));
        Ok(Self { api, admin, stop, serving })
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> CommandResult<Connection> {
        let options = ServerOptions {
            place: ServerPlace { server: format!("http://{}", self.api), ca: None },
            token: None,
            api_key: None,
        };
        options.connect().await
    }

    /// Stops serving and closes the store.
    pub(super) async fn close(self) -> CommandResult {
        // If it stopped by itself, its result says why.
        let _ = self.stop.send(());
        self.serving.await.context("the server failed")?
    }
}
