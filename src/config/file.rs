//! The configuration file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::ServeOptions;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not say what a configuration file may say.
    #[error("{path}:{line}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line at fault, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

/// Reads a TOML file. Keys are the flags of `serve` without their dashes in front.
///
/// # Errors
/// [`ConfigError`] names the file and the line.
pub fn read(path: &Path) -> Result<ServeOptions, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path)
}

pub(super) fn parse(text: &str, path: &Path) -> Result<ServeOptions, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            reason: error.message().trim().replace('\n', " "),
        }
    })
}
