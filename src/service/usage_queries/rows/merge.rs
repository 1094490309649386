//! Many sorted runs → one, adding up what has the same key.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::atomic::{self, AtomicBool},
};

use super::{
    RowsError,
    counts::Counts,
    run::{RunReader, SpillFile},
};

/// Gives every row of a file once, in the order of their keys. Holds `buffer_bytes` for every run.
///
/// # Errors
/// [`RowsError::Spill`], [`RowsError::Cancelled`] and whatever `visit` says.
pub(super) fn merge<E: From<RowsError>>(
    file: &SpillFile,
    buffer_bytes: usize,
    cancelled: &AtomicBool,
    mut visit: impl FnMut(&[u8], &Counts) -> Result<(), E>,
) -> Result<(), E> {
    let readers = file.readers(buffer_bytes).map_err(RowsError::Spill)?;
    let mut heads: BinaryHeap<Head<'_>> = readers.into_iter().map(Head).collect();
    let mut key = Vec::new();
    // Of `key`; none before the first.
    let mut sum: Option<Counts> = None;
    while let Some(mut least) = heads.peek_mut() {
        if cancelled.load(atomic::Ordering::Relaxed) {
            return Err(RowsError::Cancelled.into());
        }
        match &mut sum {
            Some(sum) if key == least.0.key() => sum.add(least.0.counts()),
            _ => {
                if let Some(sum) = sum {
                    visit(&key, &sum)?;
                }
                key.clear();
                key.extend_from_slice(least.0.key());
                sum = Some(*least.0.counts());
            }
        }
        if !least.0.advance().map_err(RowsError::Spill)? {
            PeekMut::pop(least);
        }
    }
    sum.map_or(Ok(()), |sum| visit(&key, &sum))
}

/// Where a run is read. The greatest of them, which a heap gives, is that with the least key.
struct Head<'a>(RunReader<'a>);

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.key().cmp(self.0.key())
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}
