//! Input of a line for each thing: JSON Lines and CSV.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    marker::PhantomData,
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{
    Deserializer,
    de::{self, DeserializeOwned},
};

use super::CommandResult;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

/// Where the input is.
#[derive(Debug, Clone, Args)]
pub(super) struct InputFile {
    /// The file, or - for stdin
    #[arg(default_value = "-")]
    pub(super) file: PathBuf,
    /// Form of the input [default: by extension, else jsonl]
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
}

impl InputFile {
    /// How to call it.
    pub(super) fn name(&self) -> String {
        if self.is_stdin() { "stdin".to_owned() } else { self.file.display().to_string() }
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Its lines, and how many bytes of them there are, if that is known.
    pub(super) fn open<T: DeserializeOwned>(&self) -> CommandResult<(Lines<T>, Option<u64>)> {
        let csv =
            self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let format = self.format.unwrap_or(if csv { Format::Csv } else { Format::Jsonl });
        if self.is_stdin() {
            return Ok((Lines::new(Box::new(BufReader::new(io::stdin())), format), None));
        }
        let cannot = || format!("cannot read {}", self.file.display());
        let file = File::open(&self.file).with_context(cannot)?;
        let about = file.metadata().with_context(cannot)?;
        let bytes = about.is_file().then_some(about.len());
        Ok((Lines::new(Box::new(BufReader::new(file)), format), bytes))
    }
}

/// Why a line cannot be used.
#[derive(Debug)]
pub(super) enum LineError {
    /// It says something else.
    Bad { line: u64, reason: String },
    /// It cannot be read at all, nor can those after it.
    Io(io::Error),
}

/// A quantity: a number, or one in quotes as 64-bit JSON numbers often come.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    whole_number_as("quantity", deserializer)
}

/// The same for something that is called otherwise.
pub(super) fn whole_number_as<'de, D: Deserializer<'de>>(
    name: &'static str,
    deserializer: D,
) -> Result<i64, D::Error> {
    struct Visitor(&'static str);
    impl de::Visitor<'_> for Visitor {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number of 64 bits as the {}", self.0)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number)
                .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Visitor(name))
}

/// Reads line by line; with every line comes its number, from 1.
pub(super) struct Lines<T> {
    form: Form,
    read: PhantomData<fn() -> T>,
}

enum Form {
    Jsonl { reader: Box<dyn BufRead + Send>, line: u64, bytes: u64, buffer: Vec<u8> },
    Csv { reader: Box<csv::Reader<Box<dyn BufRead + Send>>>, record: csv::StringRecord },
}

impl<T> Lines<T> {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, format: Format) -> Self {
        let form = match format {
            Format::Jsonl => Form::Jsonl { reader, line: 0, bytes: 0, buffer: Vec::new() },
            Format::Csv => {
                let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
                Form::Csv { reader: Box::new(reader), record: csv::StringRecord::new() }
            }
        };
        Self { form, read: PhantomData }
    }

    /// Bytes consumed so far.
    pub(super) fn bytes_read(&self) -> u64 {
        match &self.form {
            Form::Jsonl { bytes, .. } => *bytes,
            Form::Csv { reader, .. } => reader.position().byte(),
        }
    }
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<(u64, T), LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.form {
            Form::Jsonl { reader, line, bytes, buffer } => loop {
                *line += 1;
                buffer.clear();
                let limit = LINE_BYTES_MAX as u64 + 1;
                match reader.by_ref().take(limit).read_until(b'\n', buffer) {
                    Ok(0) => return None,
                    Ok(count) => *bytes += count as u64,
                    Err(error) => return Some(Err(LineError::Io(error))),
                }
                let bad = |reason| Some(Err(LineError::Bad { line: *line, reason }));
                if buffer.len() > LINE_BYTES_MAX && !buffer.ends_with(b"\n") {
                    // What is left of it would be taken for lines of their own: read past it.
                    if let Err(error) = skip_line(reader, bytes) {
                        return Some(Err(LineError::Io(error)));
                    }
                    return bad(format!("is longer than {LINE_BYTES_MAX} bytes"));
                }
                if buffer.trim_ascii().is_empty() {
                    continue;
                }
                return match serde_json::from_slice(buffer) {
                    Ok(read) => Some(Ok((*line, read))),
                    Err(error) => bad(reason(&error)),
                };
            },
            Form::Csv { reader, record } => {
                let header = match reader.headers() {
                    Ok(header) => header.clone(),
                    Err(error) => return Some(Err(csv_error(error, 1))),
                };
                let at = reader.position().line();
                match reader.read_record(record) {
                    Ok(false) => None,
                    Ok(true) => {
                        let at = record.position().map_or(at, csv::Position::line);
                        let read = record.deserialize(Some(&header));
                        Some(read.map(|line| (at, line)).map_err(|error| csv_error(error, at)))
                    }
                    Err(error) => Some(Err(csv_error(error, at))),
                }
            }
        }
    }
}

fn skip_line(reader: &mut Box<dyn BufRead + Send>, bytes: &mut u64) -> io::Result<()> {
    loop {
        let available = reader.fill_buf()?;
        let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let count = end.unwrap_or(available.len());
        if count == 0 {
            return Ok(());
        }
        reader.consume(count);
        *bytes += count as u64;
        if end.is_some() {
            return Ok(());
        }
    }
}

/// What serde found, without its own idea of line and column.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn csv_error(error: csv::Error, line: u64) -> LineError {
    let reason = match error.into_kind() {
        csv::ErrorKind::Io(error) => return LineError::Io(error),
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, the header {expected_len}")
        }
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => "is not CSV".to_owned(),
    };
    LineError::Bad { line, reason }
}
