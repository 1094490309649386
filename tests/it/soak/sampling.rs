//! Memory and descriptors of a process over time.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Samples of one server.
pub struct Samples {
    process: PathBuf,
    began: Instant,
    taken: Mutex<Vec<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    records: u64,
    memory: u64,
    descriptors: usize,
}

/// How a server was, from its start to its end.
pub struct Life {
    pub records: u64,
    /// Median of the last quarter of its time, in bytes.
    pub memory: u64,
    /// At most.
    pub descriptors: usize,
    lasted: Duration,
    /// Bytes a second, in the last half of its time, and what came to be remembered in that.
    growth: f64,
    records_per_second: f64,
}

impl Samples {
    pub fn begin(process: u32) -> Self {
        let process = PathBuf::from(format!("/proc/{process}"));
        Self { process, began: Instant::now(), taken: Mutex::default() }
    }

    /// Adds a sample.
    pub fn take(&self, records: u64) {
        let status = std::fs::read_to_string(self.process.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        let descriptors = std::fs::read_dir(self.process.join("fd")).unwrap().count();
        let at = self.began.elapsed();
        self.taken.lock().push(Sample { at, records, memory: kibibytes << 10, descriptors });
    }

    pub fn end(self, records: u64) -> Life {
        self.take(records);
        let lasted = self.began.elapsed();
        let taken = self.taken.into_inner();
        let since = |part: u32| -> Vec<Sample> {
            taken.iter().filter(|sample| sample.at >= lasted - lasted / part).copied().collect()
        };
        let mut settled: Vec<u64> = since(4).iter().map(|sample| sample.memory).collect();
        settled.sort_unstable();
        let half = since(2);
        let slope_of = |value: fn(&Sample) -> u64| {
            slope(half.iter().map(|sample| (sample.at.as_secs_f64(), value(sample) as f64)))
        };
        Life {
            records,
            memory: settled[settled.len() / 2],
            descriptors: taken.iter().map(|sample| sample.descriptors).max().unwrap(),
            lasted,
            growth: slope_of(|sample| sample.memory),
            records_per_second: slope_of(|sample| sample.records),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} s, {} records in all, {:.0} MiB at the end ({:+.0} KiB/s at {:.0} records/s), at most {} \
             descriptors",
            self.lasted.as_secs_f64(),
            self.records,
            self.memory as f64 / 1048576.0,
            self.growth / 1024.0,
            self.records_per_second,
            self.descriptors
        )
    }
}

/// How memory grew from life to life.
pub fn growth(lives: &[Life]) -> String {
    let per_record = slope(lives.iter().map(|life| (life.records as f64, life.memory as f64)));
    let descriptors: Vec<usize> = lives.iter().map(|life| life.descriptors).collect();
    format!("{per_record:.2} bytes of memory for each record, descriptors {descriptors:?}")
}

/// Least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count().max(1) as f64;
    let mean_x = points.clone().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.clone().map(|(_, y)| y).sum::<f64>() / count;
    let above: f64 = points.clone().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.map(|(x, _)| (x - mean_x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below }
}

#[test]
fn a_line_has_its_slope() {
    let line = [(0.0, 5.0), (2.0, 9.0), (3.0, 11.0)];
    assert!((slope(line.into_iter()) - 2.0).abs() < 1e-9);
    assert!(slope([(1.0, 1.0)].into_iter()).abs() < 1e-9);
}
