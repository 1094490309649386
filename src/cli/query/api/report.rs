//! The answer to a query of API usage, as a table, JSON or CSV.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap::ValueEnum as _;
use serde_json::{Map, Value};

use super::words::{Granularity, Group, Metric, SortField, name};
use crate::{
    api::pb::meterd::v1::OrganizationUsage,
    cli::{
        CommandResult,
        output::{self, grouped, table},
        terminal::tell,
    },
    domain::interval::HalfOpenInterval,
};

/// What rows consist of.
pub(super) struct Shape {
    groups: Vec<Group>,
    metrics: Vec<Metric>,
    granularity: Granularity,
}

impl Shape {
    /// Columns are in one order, whatever order they were asked for in. No metrics are all of them.
    pub(super) fn new(groups: &[Group], metrics: &[Metric], granularity: Granularity) -> Self {
        let metrics = if metrics.is_empty() { Metric::value_variants() } else { metrics };
        let (mut groups, mut metrics) = (groups.to_vec(), metrics.to_vec());
        groups.sort_unstable();
        groups.dedup();
        metrics.sort_unstable();
        metrics.dedup();
        Self { groups, metrics, granularity }
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    pub(super) fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Whether rows can be in the order of a field.
    pub(super) fn has(&self, field: SortField) -> bool {
        match field {
            SortField::Date => true,
            SortField::Group(group) => self.groups.contains(&group),
            SortField::Metric(metric) => self.metrics.contains(&metric),
        }
    }

    /// The names of what they can be in the order of, which are those of a table's columns, too.
    pub(super) fn sort_fields(&self) -> Vec<String> {
        let mut names = vec!["date".to_owned()];
        names.extend(self.groups.iter().map(name));
        names.extend(self.metrics.iter().map(name));
        names
    }

    /// What tells a row apart from others of its date.
    pub(super) fn group<'a>(&self, row: &'a OrganizationUsage) -> Vec<&'a str> {
        self.groups.iter().map(|group| group.of(row)).collect()
    }
}

/// All rows that were asked for.
pub(super) struct ApiReport {
    pub(super) shape: Shape,
    pub(super) interval: HalfOpenInterval,
    pub(super) rows: Vec<OrganizationUsage>,
    /// How many there are; some may be left out.
    pub(super) row_count: u64,
}

impl ApiReport {
    /// A table, with a total for every group if there is more than one date and no row is left out.
    pub(super) fn write_table(&self, mut out: impl Write) -> CommandResult {
        if self.rows.is_empty() {
            tell(format_args!("no usage in {}", self.interval));
            return Ok(());
        }
        let Shape { groups, metrics, .. } = &self.shape;
        let header = self.shape.sort_fields();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = table::table(&header, header.get(1 + groups.len()..).unwrap_or_default());
        let mut sums: BTreeMap<Vec<&str>, Vec<u128>> = BTreeMap::new();
        for row in &self.rows {
            let group = self.shape.group(row);
            let counts: Vec<u128> =
                metrics.iter().map(|metric| u128::from(metric.of(row))).collect();
            table.add_row(cells(&row.date, &group, &counts));
            let sum = sums.entry(group).or_insert_with(|| vec![0; counts.len()]);
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let is_whole = self.row_count == self.rows.len() as u64;
        if is_whole && sums.len() < self.rows.len() {
            for (group, sum) in &sums {
                table.add_row(cells("total", group, sum));
            }
        }
        out.write_all(table::render(&table).as_bytes())?;
        if is_whole && metrics.contains(&Metric::Requests) {
            let requests: u128 =
                self.rows.iter().map(|row| u128::from(Metric::Requests.of(row))).sum();
            writeln!(out, "{} requests in all", grouped(requests))?;
        }
        Ok(())
    }

    /// One JSON document.
    pub(super) fn write_json(&self, out: impl Write) -> CommandResult {
        let Shape { groups, metrics, granularity } = &self.shape;
        let rows = self.rows.iter().map(|row| {
            let mut members = Map::new();
            members.insert("date".into(), row.date.as_str().into());
            for group in groups {
                members.insert(group.member().into(), group.of(row).into());
            }
            for metric in metrics {
                members.insert(metric.member().into(), metric.of(row).into());
            }
            if row.counts_saturated == Some(true) {
                members.insert("counts_saturated".into(), true.into());
            }
            Value::Object(members)
        });
        let mut report = Map::new();
        report.insert("interval".into(), self.interval.to_string().into());
        report.insert("granularity".into(), name(granularity).into());
        report.insert("rows".into(), rows.collect());
        report.insert("row_count".into(), self.row_count.into());
        output::json_document(out, &report)
    }
}

fn cells(date: &str, group: &[&str], counts: &[u128]) -> Vec<String> {
    let mut cells = vec![date.to_owned()];
    cells.extend(group.iter().map(|part| (*part).to_owned()));
    cells.extend(counts.iter().map(|count| grouped(*count)));
    cells
}

/// Writes some rows as CSV, with a header if they are the first.
pub(super) fn write_csv_page(
    out: impl io::Write,
    shape: &Shape,
    rows: &[OrganizationUsage],
    header: bool,
) -> CommandResult {
    let mut names = vec!["date"];
    names.extend(shape.groups.iter().map(|group| group.member()));
    names.extend(shape.metrics.iter().map(|metric| metric.member()));
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![row.date.clone()];
            cells.extend(shape.group(row).into_iter().map(ToOwned::to_owned));
            cells.extend(shape.metrics.iter().map(|metric| metric.of(row).to_string()));
            cells
        })
        .collect();
    output::csv_report(out, header.then_some(names.as_slice()), rows)
}
