//! Adds up rows with the same key and gives them in the order of their keys, however many there are.
//!
//! Rows gather in a buffer. Whenever it is full, it becomes a sorted run in a temporary file; whenever there
//! are [`RUNS_MAX`] runs, they are merged into one in a new file, so that neither the file nor the buffers
//! for reading it grow with what comes in, only with the rows that come out. Without a full buffer there is
//! no file.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{RowsError, buffer::Buffer, counts::Counts, merge::merge, run::SpillFile};
use crate::service::disk_reserve::DiskReserve;

/// Memory of a sort unless the caller says otherwise.
pub(in crate::service) const SORT_MEMORY_BYTES_DEFAULT: usize = 8 * 1024 * 1024;

/// Most runs of one file.
pub(super) const RUNS_MAX: usize = 64;

/// Smallest buffer to read a run with, in bytes.
const READ_BYTES_MIN: usize = 64;

/// What a sort may use.
#[derive(Debug, Clone)]
pub(in crate::service) struct SpillOptions {
    /// Where temporary files are made. They have no name, and vanish with the process.
    pub(in crate::service) directory: PathBuf,
    /// How many bytes of rows are kept in memory.
    pub(in crate::service) memory_bytes: usize,
    /// Files are only written above the reserve of the disk that they are on.
    pub(in crate::service) disk: Arc<DiskReserve>,
}

/// Sorts and adds up.
pub(super) struct Sorter<'a> {
    options: &'a SpillOptions,
    rows_max: u64,
    cancelled: &'a AtomicBool,
    buffer: Buffer,
    spilled: Option<SpillFile>,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(options: &'a SpillOptions, rows_max: u64, cancelled: &'a AtomicBool) -> Self {
        Self { options, rows_max, cancelled, buffer: Buffer::default(), spilled: None }
    }

    /// Adds counts to the row of a key.
    ///
    /// # Errors
    /// [`RowsError`], except [`RowsError::Damaged`]. Nothing can be added afterwards.
    pub(super) fn add(&mut self, key: &[u8], counts: &Counts) -> Result<(), RowsError> {
        self.check_cancelled()?;
        self.buffer.add(key, counts);
        self.check_rows(self.buffer.rows() as u64)?;
        if self.buffer.bytes() > self.options.memory_bytes { self.spill() } else { Ok(()) }
    }

    /// Gives all rows in the order of their keys.
    ///
    /// # Errors
    /// [`RowsError`], except [`RowsError::Damaged`], possibly after many rows; whatever `visit` says.
    pub(super) fn finish<E: From<RowsError>>(
        mut self,
        mut visit: impl FnMut(&[u8], &Counts) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.spilled.is_none() {
            for (key, counts) in self.buffer.sorted() {
                self.check_cancelled()?;
                visit(key, counts)?;
            }
            return Ok(());
        }
        self.spill()?;
        // Whoever takes the rows may need the memory.
        self.buffer = Buffer::default();
        let mut rows = 0;
        self.spilled.as_ref().map_or(Ok(()), |file| {
            merge(file, self.read_bytes(), self.cancelled, |key, counts| {
                rows += 1;
                self.check_rows(rows)?;
                visit(key, counts)
            })
        })
    }

    /// Writes the buffer as a run, and merges all runs if there are many.
    fn spill(&mut self) -> Result<(), RowsError> {
        let mut file = match self.spilled.take() {
            Some(file) => file,
            None => SpillFile::create(self.options)?,
        };
        let mut run = file.begin_run();
        for (key, counts) in self.buffer.sorted() {
            self.check_cancelled()?;
            run.push(key, counts)?;
        }
        run.finish()?;
        self.buffer.clear();
        if file.runs() >= RUNS_MAX {
            file = self.merged(&file)?;
        }
        self.spilled = Some(file);
        Ok(())
    }

    /// All runs of a file as the one run of another.
    fn merged(&self, file: &SpillFile) -> Result<SpillFile, RowsError> {
        let mut merged = SpillFile::create(self.options)?;
        let mut run = merged.begin_run();
        merge(file, self.read_bytes(), self.cancelled, |key, counts| {
            run.push(key, counts)?;
            // Rows only ever become more: too many here are too many in the end.
            self.check_rows(run.rows())
        })?;
        run.finish()?;
        Ok(merged)
    }

    /// Size of the buffer for reading a run: together they have a quarter of the memory.
    fn read_bytes(&self) -> usize {
        (self.options.memory_bytes / (4 * RUNS_MAX)).max(READ_BYTES_MIN)
    }

    fn check_rows(&self, rows: u64) -> Result<(), RowsError> {
        if rows > self.rows_max {
            return Err(RowsError::TooManyRows { rows_max: self.rows_max });
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), RowsError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(RowsError::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::service::disk_reserve::{ManualDiskSpace, ReserveSize};

    fn one() -> Counts {
        Counts::from_classes([0, 1, 0, 0, 0, 0])
    }

    fn options(memory_bytes: usize) -> SpillOptions {
        SpillOptions { directory: std::env::temp_dir(), memory_bytes, disk: DiskReserve::off() }
    }

    #[test]
    fn without_a_full_buffer_there_is_no_file() {
        let options = SpillOptions { directory: "/nowhere".into(), ..options(100_000) };
        let cancelled = AtomicBool::new(false);
        let mut sorter = Sorter::new(&options, 10, &cancelled);
        for key in ["b", "a", "b"] {
            sorter.add(key.as_bytes(), &one()).unwrap();
        }
        let mut rows = Vec::new();
        sorter
            .finish(|key, counts| {
                rows.push((key.to_vec(), counts.by_class()[1]));
                Ok::<_, RowsError>(())
            })
            .unwrap();
        assert_eq!(rows, [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);

        let options = SpillOptions { memory_bytes: 0, ..options };
        let mut sorter = Sorter::new(&options, 10, &cancelled);
        assert!(matches!(sorter.add(b"a", &one()), Err(RowsError::Spill(_))));
    }

    #[test]
    fn runs_are_merged_in_passes_and_their_file_is_replaced() {
        let options = options(1_000);
        let cancelled = AtomicBool::new(false);
        let mut sorter = Sorter::new(&options, 1_000, &cancelled);
        let mut expected: BTreeMap<Vec<u8>, u128> = BTreeMap::new();
        let mut passes = 0;
        let mut runs_before = 0;
        for number in 0..20_000_u64 {
            let key = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000).to_string().into_bytes();
            sorter.add(&key, &one()).unwrap();
            *expected.entry(key).or_default() += 1;
            let runs = sorter.spilled.as_ref().map_or(0, SpillFile::runs);
            assert!(runs < RUNS_MAX);
            passes += usize::from(runs < runs_before);
            runs_before = runs;
        }
        assert!(passes > 10, "{passes} passes");
        let mut rows = Vec::new();
        sorter
            .finish(|key, counts| {
                rows.push((key.to_vec(), counts.by_class()[1]));
                Ok::<_, RowsError>(())
            })
            .unwrap();
        assert_eq!(rows, Vec::from_iter(expected));
    }

    #[test]
    fn too_many_rows_are_noticed_wherever_they_are() {
        // In memory; in the last merge; in a merge on the way.
        for (memory_bytes, rows) in [(100_000, 101), (1_000, 101), (1_000, 5_000)] {
            let options = options(memory_bytes);
            let cancelled = AtomicBool::new(false);
            let mut sorter = Sorter::new(&options, 100, &cancelled);
            let added = (0..rows).try_for_each(|row: u32| sorter.add(&row.to_be_bytes(), &one()));
            let finished = added.and_then(|()| sorter.finish(|_, _| Ok(())));
            assert!(matches!(finished, Err(RowsError::TooManyRows { rows_max: 100 })));
        }
    }

    #[test]
    fn spilling_below_the_reserve_is_an_error() {
        let disk = Arc::new(ManualDiskSpace::new(1, 100));
        let disk = Arc::new(DiskReserve::new(disk, ReserveSize::Bytes(2)));
        let cancelled = AtomicBool::new(false);
        let options = SpillOptions { disk, ..options(100_000) };
        let mut sorter = Sorter::new(&options, 10, &cancelled);
        sorter.add(b"a", &one()).unwrap();
        sorter.finish(|_, _| Ok::<_, RowsError>(())).unwrap();
        let options = SpillOptions { memory_bytes: 0, ..options };
        let mut sorter = Sorter::new(&options, 10, &cancelled);
        assert!(matches!(sorter.add(b"a", &one()), Err(RowsError::BelowReserve(_))));
    }

    #[test]
    fn a_raised_flag_stops_adding_and_giving() {
        for memory_bytes in [100_000, 0] {
            let options = options(memory_bytes);
            let cancelled = AtomicBool::new(false);
            let mut sorter = Sorter::new(&options, 100, &cancelled);
            for key in ["a", "b", "c"] {
                sorter.add(key.as_bytes(), &one()).unwrap();
            }
            let mut given = 0;
            let finished = sorter.finish(|_, _| {
                given += 1;
                cancelled.store(true, Ordering::Relaxed);
                Ok(())
            });
            assert!(matches!(finished, Err(RowsError::Cancelled)));
            assert_eq!(given, 1);
            let mut sorter = Sorter::new(&options, 100, &cancelled);
            assert!(matches!(sorter.add(b"a", &one()), Err(RowsError::Cancelled)));
        }
    }
}
