//! `meterd serve`: the server.

mod first_administrator;
mod host;
mod settings;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

pub(super) use self::{host::Host, settings::Settings};
use super::{CommandError, CommandResult, private_files::make_files_private, terminal::tell};
use crate::{
    config::{self, ConfigError, ServeOptions, environment},
    telemetry,
};

/// Serve the API
///
/// Every option also has a METERD_… variable and a key in the --config file (the flag without its
/// dashes in front). A flag wins over a variable, a variable over the file.
#[derive(Debug, Args)]
pub(super) struct ServeCommand {
    /// TOML file with options
    #[arg(long, env = "METERD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: ServeOptions,
}

impl ServeCommand {
    /// The settings; also sets logging up.
    fn settings(self) -> CommandResult<Settings> {
        let options = match &self.config {
            Some(file) => {
                let lower = config::read(file).map_err(|error| match error {
                    ConfigError::Unreadable { .. } => CommandError::Failed(error.into()),
                    ConfigError::Invalid { .. } => CommandError::usage(error.to_string()),
                })?;
                self.options.or(lower)
            }
            None => self.options,
        };
        Settings::new(options, environment::admin_token())
    }

    pub(super) async fn run(self) -> CommandResult {
        make_files_private();
        let settings = self.settings()?;
        telemetry::init(settings.log_format, &settings.log_filter)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        let dev = settings.fill_with_sample;
        let host = Host::open(settings).await?;
        let stop = stop_signal()?;
        reload_on_hangup(Arc::clone(host.server().reload()))?;
        if dev {
            tracing::warn!("development mode: every caller is an administrator of `dev`");
        }
        tell(format_args!(
            "listening api={} admin={}",
            host.server().api_address(),
            host.server().admin_address()
        ));
        host.serve(stop).await
    }
}

/// Has the certificates read again on SIGHUP, as servers do.
fn reload_on_hangup(reload: Arc<Notify>) -> CommandResult {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload.notify_one();
        }
    });
    Ok(())
}

/// Completes when the process is asked to stop. Asked from now on, not from the first poll on.
pub(super) fn stop_signal() -> CommandResult<impl Future<Output = ()> + Send> {
    let cannot = "cannot listen for signals";
    let mut terminate = signal(SignalKind::terminate()).context(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
