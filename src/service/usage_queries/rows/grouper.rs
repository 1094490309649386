//! Totals in, pages out.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    RowsError,
    component::{DAY_BYTES, day_bytes, put_text},
    counts::Counts,
    key::{KeyLayout, Part},
    page::PageWriter,
    plan::{Column, Direction, RowPlan},
    record::ROW_KEY_BYTES_MAX,
    sorter::{Sorter, SpillOptions},
};
use crate::domain::{
    api_usage::{ApiSeries, StatusClass},
    asset_usage::UsageDay,
    id::ClientId,
    quantity::Total,
};

/// Groups totals into the rows of a plan. Fastest if the totals of a series come one after the other, and
/// its days in order, as the store gives them; right in any order.
pub(in crate::service) struct RowGrouper<'a> {
    plan: &'a RowPlan,
    layout: KeyLayout,
    options: &'a SpillOptions,
    client_name: &'a dyn Fn(&ClientId) -> String,
    cancelled: &'a AtomicBool,
    sorter: Sorter<'a>,
    // The row that the last totals went to, not yet given to the sorter.
    series: Option<ApiSeries>,
    day: Option<UsageDay>,
    first_day: Option<UsageDay>,
    key: Vec<u8>,
    date_in_key: Option<DateInKey>,
    counts: Counts,
}

/// Where the date stands in a key.
#[derive(Clone, Copy)]
struct DateInKey {
    begin: usize,
    direction: Direction,
}

impl<'a> RowGrouper<'a> {
    /// Begins. `client_name` is asked only if names are a column; `cancelled` ends the work with
    /// [`RowsError::Cancelled`] soon after it is raised.
    pub(in crate::service) fn new(
        plan: &'a RowPlan,
        options: &'a SpillOptions,
        client_name: &'a dyn Fn(&ClientId) -> String,
        cancelled: &'a AtomicBool,
    ) -> Self {
        Self {
            plan,
            layout: KeyLayout::new(plan),
            options,
            client_name,
            cancelled,
            sorter: Sorter::new(options, plan.rows_max, cancelled),
            series: None,
            day: None,
            first_day: None,
            key: Vec::new(),
            date_in_key: None,
            counts: Counts::default(),
        }
    }

    /// Adds the total of a series, a day and a class of statuses. A total of no calls makes no row.
    ///
    /// # Errors
    /// Every [`RowsError`] but [`RowsError::Damaged`]. Nothing can be added afterwards.
    pub(in crate::service) fn add(
        &mut self,
        series: &ApiSeries,
        day: UsageDay,
        class: StatusClass,
        total: Total,
    ) -> Result<(), RowsError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(RowsError::Cancelled);
        }
        if self.series.as_ref() != Some(series) {
            self.hand_over()?;
            self.begin_series(series)?;
        }
        if self.day != Some(day) {
            self.day = Some(day);
            self.begin_day(self.plan.bucket.first_day(day))?;
        }
        self.counts.count(class, total.quantity);
        Ok(())
    }

    /// Sorts the rows and hands them over in pages, each with the number of its first row (from 0); answers
    /// how many rows there are. Pages have at most [`PAGE_BYTES_MAX`](super::page::PAGE_BYTES_MAX) bytes, and none
    /// is empty.
    ///
    /// # Errors
    /// Every [`RowsError`], and whatever `emit` says. An error may come after many pages, which are of no use
    /// then.
    pub(in crate::service) fn write_pages<E: From<RowsError>>(
        mut self,
        emit: impl FnMut(u64, Vec<u8>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.hand_over()?;
        let Self { plan, layout, options, cancelled, sorter, .. } = self;
        let mut pages = PageWriter::new(emit);
        if layout.sorts_by_metrics() {
            let mut by_metrics = Sorter::new(options, plan.rows_max, cancelled);
            let mut sort_key = Vec::new();
            sorter.finish(|row_key, counts| {
                layout.write_sort_key(row_key, counts, &mut sort_key)?;
                by_metrics.add(&sort_key, counts)
            })?;
            let mut row_key = sort_key;
            by_metrics.finish(|sort_key, counts| {
                layout.write_row_key(sort_key, &mut row_key)?;
                pages.push(&row_key, counts)
            })?;
        } else {
            sorter.finish(|row_key, counts| pages.push(row_key, counts))?;
        }
        pages.finish()
    }

    /// Gives the row at hand to the sorter.
    fn hand_over(&mut self) -> Result<(), RowsError> {
        let counts = std::mem::take(&mut self.counts);
        if counts == Counts::default() { Ok(()) } else { self.sorter.add(&self.key, &counts) }
    }

    /// Makes the key of a series, with room for the date.
    fn begin_series(&mut self, series: &ApiSeries) -> Result<(), RowsError> {
        self.key.clear();
        self.date_in_key = None;
        for (part, direction) in self.layout.row_parts() {
            match part {
                Part::Date => {
                    self.date_in_key = Some(DateInKey { begin: self.key.len(), direction });
                    self.key.extend_from_slice(&[0; DAY_BYTES]);
                }
                Part::Column(at) => {
                    if let Some(column) = self.plan.columns.get(at) {
                        put_column(&mut self.key, *column, series, self.client_name, direction);
                    }
                }
                Part::Metric(_) => {}
            }
        }
        if self.key.len() > ROW_KEY_BYTES_MAX {
            let (bytes, bytes_max) = (self.key.len(), ROW_KEY_BYTES_MAX);
            return Err(RowsError::RowTooLong { bytes, bytes_max });
        }
        self.series = Some(series.clone());
        (self.day, self.first_day) = (None, None);
        Ok(())
    }

    /// Puts the first day of a bucket into the key, if it is another one.
    fn begin_day(&mut self, first_day: UsageDay) -> Result<(), RowsError> {
        let Some(DateInKey { begin, direction }) = self.date_in_key else {
            return Ok(());
        };
        if self.first_day == Some(first_day) {
            return Ok(());
        }
        self.hand_over()?;
        self.first_day = Some(first_day);
        if let Some(date) = self.key.get_mut(begin..begin + DAY_BYTES) {
            date.copy_from_slice(&day_bytes(first_day, direction));
        }
        Ok(())
    }
}

impl std::fmt::Debug for RowGrouper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowGrouper").field("plan", self.plan).finish_non_exhaustive()
    }
}

fn put_column(
    key: &mut Vec<u8>,
    column: Column,
    series: &ApiSeries,
    client_name: &dyn Fn(&ClientId) -> String,
    direction: Direction,
) {
    match column {
        Column::ClientId => put_text(key, series.client.as_str(), direction),
        Column::ClientName => put_text(key, &client_name(&series.client), direction),
        Column::UserId => {
            put_text(key, series.user.as_ref().map_or("", |user| user.as_str()), direction);
        }
        Column::TemplateUri => put_text(key, series.template_uri.as_str(), direction),
        Column::HttpMethod => put_text(key, series.method.as_str(), direction),
        Column::Platform => {
            let platform = series.platform.as_ref();
            put_text(key, platform.map_or("", |platform| platform.as_str()), direction);
        }
    }
}
