//! A server that is started for the run, in a process of its own, so that what it uses can be told from what the load
//! uses.

use std::{
    env,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    cli::{
        CommandError, CommandResult,
        connection::{ServerOptions, ServerPlace},
        terminal::tell,
    },
    config::environment,
};

/// A large store may take long to open.
const START_TIMEOUT: Duration = Duration::from_mins(2);
/// After SIGTERM. Larger than what calls under way get.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Usage is of the time before the run, however long that is, and however far it is spread.
const ACCEPT_PAST: &str = "368d";
const LISTENING: &str = "listening api=";

/// What to start.
#[derive(Debug, Clone)]
pub(super) enum ServerKind {
    /// `meterd serve` with these further arguments.
    Meterd { data_dir: PathBuf, arguments: Vec<String> },
    /// A server that does nothing with what it is told.
    Noop,
}

/// A serving process. It is ended with the value.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    pub(super) options: ServerOptions,
}

impl ServerProcess {
    /// Starts a server on free ports and waits until it listens.
    pub(super) async fn start(kind: &ServerKind) -> CommandResult<Self> {
        let binary = env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(binary);
        // What is set for other servers would make the runs of two shells differ.
        for variable in environment::own_variables() {
            command.env_remove(variable);
        }
        let token = match kind {
            ServerKind::Noop => {
                command.args(["bench", "--noop-server"]);
                None
            }
            ServerKind::Meterd { data_dir, arguments } => {
                let token = Uuid::new_v4().simple().to_string();
                serve(&mut command, data_dir, arguments);
                // With credentials, as real calls have them.
                command.env(environment::ADMIN_TOKEN_VARIABLE, &token);
                Some(token)
            }
        };
        // Ctrl-C is for this process only, which measures on until its callers have their answers.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let options = ServerOptions {
            place: ServerPlace { server: String::new(), ca: None },
            token,
            api_key: None,
        };
        let mut process = Self { child, options };
        let (found, listening) = oneshot::channel();
        thread::spawn(move || read_log(stderr, found));
        let address = match tokio::time::timeout(START_TIMEOUT, listening).await {
            Ok(Ok(address)) => address,
            Ok(Err(_)) => return Err(CommandError::failed("the server ended before it listened")),
            Err(_) => {
                return Err(CommandError::failed(format!(
                    "the server did not listen within {START_TIMEOUT:?}"
                )));
            }
        };
        process.options.place.server = format!("http://{address}");
        Ok(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM; waits for the end.
    pub(super) async fn stop(mut self) -> CommandResult {
        let ended = tokio::task::spawn_blocking(move || {
            let ended = self.end();
            // Nothing is left to do for the drop.
            drop(self);
            ended
        });
        let status = ended.await.context("waiting for the server failed")??;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(CommandError::failed(format!("the server ended with {status}"))),
            None => Err(CommandError::failed(format!(
                "the server did not end within {STOP_TIMEOUT:?} of SIGTERM and was killed"
            ))),
        }
    }

    fn end(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("cannot stop the server")?;
        let until = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(None)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // After a failure; what it comes to is told by that.
        let _ = self.end();
    }
}

fn serve(command: &mut Command, data_dir: &Path, arguments: &[String]) {
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--log", "warn", "--accept-past", ACCEPT_PAST, "--data-dir"])
        .arg(data_dir)
        .args(arguments);
}

/// Finds the address, and passes everything else on.
fn read_log(stderr: ChildStderr, found: oneshot::Sender<String>) {
    let mut found = Some(found);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let address = line.strip_prefix(LISTENING).and_then(|rest| rest.split(' ').next());
        match (address, found.take()) {
            (Some(address), Some(found)) => {
                // If nobody waits any more, the process is about to be ended.
                let _ = found.send(address.to_owned());
            }
            (_, waiting) => {
                found = waiting;
                tell(format_args!("server: {line}"));
            }
        }
    }
}
