//! What came of a run, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{measure::Counts, options::Workload, server_figures::ServerFigures, verdict::Tally};
use crate::cli::output::{grouped, table};

/// What a run gives to report.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) workload: Workload,
    pub(super) records_per_second: Option<f64>,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) not_started: u64,
    pub(super) unanswered: u64,
    /// At the beginning and at the end of what was measured.
    pub(super) server: Option<(ServerFigures, ServerFigures)>,
    /// Before anything was stored, and after the last answer.
    pub(super) first: Option<ServerFigures>,
    pub(super) last: Option<ServerFigures>,
    /// Records that were stored in between.
    pub(super) stored: u64,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    #[serde(flatten)]
    pub(super) workload: Workload,
    /// Of an open loop; `null` in a closed one.
    pub(super) rate_records_per_second: Option<f64>,
    pub(super) measured_seconds: f64,
    pub(super) interrupted: bool,
    pub(super) throughput: Throughput,
    pub(super) latency_ms: Latency,
    pub(super) verdicts: Verdicts,
    /// Failed calls by code.
    pub(super) failures: BTreeMap<String, u64>,
    /// Scheduled calls that no caller was free for.
    pub(super) calls_not_started: u64,
    pub(super) server: Option<ServerUse>,
    #[serde(skip)]
    pub(super) tally: Tally,
}

/// Of the measured time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Throughput {
    pub(super) records_per_second: f64,
    pub(super) calls_per_second: f64,
    pub(super) records: u64,
    pub(super) calls: u64,
}

/// From the intended start to the answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

/// Of all answered calls, the warm-up included.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdicts {
    pub(super) records: u64,
    pub(super) expected_accepted: u64,
    pub(super) expected_duplicates: u64,
    /// Sent again after their call had failed, so that either verdict is right.
    pub(super) expected_either: u64,
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) wrong: u64,
    /// Records of calls that failed in the end: stored or not, nobody knows.
    pub(super) unanswered: u64,
}

/// What the server's process used.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ServerUse {
    pub(super) cpu_seconds_per_million_records: Option<f64>,
    pub(super) cpu_cores: Option<f64>,
    pub(super) process_write_bytes_per_record: Option<f64>,
    pub(super) device_write_bytes_per_record: Option<f64>,
    pub(super) disk_bytes_per_stored_record: Option<f64>,
    pub(super) rss_bytes: Option<u64>,
    pub(super) rss_peak_bytes: Option<u64>,
}

impl Outcome {
    pub(super) fn new(measured: Measured) -> Self {
        let Counts { latency, calls, records, tally } = &measured.counts;
        let per_second = |number: u64| number as f64 / measured.seconds.max(0.001);
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        let at = |quantile| milliseconds(latency.value_at_quantile(quantile));
        Self {
            workload: measured.workload,
            rate_records_per_second: measured.records_per_second,
            measured_seconds: measured.seconds,
            interrupted: measured.interrupted,
            throughput: Throughput {
                records_per_second: per_second(*records),
                calls_per_second: per_second(*calls),
                records: *records,
                calls: *calls,
            },
            latency_ms: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p99_9: at(0.999),
                max: milliseconds(latency.max()),
            },
            verdicts: Verdicts {
                records: tally.new + tally.repeated + tally.uncertain,
                expected_accepted: tally.new,
                expected_duplicates: tally.repeated,
                expected_either: tally.uncertain,
                accepted: tally.accepted,
                duplicates: tally.duplicates,
                wrong: tally.wrong,
                unanswered: measured.unanswered,
            },
            failures: tally
                .failures
                .iter()
                .map(|(code, (calls, _))| (code.clone(), *calls))
                .collect(),
            calls_not_started: measured.not_started,
            server: ServerUse::new(&measured),
            tally: tally.clone(),
        }
    }

    /// A table, and below it what is out of the ordinary.
    pub(super) fn text(&self) -> String {
        let mut rows = table::table(&["figure", "value", "unit"], &["value"]);
        let mut row = |name: &str, value: String, unit: &str| {
            rows.add_row([name.to_owned(), value, unit.to_owned()]);
        };
        if let Some(rate) = self.rate_records_per_second {
            row("intended", whole(rate), "records/s");
        }
        row("throughput", whole(self.throughput.records_per_second), "records/s");
        row("", whole(self.throughput.calls_per_second), "calls/s");
        let Latency { p50, p90, p99, p99_9, max } = self.latency_ms;
        for (name, value) in
            [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p99_9), ("max", max)]
        {
            row(&format!("latency {name}"), format!("{value:.3}"), "ms");
        }
        row("accepted", grouped(self.verdicts.accepted), "records");
        row("duplicates", grouped(self.verdicts.duplicates), "records");
        if let Some(server) = &self.server {
            server.rows(&mut row);
        }
        let mut text = table::render(&rows);
        self.notes(&mut text);
        text
    }

    fn notes(&self, text: &mut String) {
        let verdicts = &self.verdicts;
        if verdicts.wrong == 0 {
            let _ = writeln!(
                text,
                "all {} verdicts are the expected ones, those of the warm-up included",
                grouped(verdicts.records)
            );
        }
        if verdicts.expected_either > 0 {
            let _ = writeln!(
                text,
                "{} records were sent again because their call had failed",
                grouped(verdicts.expected_either)
            );
        }
        if verdicts.unanswered > 0 {
            let _ = writeln!(
                text,
                "{} records were sent and not answered: stored or not, nobody knows",
                grouped(verdicts.unanswered)
            );
        }
        for (code, (calls, message)) in &self.tally.failures {
            let _ = writeln!(text, "{} calls failed with {code}: {message}", grouped(*calls));
        }
        if self.calls_not_started > 0 {
            let _ = writeln!(
                text,
                "{} calls were due and never started, because all callers were waiting: they count with the time \
                 until the end",
                grouped(self.calls_not_started)
            );
        }
        if self.interrupted {
            let _ = writeln!(text, "interrupted after {:.1} s of measuring", self.measured_seconds);
        }
    }
}

impl ServerUse {
    fn new(measured: &Measured) -> Option<Self> {
        let (before, after) = measured.server?;
        let last = measured.last?;
        let records = measured.counts.records.max(1) as f64;
        let grown = |read: fn(&ServerFigures) -> Option<u64>| {
            Some(read(&after)?.saturating_sub(read(&before)?) as f64 / records)
        };
        let cpu = after.cpu_seconds.zip(before.cpu_seconds).map(|(after, before)| after - before);
        let disk = || {
            let grown = last.disk_bytes?.saturating_sub(measured.first?.disk_bytes?);
            Some(grown as f64 / measured.stored.max(1) as f64)
        };
        Some(Self {
            cpu_seconds_per_million_records: cpu.map(|cpu| cpu / records * 1e6),
            cpu_cores: cpu.map(|cpu| cpu / measured.seconds.max(0.001)),
            process_write_bytes_per_record: grown(|figures| figures.dirtied_bytes),
            device_write_bytes_per_record: grown(|figures| figures.device_bytes),
            disk_bytes_per_stored_record: disk(),
            rss_bytes: last.rss_bytes,
            rss_peak_bytes: last.rss_peak_bytes,
        })
    }

    fn rows(&self, row: &mut impl FnMut(&str, String, &str)) {
        let mut rounded = |name: &str, value: Option<f64>, digits: usize, unit: &str| {
            if let Some(value) = value {
                row(name, format!("{value:.digits$}"), unit);
            }
        };
        rounded("server CPU", self.cpu_seconds_per_million_records, 2, "s per million records");
        rounded("", self.cpu_cores, 2, "cores");
        let written = self.process_write_bytes_per_record;
        rounded("written by the server", written, 0, "bytes/record (pages dirtied, /proc/PID/io)");
        let written = self.device_write_bytes_per_record;
        rounded("written to the device", written, 0, "bytes/record (by all processes)");
        rounded("on disk", self.disk_bytes_per_stored_record, 0, "bytes/record stored");
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
        rounded("server RSS", mebibytes(self.rss_bytes), 0, "MiB at the end");
        rounded("", mebibytes(self.rss_peak_bytes), 0, "MiB at most");
    }
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}
