//! Plans, keys, records and pages of rows, made up and damaged.

use super::{
    Bucket, Column, Direction, Metric, PageRows, Row, RowPlan, RowsError, SortField,
    component::{day_bytes, put_text},
    counts::{CLASSES, Counts},
    key::{KeyLayout, Part},
    page::PageWriter,
    record::{ROW_KEY_BYTES_MAX, put_record, take_record},
};
use crate::domain::{
    asset_usage::UsageDay,
    fuzzing::{Choices, damaged, made_up},
};

const COLUMNS: [Column; 6] = [
    Column::ClientId,
    Column::ClientName,
    Column::UserId,
    Column::TemplateUri,
    Column::HttpMethod,
    Column::Platform,
];
const METRICS: [Metric; 6] = [
    Metric::Requests,
    Metric::Status200,
    Metric::Status300,
    Metric::Status400,
    Metric::Status429,
    Metric::Status500,
];

/// Any plan.
pub(in crate::service) fn plan(choices: &mut Choices<'_>) -> RowPlan {
    let mut columns = COLUMNS.to_vec();
    columns.rotate_left(choices.pick(COLUMNS.len()));
    columns.truncate(choices.pick(COLUMNS.len() + 1));
    let field = |choices: &mut Choices<'_>| match choices.pick(3) {
        0 => SortField::Date,
        1 => SortField::Column(choices.of(&COLUMNS)),
        _ => SortField::Metric(choices.of(&METRICS)),
    };
    let sort = (0..choices.pick(6))
        .map(|_| (field(choices), choices.of(&[Direction::Ascending, Direction::Descending])))
        .collect();
    let bucket = choices.of(&[Bucket::Day, Bucket::Week, Bucket::Month, Bucket::Whole]);
    RowPlan { bucket, columns, sort, rows_max: choices.number() }
}

fn counts(choices: &mut Choices<'_>) -> Counts {
    let by_class = [(); CLASSES].map(|()| match choices.pick(8) {
        0..4 => 0,
        4 => u128::from(choices.number()) << choices.pick(64),
        _ => choices.number().into(),
    });
    Counts::from_classes(by_class)
}

fn key_of(layout: &KeyLayout, row: &Row) -> Vec<u8> {
    let mut key = Vec::new();
    for (part, direction) in layout.row_parts() {
        match part {
            Part::Date => {
                let day = UsageDay::of(row.date.expect("rows of this plan have a date"));
                key.extend_from_slice(&day_bytes(day, direction));
            }
            Part::Column(at) => {
                put_text(&mut key, row.values.get(at).expect("a value for a column"), direction);
            }
            Part::Metric(_) => {}
        }
    }
    key
}

fn pages(layout: &KeyLayout, rows: &[Row]) -> Vec<(u64, Vec<u8>)> {
    let mut pages = Vec::new();
    let mut writer = PageWriter::new(|first, page| {
        pages.push((first, page));
        Ok::<_, RowsError>(())
    });
    for row in rows {
        writer.push(&key_of(layout, row), &row.counts).expect("pages are only collected");
    }
    assert_eq!(writer.finish().ok(), Some(rows.len() as u64));
    pages
}

fn read(plan: &RowPlan, page: &[u8]) -> Result<Vec<Row>, RowsError> {
    PageRows::open(plan, page)?.collect()
}

/// Rows read back from their pages.
pub(in crate::service) fn rows(choices: &mut Choices<'_>) {
    let plan = plan(choices);
    let layout = KeyLayout::new(&plan);
    let has_date = plan.bucket != Bucket::Whole;
    let count = if choices.once_in(8) { 300 } else { choices.pick(16) };
    let rows: Vec<Row> = (0..count)
        .map(|_| Row {
            date: has_date.then(|| made_up::day(choices).date()),
            values: plan.columns.iter().map(|_| made_up::name(choices)).collect(),
            counts: counts(choices),
        })
        .collect();
    let (mut sort_key, mut row_key) = (Vec::new(), Vec::new());
    for row in &rows {
        let key = key_of(&layout, row);
        layout.write_sort_key(&key, &row.counts, &mut sort_key).expect("the key of a row");
        layout.write_row_key(&sort_key, &mut row_key).expect("the sort key of a row");
        assert_eq!(row_key, key);
    }
    let pages = pages(&layout, &rows);
    let mut found = Vec::new();
    for (first, page) in &pages {
        assert_eq!(*first, found.len() as u64);
        found.extend(read(&plan, page).expect("a page"));
    }
    assert_eq!(found, rows);
    if let Some((_, page)) = pages.into_iter().next() {
        page_of(&plan, &damaged(page, choices));
    }
}

/// Any bytes as a page.
pub(in crate::service) fn page(choices: &mut Choices<'_>) {
    let plan = plan(choices);
    page_of(&plan, choices.rest());
}

fn page_of(plan: &RowPlan, page: &[u8]) {
    let layout = KeyLayout::new(plan);
    let Ok(rows) = read(plan, page) else { return };
    if rows.iter().any(|row| key_of(&layout, row).len() > ROW_KEY_BYTES_MAX) {
        return;
    }
    let again = pages(&layout, &rows);
    let mut found = Vec::new();
    for (_, page) in &again {
        found.extend(read(plan, page).expect("a page"));
    }
    assert_eq!(found, rows);
    for passed in 0..rows.len().min(4) {
        let mut rest = PageRows::open(plan, page).expect("it was opened before");
        rest.pass_over(passed as u64).expect("all of them can be read");
        assert_eq!(rest.next().and_then(Result::ok).as_ref(), rows.get(passed));
    }
}

/// Any bytes as records, one after the other.
pub(in crate::service) fn record(choices: &mut Choices<'_>) {
    let mut input = choices.rest();
    let (mut key, mut before) = (Vec::new(), Vec::new());
    while let Ok(counts) = take_record(&mut input, &mut key) {
        let mut again = Vec::new();
        put_record(&mut again, &before, &key, &counts);
        let mut read = before.clone();
        assert_eq!(take_record(&mut again.as_slice(), &mut read).ok(), Some(counts));
        assert_eq!(read, key);
        before.clone_from(&key);
    }
}
