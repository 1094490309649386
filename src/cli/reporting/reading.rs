//! From lines to records.

use std::io;

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::summary::LISTED_MAX;
use crate::cli::{
    lines::{LineError, Lines},
    terminal::tell,
};

/// A kind of usage: what its lines say, and what may share a message.
pub(in crate::cli) trait UsageKind: Send + 'static {
    /// A line, as far as its form goes.
    type Line: DeserializeOwned + 'static;
    /// What the records of one message have in common.
    type Target: Clone + Ord + Send + 'static;
    /// What is sent.
    type Record: Clone + Send + 'static;
    /// What records are called, in the plural.
    const NOUN: &'static str;

    /// The record of a line; what is wrong with the line otherwise.
    fn record(&self, line: Self::Line) -> Result<(Self::Target, Self::Record), String>;
    /// Its uuid.
    fn uuid(record: &Self::Record) -> &str;
    /// The line again, as it can be read another time.
    fn printed<'a>(
        target: &'a Self::Target,
        record: &'a Self::Record,
    ) -> impl Serialize + use<'a, Self>;
}

/// A record, and where it came from.
pub(super) struct InputRecord<U: UsageKind> {
    /// The line, from 1.
    pub(super) line: u64,
    pub(super) target: U::Target,
    pub(super) record: U::Record,
}

/// What came of reading.
#[derive(Debug, Default)]
pub(super) struct ReadLines {
    pub(super) bad_lines: u64,
    /// The line that reading stopped at, and why.
    pub(super) stopped: Option<(u64, String)>,
}

/// Reads to the end, or to the first bad line.
pub(super) fn read<U: UsageKind>(
    mut lines: Lines<U::Line>,
    kind: &U,
    records: &mpsc::Sender<InputRecord<U>>,
    bar: &ProgressBar,
    skip_bad_lines: bool,
) -> Result<ReadLines, io::Error> {
    let mut read = ReadLines::default();
    while let Some(next) = lines.next() {
        let record = next.and_then(|(line, content)| match kind.record(content) {
            Ok((target, record)) => Ok(InputRecord { line, target, record }),
            Err(reason) => Err(LineError::Bad { line, reason }),
        });
        match record {
            Ok(record) => {
                // The other side hangs up when delivery failed, and reports that itself.
                if records.blocking_send(record).is_err() {
                    break;
                }
            }
            Err(LineError::Io(error)) => return Err(error),
            Err(LineError::Bad { line, reason }) if skip_bad_lines => {
                read.bad_lines += 1;
                if read.bad_lines <= LISTED_MAX {
                    bar.suspend(|| tell(format_args!("line {line} skipped: {reason}")));
                }
            }
            Err(LineError::Bad { line, reason }) => {
                read.bad_lines = 1;
                read.stopped = Some((line, reason));
                break;
            }
        }
        bar.set_position(lines.bytes_read());
    }
    Ok(read)
}

/// Refuses a text that would have the server refuse the whole message it is in.
pub(in crate::cli) fn at_most(member: &str, text: &str, chars_max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("{member} has {chars} characters, at most {chars_max} are allowed"));
    }
    Ok(())
}

/// Reads the time of a line.
pub(in crate::cli) fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("timestamp {text:?} is not RFC 3339, such as 2026-11-21T08:30:00Z"))
}
