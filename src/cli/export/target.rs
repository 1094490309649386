//! Where an export goes: stdout, or a file that appears when it is complete. What is written is hashed.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::cli::CommandResult;

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<NamedTempFile>, path: PathBuf },
}

/// Hashes what goes to a sink.
pub(super) struct Target {
    sink: Sink,
    hash: Sha256,
    bytes: u64,
}

impl Target {
    /// `-` stands for stdout.
    pub(super) fn create(path: &Path) -> CommandResult<Self> {
        let sink = if path.as_os_str() == "-" {
            Sink::Stdout(BufWriter::new(io::stdout()))
        } else {
            // Beside the file, so that it can take its name in one step.
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let file = NamedTempFile::new_in(directory.unwrap_or_else(|| Path::new(".")))
                .with_context(|| format!("cannot write beside {}", path.display()))?;
            Sink::File { file: BufWriter::new(file), path: path.to_owned() }
        };
        Ok(Self { sink, hash: Sha256::new(), bytes: 0 })
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self.sink, Sink::Stdout(_))
    }

    /// Makes everything durable, and gives the file its name.
    pub(super) fn finish(self) -> CommandResult<Written> {
        match self.sink {
            Sink::Stdout(mut stdout) => stdout.flush()?,
            Sink::File { file, path } => {
                let cannot = || format!("cannot write {}", path.display());
                let file = file.into_inner().map_err(io::IntoInnerError::into_error);
                let file = file.with_context(cannot)?;
                file.as_file().sync_all().with_context(cannot)?;
                file.persist(&path).with_context(cannot)?;
            }
        }
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Written { bytes: self.bytes, sha256 })
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.sink {
            Sink::Stdout(stdout) => stdout.write(bytes)?,
            Sink::File { file, .. } => file.write(bytes)?,
        };
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(stdout) => stdout.flush(),
            Sink::File { file, .. } => file.flush(),
        }
    }
}
