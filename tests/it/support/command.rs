//! `meterd` as a user runs it.

use std::{
    ffi::OsStr,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::server::TOKEN;

/// The binary without any setting of the environment that the tests run in.
pub fn meterd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterd"));
    for (name, _) in std::env::vars() {
        if name.starts_with("METERD_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A client command that knows the server and the token.
pub fn client(server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = meterd(arguments);
    command.env("METERD_SERVER", format!("http://{server}")).env("METERD_TOKEN", TOKEN);
    command
}

/// What came of a command.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// The output, after the command succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Checks the exit code and what stderr says.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
    }
}

pub fn run(mut command: Command) -> Ran {
    Ran::new(&command.output().unwrap())
}

/// Runs a command with something on its stdin.
pub fn run_with_input(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // A command that stops early closes its end.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    Ran::new(&output)
}

/// Writes a file and answers its path as text.
pub fn file(directory: &Path, name: impl AsRef<OsStr>, text: &str) -> String {
    let path = directory.join(name.as_ref());
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
