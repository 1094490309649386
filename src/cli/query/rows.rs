//! The answer to a query, and its four forms.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

use crate::{
    api::pb::meterd::v1::{
        AssetUsageDimension, AssetUsageRow, Granularity, ProductUsageRow, UsageDimension,
    },
    cli::{
        CommandResult,
        output::{self, chart, grouped, table},
        terminal::{self, tell},
        wire_time,
    },
    domain::calendar::Buckets,
};

/// A row of the answer to a query: of product usage, or of asset usage.
pub(crate) trait UsageRow {
    /// What can be kept apart.
    type Dimension: Copy + Ord;
    /// The names of start, end and count for programs.
    const MEMBERS: [&'static str; 3];
    /// What is counted, for people.
    const COUNTED: &'static str;

    /// A dimension's name for people, and for programs.
    fn names(dimension: Self::Dimension) -> (&'static str, &'static str);
    /// Start and end for programs.
    fn bounds(&self) -> (String, String);
    /// A bound for people.
    fn local(bound: Option<Timestamp>, zone: &TimeZone) -> String;
    /// The bucket's first instant.
    fn start(&self) -> Option<Timestamp>;
    /// The first instant after it.
    fn end(&self) -> Option<Timestamp>;
    /// The value of a dimension.
    fn value(&self, dimension: Self::Dimension) -> &str;
    /// The sum, as a decimal number.
    fn quantity(&self) -> &str;
    /// How many were added.
    fn count(&self) -> u64;
}

/// All pages of an answer.
#[derive(Debug)]
pub(crate) struct Report<R: UsageRow> {
    dimensions: Vec<R::Dimension>,
    granularity: Granularity,
    interval: String,
    rows: Vec<R>,
    total_quantity: String,
    total_count: u64,
    as_of: String,
}

impl<R: UsageRow> Report<R> {
    /// An answer without any page yet.
    pub(super) fn new(
        mut dimensions: Vec<R::Dimension>,
        granularity: Granularity,
        interval: String,
    ) -> Self {
        // In one order, whatever order they were asked for in.
        dimensions.sort_unstable();
        dimensions.dedup();
        Self {
            dimensions,
            granularity,
            interval,
            rows: Vec::new(),
            total_quantity: String::new(),
            total_count: 0,
            as_of: String::new(),
        }
    }

    /// Adds the next page.
    pub(super) fn add(&mut self, page: Page<R>) {
        self.rows.extend(page.rows);
        self.total_quantity = page.total_quantity;
        self.total_count = page.total_count;
        self.as_of = page.as_of;
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &[R] {
        &self.rows
    }

    fn columns(&self) -> Vec<&'static str> {
        self.dimensions.iter().map(|dimension| R::names(*dimension).0).collect()
    }

    fn group<'a>(&self, row: &'a R) -> Vec<&'a str> {
        self.dimensions.iter().map(|dimension| row.value(*dimension)).collect()
    }

    /// A table, with a total for every group if there is more than one bucket.
    pub(crate) fn write_table(&self, mut out: impl Write, zone: &TimeZone) -> CommandResult {
        if self.rows.is_empty() {
            tell(format_args!("no usage in {}", self.interval));
            return Ok(());
        }
        let mut header = vec!["start", "end"];
        header.extend(self.columns());
        header.extend(["quantity", R::COUNTED]);
        let mut table = table::table(&header, &["quantity", R::COUNTED]);
        let mut sums: BTreeMap<Vec<&str>, (u128, u64)> = BTreeMap::new();
        for row in &self.rows {
            let group = self.group(row);
            let mut cells = vec![R::local(row.start(), zone), R::local(row.end(), zone)];
            cells.extend(group.iter().map(|part| (*part).to_owned()));
            cells.extend([grouped(quantity(row)), grouped(row.count())]);
            table.add_row(cells);
            let sum = sums.entry(group).or_default();
            *sum = (sum.0.saturating_add(quantity(row)), sum.1.saturating_add(row.count()));
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
        Ok(writeln!(out, "{} {} in all", grouped(self.total_count), R::COUNTED)?)
    }

    /// One JSON document.
    pub(super) fn write_json(&self, out: impl Write) -> CommandResult {
        let [start_name, end_name, count_name] = R::MEMBERS;
        let rows = self.rows.iter().map(|row| {
            let (start, end) = row.bounds();
            let mut members = Map::new();
            members.insert(start_name.into(), start.into());
            members.insert(end_name.into(), end.into());
            for dimension in &self.dimensions {
                let (_, name) = R::names(*dimension);
                members.insert(name.into(), row.value(*dimension).into());
            }
            members.insert("quantity".into(), row.quantity().into());
            members.insert(count_name.into(), row.count().into());
            Value::Object(members)
        });
        let mut report = Map::new();
        report.insert("interval".into(), self.interval.as_str().into());
        report.insert("rows".into(), rows.collect());
        report.insert("total_quantity".into(), self.total_quantity.as_str().into());
        report.insert(format!("total_{count_name}"), self.total_count.into());
        report.insert("as_of".into(), self.as_of.as_str().into());
        output::json_document(out, &report)
    }

    /// CSV with a header, for spreadsheets.
    pub(super) fn write_csv(&self, out: impl io::Write) -> CommandResult {
        let [start_name, end_name, count_name] = R::MEMBERS;
        let mut header = vec![start_name, end_name];
        header.extend(self.dimensions.iter().map(|dimension| R::names(*dimension).1));
        header.extend(["quantity", count_name]);
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let (start, end) = row.bounds();
                let mut cells = vec![start, end];
                cells.extend(self.group(row).into_iter().map(ToOwned::to_owned));
                cells.extend([row.quantity().to_owned(), row.count().to_string()]);
                cells
            })
            .collect();
        output::csv_report(out, Some(&header), rows)
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
            if let Some(start) = row.start() {
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
                writeln!(out, "{}", table::visible(&title.join(" / ")))?;
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
pub(crate) fn quantity(row: &impl UsageRow) -> u128 {
    row.quantity().parse().unwrap_or_default()
}

/// One page, of either kind.
pub(super) struct Page<R> {
    pub(super) rows: Vec<R>,
    pub(super) total_quantity: String,
    pub(super) total_count: u64,
    pub(super) as_of: String,
}

impl UsageRow for ProductUsageRow {
    type Dimension = UsageDimension;
    const MEMBERS: [&'static str; 3] = ["start_time", "end_time", "record_count"];
    const COUNTED: &'static str = "records";

    fn names(dimension: UsageDimension) -> (&'static str, &'static str) {
        match dimension {
            UsageDimension::Product => ("product", "product_id"),
            UsageDimension::ProductInstance => ("instance", "product_instance_id"),
            UsageDimension::Sku => ("sku", "sku_id"),
            UsageDimension::Client => ("client", "client_id"),
            UsageDimension::Unspecified => ("", ""),
        }
    }

    fn bounds(&self) -> (String, String) {
        (wire_time::text(self.start_time.as_ref()), wire_time::text(self.end_time.as_ref()))
    }

    fn local(bound: Option<Timestamp>, zone: &TimeZone) -> String {
        bound
            .map(|instant| instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
            .unwrap_or_default()
    }

    fn start(&self) -> Option<Timestamp> {
        wire_time::from_wire(self.start_time.as_ref())
    }

    fn end(&self) -> Option<Timestamp> {
        wire_time::from_wire(self.end_time.as_ref())
    }

    fn value(&self, dimension: UsageDimension) -> &str {
        match dimension {
            UsageDimension::Product => &self.product_id,
            UsageDimension::ProductInstance => &self.product_instance_id,
            UsageDimension::Sku => &self.sku_id,
            UsageDimension::Client => &self.client_id,
            UsageDimension::Unspecified => "",
        }
    }

    fn quantity(&self) -> &str {
        &self.quantity
    }

    fn count(&self) -> u64 {
        self.record_count
    }
}

impl UsageRow for AssetUsageRow {
    type Dimension = AssetUsageDimension;
    const MEMBERS: [&'static str; 3] = ["start_date", "end_date", "usage_count"];
    const COUNTED: &'static str = "usages";

    fn names(dimension: AssetUsageDimension) -> (&'static str, &'static str) {
        match dimension {
            AssetUsageDimension::Asset => ("asset", "asset_id"),
            AssetUsageDimension::Client => ("client", "client_id"),
            AssetUsageDimension::Unspecified => ("", ""),
        }
    }

    fn bounds(&self) -> (String, String) {
        (self.start_date.clone(), self.end_date.clone())
    }

    fn local(bound: Option<Timestamp>, zone: &TimeZone) -> String {
        bound.map(|instant| instant.to_zoned(zone.clone()).date().to_string()).unwrap_or_default()
    }

    fn start(&self) -> Option<Timestamp> {
        midnight(&self.start_date)
    }

    fn end(&self) -> Option<Timestamp> {
        midnight(&self.end_date)
    }

    fn value(&self, dimension: AssetUsageDimension) -> &str {
        match dimension {
            AssetUsageDimension::Asset => &self.asset_id,
            AssetUsageDimension::Client => &self.client_id,
            AssetUsageDimension::Unspecified => "",
        }
    }

    fn quantity(&self) -> &str {
        &self.quantity
    }

    fn count(&self) -> u64 {
        self.usage_count
    }
}

/// A date's first instant in UTC.
fn midnight(date: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = date.parse().ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
