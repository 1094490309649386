//! The meterd binary: maps what a command comes to onto an exit code.

use std::{io::Write, process::ExitCode};

use meterd::cli::{self, CommandError};

/// Calls are made of many small pieces that one thread allocates and another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Err(error) = cli::run(std::env::args_os()) else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr().lock();
    // Nobody is left to tell if stderr fails too.
    let _ = match &error {
        // The reader of stdout went away, as `head` does: not a failure, and nothing to say.
        CommandError::BrokenPipe => return ExitCode::SUCCESS,
        CommandError::Arguments(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
        CommandError::Reported => Ok(()),
        CommandError::Usage(_) | CommandError::Failed(_) => writeln!(stderr, "error: {error:#}"),
    };
    ExitCode::from(if matches!(error, CommandError::Usage(_)) { 2 } else { 1 })
}
