//! Pages: so many rows as fit a value of the database.
//!
//! `version:u8 ‖ rows:u16le ‖ record …`, see `record.rs`. Every page can be read alone; the number of its first row
//! is kept beside it.

use super::{
    RowsError,
    counts::Counts,
    key::{KeyLayout, Row},
    plan::RowPlan,
    record::{OVERHEAD_BYTES_MAX, ROW_KEY_BYTES_MAX, put_record, take_record},
};

/// Largest page, in bytes.
pub(in crate::service) const PAGE_BYTES_MAX: usize = 6_000;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 3;

const _: () = assert!(
    HEADER_BYTES + ROW_KEY_BYTES_MAX + OVERHEAD_BYTES_MAX <= PAGE_BYTES_MAX,
    "every row fits a page"
);

/// Writes rows into pages and hands those over that are full: the number of the first row, and the bytes.
pub(super) struct PageWriter<F> {
    emit: F,
    // Header included; empty before the first row.
    page: Vec<u8>,
    page_rows: u16,
    rows: u64,
    before: Vec<u8>,
}

impl<F> PageWriter<F> {
    pub(super) fn new(emit: F) -> Self {
        Self { emit, page: Vec::new(), page_rows: 0, rows: 0, before: Vec::new() }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// Those of the callback.
    pub(super) fn push<E>(&mut self, key: &[u8], counts: &Counts) -> Result<(), E>
    where
        F: FnMut(u64, Vec<u8>) -> Result<(), E>,
    {
        if self.page_rows > 0 {
            let end = self.page.len();
            put_record(&mut self.page, &self.before, key, counts);
            if self.page.len() > PAGE_BYTES_MAX {
                self.page.truncate(end);
                self.hand_over()?;
            }
        }
        if self.page_rows == 0 {
            self.page = Vec::with_capacity(PAGE_BYTES_MAX);
            self.page.extend_from_slice(&[VERSION, 0, 0]);
            put_record(&mut self.page, b"", key, counts);
        }
        // A row has at least three bytes, so a page has room for no more than 2,000.
        self.page_rows += 1;
        self.rows += 1;
        self.before.clear();
        self.before.extend_from_slice(key);
        Ok(())
    }

    /// Hands the last page over; answers how many rows there were.
    ///
    /// # Errors
    /// Those of the callback.
    pub(super) fn finish<E>(mut self) -> Result<u64, E>
    where
        F: FnMut(u64, Vec<u8>) -> Result<(), E>,
    {
        if self.page_rows > 0 {
            self.hand_over()?;
        }
        Ok(self.rows)
    }

    fn hand_over<E>(&mut self) -> Result<(), E>
    where
        F: FnMut(u64, Vec<u8>) -> Result<(), E>,
    {
        let mut page = std::mem::take(&mut self.page);
        for (slot, byte) in page.iter_mut().skip(1).zip(self.page_rows.to_le_bytes()) {
            *slot = byte;
        }
        let first_row = self.rows - u64::from(self.page_rows);
        self.page_rows = 0;
        (self.emit)(first_row, page)
    }
}

/// Reads the rows of a page, in order. After an error there are no more.
#[derive(Debug)]
pub(in crate::service) struct PageRows<'a> {
    layout: KeyLayout,
    input: &'a [u8],
    rows_left: u16,
    key: Vec<u8>,
}

impl<'a> PageRows<'a> {
    /// Opens a page that was written for `plan`, at its first row.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] if it is none.
    pub(in crate::service) fn open(plan: &RowPlan, page: &'a [u8]) -> Result<Self, RowsError> {
        let [VERSION, low, high, input @ ..] = page else {
            return Err(RowsError::Damaged);
        };
        let rows_left = u16::from_le_bytes([*low, *high]);
        if page.len() > PAGE_BYTES_MAX || rows_left == 0 {
            return Err(RowsError::Damaged);
        }
        Ok(Self { layout: KeyLayout::new(plan), input, rows_left, key: Vec::new() })
    }

    /// Rows that are still to come.
    pub(in crate::service) fn rows_left(&self) -> u16 {
        self.rows_left
    }

    /// Passes over rows, cheaper than reading them; at most those that are left.
    ///
    /// # Errors
    /// [`RowsError::Damaged`].
    pub(in crate::service) fn pass_over(&mut self, rows: u64) -> Result<(), RowsError> {
        for _ in 0..rows.min(self.rows_left.into()) {
            self.advance()?;
        }
        Ok(())
    }

    /// Goes to the next row, which must be there.
    fn advance(&mut self) -> Result<Counts, RowsError> {
        // None are left after an error.
        let left = std::mem::take(&mut self.rows_left).checked_sub(1).ok_or(RowsError::Damaged)?;
        let counts = take_record(&mut self.input, &mut self.key).map_err(|_| RowsError::Damaged)?;
        if left == 0 && !self.input.is_empty() {
            return Err(RowsError::Damaged);
        }
        self.rows_left = left;
        Ok(counts)
    }
}

impl Iterator for PageRows<'_> {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows_left == 0 {
            return None;
        }
        let row = self.advance().and_then(|counts| self.layout.row(&self.key, counts));
        if row.is_err() {
            self.rows_left = 0;
        }
        Some(row)
    }
}
