//! Charts of API usage.

use std::{collections::BTreeMap, io::Write};

use super::{
    calendar::first_days,
    report::ApiReport,
    words::{Granularity, Metric},
};
use crate::cli::{
    CommandResult,
    output::{chart, table::visible},
    terminal::{self, tell},
};

/// Draws a chart of one metric for every group, with a bar for every day, week or month, those without usage too.
pub(super) fn write(mut out: impl Write, report: &ApiReport, metric: Metric) -> CommandResult {
    if report.rows.is_empty() {
        tell(format_args!("no usage in {}", report.interval));
    }
    let mut charts: BTreeMap<Vec<&str>, BTreeMap<&str, u128>> = BTreeMap::new();
    for row in &report.rows {
        let count = u128::from(metric.of(row));
        charts.entry(report.shape.group(row)).or_default().insert(&row.date, count);
    }
    let granularity = report.shape.granularity();
    let label = if granularity == Granularity::Month { "%Y-%m" } else { "%Y-%m-%d" };
    let days = first_days(&report.interval, granularity);
    for (at, (group, counts)) in charts.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let title: Vec<&str> = group.iter().copied().filter(|part| !part.is_empty()).collect();
        if !title.is_empty() {
            writeln!(out, "{}", visible(&title.join(" / ")))?;
        }
        let bars: Vec<(String, u128)> = days
            .iter()
            .map(|day| {
                let count = counts.get(day.to_string().as_str()).copied().unwrap_or_default();
                (day.strftime(label).to_string(), count)
            })
            .collect();
        out.write_all(chart::bars(&bars, terminal::width(), terminal::colour()).as_bytes())?;
    }
    Ok(())
}
