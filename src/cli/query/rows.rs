//! The answer to a query, and its four forms.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    api::pb::meterd::v1::{
        Granularity, ProductUsageRow, QueryProductUsageRequest, QueryProductUsageResponse,
        UsageDimension,
    },
    cli::{
        CommandResult,
        output::{self, chart, grouped, table},
        terminal::{self, tell},
        wire_time,
    },
    domain::calendar::Buckets,
};

/// All pages of an answer.
#[derive(Debug)]
pub(crate) struct Report {
    dimensions: Vec<UsageDimension>,
    granularity: Granularity,
    interval: String,
    rows: Vec<ProductUsageRow>,
    total_quantity: String,
    total_record_count: u64,
    as_of_sequence: u64,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    interval: &'a str,
    rows: Vec<JsonRow<'a>>,
    total_quantity: &'a str,
    total_record_count: u64,
    as_of_sequence: u64,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    start_time: String,
    end_time: String,
    #[serde(flatten)]
    group: BTreeMap<&'static str, &'a str>,
    quantity: &'a str,
    record_count: u64,
}

impl Report {
    /// An answer to `request` without any page yet.
    pub(super) fn new(request: &QueryProductUsageRequest) -> Self {
        // In one order, whatever order they were asked for in.
        let mut dimensions: Vec<UsageDimension> = request.group_by().collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        Self {
            dimensions,
            granularity: request.granularity(),
            interval: request.interval.clone(),
            rows: Vec::new(),
            total_quantity: String::new(),
            total_record_count: 0,
            as_of_sequence: 0,
        }
    }

    /// Adds the next page.
    pub(super) fn add(&mut self, page: QueryProductUsageResponse) {
        self.rows.extend(page.rows);
        self.total_quantity = page.total_quantity;
        self.total_record_count = page.total_record_count;
        self.as_of_sequence = page.as_of_sequence;
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &[ProductUsageRow] {
        &self.rows
    }

    fn columns(&self) -> Vec<&'static str> {
        self.dimensions.iter().map(|dimension| name(*dimension)).collect()
    }

    fn group<'a>(&self, row: &'a ProductUsageRow) -> Vec<&'a str> {
        self.dimensions.iter().map(|dimension| value(*dimension, row)).collect()
    }

    /// A table, with a total for every group if there is more than one bucket.
    pub(crate) fn write_table(&self, mut out: impl Write, zone: &TimeZone) -> CommandResult {
        if self.rows.is_empty() {
            tell(format_args!("no usage in {}", self.interval));
            return Ok(());
        }
        let mut header = vec!["start", "end"];
        header.extend(self.columns());
        header.extend(["quantity", "records"]);
        let mut table = table::table(&header, &["quantity", "records"]);
        let mut sums: BTreeMap<Vec<&str>, (u128, u64)> = BTreeMap::new();
        for row in &self.rows {
            let group = self.group(row);
            let mut cells = vec![
                local(wire_time::from_wire(row.start_time.as_ref()), zone),
                local(wire_time::from_wire(row.end_time.as_ref()), zone),
            ];
            cells.extend(group.iter().map(|part| (*part).to_owned()));
            cells.extend([grouped(quantity(row)), grouped(row.record_count)]);
            table.add_row(cells);
            let sum = sums.entry(group).or_default();
            *sum = (sum.0.saturating_add(quantity(row)), sum.1.saturating_add(row.record_count));
        }
        if sums.len() < self.rows.len() {
            for (group, (quantity, records)) in &sums {
                let mut cells = vec!["total".to_owned(), String::new()];
                cells.extend(group.iter().map(|part| (*part).to_owned()));
                cells.extend([grouped(*quantity), grouped(*records)]);
                table.add_row(cells);
            }
        }
        out.write_all(table::render(&table).as_bytes())?;
        Ok(writeln!(out, "{} records in all", grouped(self.total_record_count))?)
    }

    /// One JSON document.
    pub(super) fn write_json(&self, out: impl Write) -> CommandResult {
        let rows = self.rows.iter().map(|row| JsonRow {
            start_time: wire_time::text(row.start_time.as_ref()),
            end_time: wire_time::text(row.end_time.as_ref()),
            group: self
                .dimensions
                .iter()
                .map(|dimension| (column(*dimension), value(*dimension, row)))
                .collect(),
            quantity: &row.quantity,
            record_count: row.record_count,
        });
        let report = JsonReport {
            interval: &self.interval,
            rows: rows.collect(),
            total_quantity: &self.total_quantity,
            total_record_count: self.total_record_count,
            as_of_sequence: self.as_of_sequence,
        };
        output::json_document(out, &report)
    }

    /// CSV with a header.
    pub(super) fn write_csv(&self, out: impl io::Write) -> CommandResult {
        let mut header = vec!["start_time", "end_time"];
        header.extend(self.dimensions.iter().map(|dimension| column(*dimension)));
        header.extend(["quantity", "record_count"]);
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let mut cells = vec![
                    wire_time::text(row.start_time.as_ref()),
                    wire_time::text(row.end_time.as_ref()),
                ];
                cells.extend(self.group(row).into_iter().map(ToOwned::to_owned));
                cells.extend([row.quantity.clone(), row.record_count.to_string()]);
                cells
            })
            .collect();
        output::csv_rows(out, Some(&header), &rows)
    }

    /// A chart for every group, with a bar for every bucket, those without usage too.
    pub(crate) fn write_chart(
        &self,
        mut out: impl Write,
        buckets: &Buckets,
        zone: &TimeZone,
    ) -> CommandResult {
        if self.rows.is_empty() {
            tell(format_args!("no usage in {}", self.interval));
        }
        let mut charts: BTreeMap<Vec<&str>, BTreeMap<Timestamp, u128>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(start) = wire_time::from_wire(row.start_time.as_ref()) {
                charts.entry(self.group(row)).or_default().insert(start, quantity(row));
            }
        }
        let starts: Vec<Timestamp> = (0..buckets.count())
            .filter_map(|index| buckets.bounds(index))
            .map(|(start, _)| start)
            .collect();
        for (at, (group, quantities)) in charts.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            let title: Vec<&str> = group.iter().copied().filter(|part| !part.is_empty()).collect();
            if !title.is_empty() {
                writeln!(out, "{}", title.join(" / "))?;
            }
            let bars: Vec<(String, u128)> = starts
                .iter()
                .map(|start| {
                    let quantity = quantities.get(start).copied().unwrap_or_default();
                    (self.label(*start, zone), quantity)
                })
                .collect();
            out.write_all(chart::bars(&bars, terminal::width(), terminal::colour()).as_bytes())?;
        }
        Ok(())
    }

    fn label(&self, start: Timestamp, zone: &TimeZone) -> String {
        let form = match self.granularity {
            Granularity::Day | Granularity::Week => "%Y-%m-%d",
            Granularity::Month => "%Y-%m",
            Granularity::Hour | Granularity::Total | Granularity::Unspecified => "%Y-%m-%d %H:%M",
        };
        start.to_zoned(zone.clone()).strftime(form).to_string()
    }
}

/// The quantity of a row.
pub(crate) fn quantity(row: &ProductUsageRow) -> u128 {
    row.quantity.parse().unwrap_or_default()
}

fn local(instant: Option<Timestamp>, zone: &TimeZone) -> String {
    instant
        .map(|instant| instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
        .unwrap_or_default()
}

fn name(dimension: UsageDimension) -> &'static str {
    match dimension {
        UsageDimension::Product => "product",
        UsageDimension::ProductInstance => "instance",
        UsageDimension::Sku => "sku",
        UsageDimension::Client => "client",
        UsageDimension::Unspecified => "",
    }
}

fn column(dimension: UsageDimension) -> &'static str {
    match dimension {
        UsageDimension::Product => "product_id",
        UsageDimension::ProductInstance => "product_instance_id",
        UsageDimension::Sku => "sku_id",
        UsageDimension::Client => "client_id",
        UsageDimension::Unspecified => "",
    }
}

fn value(dimension: UsageDimension, row: &ProductUsageRow) -> &str {
    match dimension {
        UsageDimension::Product => &row.product_id,
        UsageDimension::ProductInstance => &row.product_instance_id,
        UsageDimension::Sku => &row.sku_id,
        UsageDimension::Client => &row.client_id,
        UsageDimension::Unspecified => "",
    }
}
