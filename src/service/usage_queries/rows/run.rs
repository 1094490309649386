//! Sorted runs of rows in a temporary file without a name, which vanishes with its handle.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use super::{
    RowsError, SpillOptions,
    counts::Counts,
    record::{put_record, take_record},
};
use crate::service::disk_reserve::DiskReserve;

/// Bytes written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The file and what is in it.
pub(super) struct SpillFile {
    file: File,
    disk: Arc<DiskReserve>,
    bytes: u64,
    runs: Vec<Run>,
}

struct Run {
    begin: u64,
    end: u64,
    rows: u64,
}

impl SpillFile {
    /// Makes an empty file.
    ///
    /// # Errors
    /// [`RowsError::Spill`].
    pub(super) fn create(options: &SpillOptions) -> Result<Self, RowsError> {
        let file = tempfile::tempfile_in(&options.directory).map_err(RowsError::Spill)?;
        Ok(Self { file, disk: Arc::clone(&options.disk), bytes: 0, runs: Vec::new() })
    }

    /// Number of runs.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Begins a run. It counts once it is finished.
    pub(super) fn begin_run(&mut self) -> RunWriter<'_> {
        let begin = self.bytes;
        RunWriter { file: self, begin, rows: 0, unwritten: Vec::new(), before: Vec::new() }
    }

    /// Readers of all runs that have rows, each at its first.
    pub(super) fn readers(&self, buffer_bytes: usize) -> io::Result<Vec<RunReader<'_>>> {
        let mut readers = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let span = Span { file: &self.file, position: run.begin, end: run.end };
            let mut reader = RunReader {
                input: BufReader::with_capacity(buffer_bytes, span),
                rows_left: run.rows,
                key: Vec::new(),
                counts: Counts::default(),
            };
            if reader.advance()? {
                readers.push(reader);
            }
        }
        Ok(readers)
    }
}

/// Writes one run.
pub(super) struct RunWriter<'a> {
    file: &'a mut SpillFile,
    begin: u64,
    rows: u64,
    unwritten: Vec<u8>,
    before: Vec<u8>,
}

impl RunWriter<'_> {
    /// Appends a row; keys ascend.
    ///
    /// # Errors
    /// [`RowsError::Spill`], [`RowsError::BelowReserve`].
    pub(super) fn push(&mut self, key: &[u8], counts: &Counts) -> Result<(), RowsError> {
        debug_assert!(self.rows == 0 || *self.before < *key, "the keys of a run ascend");
        put_record(&mut self.unwritten, &self.before, key, counts);
        self.before.clear();
        self.before.extend_from_slice(key);
        self.rows += 1;
        if self.unwritten.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Completes the run.
    ///
    /// # Errors
    /// [`RowsError::Spill`], [`RowsError::BelowReserve`].
    pub(super) fn finish(mut self) -> Result<(), RowsError> {
        self.write()?;
        let run = Run { begin: self.begin, end: self.file.bytes, rows: self.rows };
        self.file.runs.push(run);
        Ok(())
    }

    /// Number of rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn write(&mut self) -> Result<(), RowsError> {
        self.file.disk.check()?;
        let written = self.file.file.write_all_at(&self.unwritten, self.file.bytes);
        written.map_err(RowsError::Spill)?;
        self.file.bytes += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

/// Reads one run.
pub(super) struct RunReader<'a> {
    input: BufReader<Span<'a>>,
    rows_left: u64,
    key: Vec<u8>,
    counts: Counts,
}

impl RunReader<'_> {
    /// Key of the row it stands at.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Counts of that row.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Goes to the next row; false at the end.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        let Some(left) = self.rows_left.checked_sub(1) else {
            return Ok(false);
        };
        self.rows_left = left;
        self.counts = take_record(&mut self.input, &mut self.key)?;
        Ok(true)
    }
}

/// A part of a file. Several are read at a time, so none may use the file's own position.
struct Span<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read =
            self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
