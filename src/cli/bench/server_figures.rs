//! What a server's process used, as the kernel tells it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// `/proc/PID/stat` counts in hundredths of a second, on every architecture that meterd runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Of `st_blocks` and of the statistics of block devices, whatever the device's own.
const BLOCK_BYTES: u64 = 512;

/// Counters at one moment. What the system does not tell is missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServerFigures {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) rss_bytes: Option<u64>,
    pub(super) rss_peak_bytes: Option<u64>,
    /// `write_bytes` of `/proc/PID/io`: pages that the process dirtied. More than what reaches a device if pages are
    /// larger than what is written into them.
    pub(super) dirtied_bytes: Option<u64>,
    /// Written to the device of the data directory, by anybody.
    pub(super) device_bytes: Option<u64>,
    /// Blocks that the data directory takes.
    pub(super) disk_bytes: Option<u64>,
}

impl ServerFigures {
    /// Those of a process, and of its data directory if it has one.
    pub(super) fn read(process: u32, data_dir: Option<&Path>) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let kibibytes = |name| member(&status, name).map(|number| number * 1024);
        Self {
            cpu_seconds: cpu_seconds(&stat),
            rss_bytes: kibibytes("VmRSS:"),
            rss_peak_bytes: kibibytes("VmHWM:"),
            dirtied_bytes: data_dir.and_then(|_| member(&io, "write_bytes:")),
            device_bytes: data_dir.and_then(device_bytes),
            disk_bytes: data_dir.map(disk_bytes),
        }
    }
}

/// User and system time of all threads, also of those that have ended.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name of the program may hold anything, also blanks and brackets; it ends with the last bracket.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut numbers = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = numbers.next()?.parse().ok()?;
    let system: u64 = numbers.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The number of a line `name: number …`.
fn member(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn device_bytes(data_dir: &Path) -> Option<u64> {
    let device = fs::metadata(data_dir).ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * BLOCK_BYTES)
}

fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    // Files come and go meanwhile.
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1519 0 0 0 150 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn this_process_has_figures() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), vec![1; 100_000]).unwrap();
        let figures = ServerFigures::read(std::process::id(), Some(directory.path()));
        assert!(figures.cpu_seconds.is_some());
        assert!(figures.rss_bytes <= figures.rss_peak_bytes && figures.rss_bytes > Some(100_000));
        let without = ServerFigures::read(std::process::id(), None);
        assert_eq!((without.disk_bytes, without.device_bytes), (None, None));
    }
}
