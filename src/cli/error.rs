//! What a command can come to, other than well.

use std::{fmt, io};

/// Why a command did not succeed.
#[derive(Debug)]
pub enum CommandError {
    /// The command line was not understood, or asked for help.
    Arguments(clap::Error),
    /// What was asked for cannot be meant. Exit code 2.
    Usage(String),
    /// It was tried and failed. Exit code 1.
    Failed(anyhow::Error),
    /// It failed, and what there is to say has been said. Exit code 1.
    Reported,
    /// Nobody reads the output any more. Not a failure.
    BrokenPipe,
}

/// What a command returns.
pub type CommandResult<T = ()> = Result<T, CommandError>;

impl CommandError {
    /// A usage error with this text.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A failure with this text.
    pub(super) fn failed(text: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::Failed(anyhow::Error::msg(text))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(error) => error.fmt(f),
            Self::Usage(text) => f.write_str(text),
            // `{:#}` names the causes as well.
            Self::Failed(error) => error.fmt(f),
            Self::Reported => f.write_str("failed"),
            Self::BrokenPipe => f.write_str("broken pipe"),
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// For writing to stdout.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Failed(anyhow::Error::new(error).context("cannot write the output"))
    }
}
