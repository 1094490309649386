//! The keys of rows: which part stands where.
//!
//! A *row key* holds the date and the columns, in the order that they sort in; it is all there is of a row
//! but its counts. A *sort key* has the counts that take part in the order between them.

use jiff::civil;

use super::{
    RowsError,
    component::{
        COUNT_BYTES, DAY_BYTES, put_count, take_bytes, take_day, take_text, take_text_bytes,
    },
    counts::{Counts, Metric},
    plan::{Bucket, Direction, RowPlan, SortField},
};

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Row {
    /// First day of the bucket, also when it lies before the interval; `None` with [`Bucket::Whole`].
    pub(in crate::service) date: Option<civil::Date>,
    /// A value for each column, in the order of the plan.
    pub(in crate::service) values: Vec<String>,
    /// Its calls.
    pub(in crate::service) counts: Counts,
}

/// What a part of a key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The first day of the bucket.
    Date,
    /// The column at this place in the plan.
    Column(usize),
    /// A count; in sort keys only.
    Metric(Metric),
}

/// The parts of a plan's keys, in order.
#[derive(Debug, Clone)]
pub(super) struct KeyLayout {
    // Those of the sort key; the row key has all but the metrics.
    parts: Vec<(Part, Direction)>,
    columns: usize,
}

impl KeyLayout {
    pub(super) fn new(plan: &RowPlan) -> Self {
        let mut parts: Vec<(Part, Direction)> = Vec::new();
        let mut put = |part: Part, direction| {
            if parts.iter().all(|(known, _)| *known != part) {
                parts.push((part, direction));
            }
        };
        let has_date = plan.bucket != Bucket::Whole;
        for (field, direction) in &plan.sort {
            let part = match field {
                SortField::Date => has_date.then_some(Part::Date),
                SortField::Column(column) => {
                    plan.columns.iter().position(|known| known == column).map(Part::Column)
                }
                SortField::Metric(metric) => Some(Part::Metric(*metric)),
            };
            if let Some(part) = part {
                put(part, *direction);
            }
        }
        if has_date {
            put(Part::Date, Direction::Ascending);
        }
        for at in 0..plan.columns.len() {
            put(Part::Column(at), Direction::Ascending);
        }
        // Whatever follows date and all columns orders nothing, and a second sort would be in vain.
        while parts.pop_if(|(part, _)| matches!(part, Part::Metric(_))).is_some() {}
        Self { parts, columns: plan.columns.len() }
    }

    /// Whether sort keys differ from row keys.
    pub(super) fn sorts_by_metrics(&self) -> bool {
        self.parts.iter().any(|(part, _)| matches!(part, Part::Metric(_)))
    }

    /// The parts of the row key.
    pub(super) fn row_parts(&self) -> impl Iterator<Item = (Part, Direction)> {
        self.parts.iter().copied().filter(|(part, _)| !matches!(part, Part::Metric(_)))
    }

    /// Makes the sort key of a row in `sort_key`.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] if `row_key` is none.
    pub(super) fn write_sort_key(
        &self,
        mut row_key: &[u8],
        counts: &Counts,
        sort_key: &mut Vec<u8>,
    ) -> Result<(), RowsError> {
        sort_key.clear();
        for (part, direction) in &self.parts {
            match part {
                Part::Metric(metric) => put_count(sort_key, counts.metric(*metric), *direction),
                Part::Date => sort_key.extend_from_slice(take_bytes(&mut row_key, DAY_BYTES)?),
                Part::Column(_) => {
                    sort_key.extend_from_slice(take_text_bytes(&mut row_key, *direction)?);
                }
            }
        }
        Ok(())
    }

    /// Makes the row key of a sort key in `row_key`.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] if `sort_key` is none.
    pub(super) fn write_row_key(
        &self,
        mut sort_key: &[u8],
        row_key: &mut Vec<u8>,
    ) -> Result<(), RowsError> {
        row_key.clear();
        for (part, direction) in &self.parts {
            match part {
                Part::Metric(_) => _ = take_bytes(&mut sort_key, COUNT_BYTES)?,
                Part::Date => row_key.extend_from_slice(take_bytes(&mut sort_key, DAY_BYTES)?),
                Part::Column(_) => {
                    row_key.extend_from_slice(take_text_bytes(&mut sort_key, *direction)?);
                }
            }
        }
        Ok(())
    }

    /// The row of a row key.
    ///
    /// # Errors
    /// [`RowsError::Damaged`] if `key` is none, or one of another plan.
    pub(super) fn row(&self, mut key: &[u8], counts: Counts) -> Result<Row, RowsError> {
        let mut date = None;
        let mut values = vec![String::new(); self.columns];
        for (part, direction) in self.row_parts() {
            match part {
                Part::Date => date = Some(take_day(&mut key, direction)?.date()),
                Part::Column(at) => {
                    let value = values.get_mut(at).ok_or(RowsError::Damaged)?;
                    *value = take_text(&mut key, direction)?;
                }
                Part::Metric(_) => {}
            }
        }
        if key.is_empty() { Ok(Row { date, values, counts }) } else { Err(RowsError::Damaged) }
    }
}
