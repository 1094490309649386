//! Keeps a part of the disk free for usage: below it, everything that is not a write of usage stops.
//!
//! A store that cannot write is poisoned until it is restarted, whoever filled the disk. So results of queries and the
//! files that they sort in are only written above the reserve, and what they are refused for names it.

use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Log lines about the reserve are at least this far apart.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Upper bound of the reserve that nobody chose.
const RESERVE_BYTES_DEFAULT_MAX: u64 = 1 << 30;

/// Its part of the filesystem, in percent.
const RESERVE_PERCENT_DEFAULT: u8 = 5;

/// The space of a filesystem, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What may still be written by this process.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Tells how much space there is.
pub trait DiskSpaceSource: fmt::Debug + Send + Sync + 'static {
    /// The space at this moment.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self) -> io::Result<DiskSpace>;
}

/// The filesystem of a directory.
#[derive(Debug, Clone)]
pub struct Filesystem(pub PathBuf);

impl DiskSpaceSource for Filesystem {
    fn read(&self) -> io::Result<DiskSpace> {
        let found = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // Not `f_bfree`: a part of that is for root alone.
        Ok(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

/// A disk whose space is what it is told, for tests and simulations.
#[derive(Debug)]
pub struct ManualDiskSpace(Mutex<DiskSpace>);

impl ManualDiskSpace {
    /// Begins with this much space.
    #[must_use]
    pub fn new(free: u64, total: u64) -> Self {
        Self(Mutex::new(DiskSpace { free, total }))
    }

    /// Sets what is free.
    pub fn set_free(&self, free: u64) {
        self.0.lock().free = free;
    }
}

impl DiskSpaceSource for ManualDiskSpace {
    fn read(&self) -> io::Result<DiskSpace> {
        Ok(*self.0.lock())
    }
}

/// How much is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReserveSize {
    /// 1 GiB, or 5 % of the filesystem if that is less.
    #[default]
    Default,
    /// A number of bytes; none for no reserve.
    Bytes(u64),
    /// A part of the filesystem, in percent.
    Percent(u8),
}

impl ReserveSize {
    /// The bytes of a filesystem of `total` bytes that are reserved.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        let percent = |percent: u8| total / 100 * u64::from(percent);
        match self {
            Self::Default => percent(RESERVE_PERCENT_DEFAULT).min(RESERVE_BYTES_DEFAULT_MAX),
            Self::Bytes(bytes) => bytes,
            Self::Percent(part) => percent(part),
        }
    }
}

/// What was found when it was last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReserveReading {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that are reserved.
    pub reserve: u64,
}

impl ReserveReading {
    /// Whether less is free than is reserved.
    #[must_use]
    pub fn is_below(&self) -> bool {
        self.free < self.reserve
    }
}

impl fmt::Display for ReserveReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "the disk has {:.1} MiB free and {:.1} MiB are reserved for usage (--disk-reserve)",
            mebibytes(self.free),
            mebibytes(self.reserve)
        )
    }
}

/// Less is free than is reserved for usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: nothing else is written until there is more; free or add space, or lower the reserve"
)]
pub struct BelowReserve(pub ReserveReading);

#[derive(Debug, Default)]
struct State {
    latest: Option<ReserveReading>,
    // What the log was last told, and when.
    logged_below: bool,
    logged: Option<Instant>,
}

/// The reserve of a disk.
#[derive(Debug)]
pub struct DiskReserve {
    source: Arc<dyn DiskSpaceSource>,
    size: ReserveSize,
    state: Mutex<State>,
}

impl DiskReserve {
    /// Reserves a part of the space that `source` tells of.
    #[must_use]
    pub fn new(source: Arc<dyn DiskSpaceSource>, size: ReserveSize) -> Self {
        Self { source, size, state: Mutex::default() }
    }

    /// Reserves nothing, on a disk without bounds.
    #[must_use]
    pub fn off() -> Arc<Self> {
        let source = Arc::new(ManualDiskSpace::new(u64::MAX, u64::MAX));
        Arc::new(Self::new(source, ReserveSize::Bytes(0)))
    }

    /// Fails while less is free than is reserved. Asks the system each time, which takes about a microsecond. Space that
    /// cannot be read is not held against anybody.
    ///
    /// # Errors
    /// [`BelowReserve`].
    pub fn check(&self) -> Result<(), BelowReserve> {
        match self.observe() {
            Some(reading) if reading.is_below() => Err(BelowReserve(reading)),
            _ => Ok(()),
        }
    }

    /// Looks how much is free, and logs when the reserve begins to be used and when that ends.
    pub fn observe(&self) -> Option<ReserveReading> {
        let read = self.source.read();
        let mut state = self.state.lock();
        let may_log = state.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        let reading = match read {
            Ok(DiskSpace { free, total }) => ReserveReading { free, reserve: self.size.of(total) },
            Err(error) => {
                if may_log {
                    state.logged = Some(Instant::now());
                    tracing::warn!(%error, "the free space of the disk cannot be read");
                }
                state.latest = None;
                return None;
            }
        };
        state.latest = Some(reading);
        let below = reading.is_below();
        if below != state.logged_below && may_log {
            (state.logged_below, state.logged) = (below, Some(Instant::now()));
            drop(state);
            if below {
                tracing::warn!("{}", BelowReserve(reading));
            } else {
                tracing::info!("{reading}: everything is written again");
            }
        }
        Some(reading)
    }

    /// What was found when it was last looked; `None` if the space could not be read.
    #[must_use]
    pub fn latest(&self) -> Option<ReserveReading> {
        self.state.lock().latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_reserve_is_the_smaller_of_a_gibibyte_and_a_part() {
        for (total, reserve) in [(400 << 20, 20 << 20), (21 << 30, 1 << 30), (8 << 40, 1 << 30)] {
            let found = ReserveSize::Default.of(total);
            assert!(found <= reserve && reserve - found < 100, "{total}: {found}");
        }
        assert_eq!(ReserveSize::Percent(10).of(1000), 100);
        assert_eq!(ReserveSize::Percent(100).of(u64::MAX), u64::MAX / 100 * 100);
        assert_eq!(ReserveSize::Bytes(7).of(3), 7);
    }

    #[test]
    fn reserve_is_breached_below_it_and_not_at_it() {
        let disk = Arc::new(ManualDiskSpace::new(100, 1000));
        let reserve = DiskReserve::new(disk.clone(), ReserveSize::Bytes(100));
        assert_eq!(reserve.latest(), None);
        assert_eq!(reserve.check(), Ok(()));
        disk.set_free(99);
        let reading = ReserveReading { free: 99, reserve: 100 };
        assert_eq!(reserve.check(), Err(BelowReserve(reading)));
        assert_eq!(reserve.latest(), Some(reading));
        disk.set_free(100);
        assert_eq!(reserve.check(), Ok(()));
    }

    #[test]
    fn unreadable_space_is_not_held_against_anybody() {
        let missing = Arc::new(Filesystem("/nowhere/at/all".into()));
        let reserve = DiskReserve::new(missing, ReserveSize::Percent(100));
        assert_eq!((reserve.check(), reserve.latest()), (Ok(()), None));
    }

    #[test]
    fn filesystem_has_no_more_free_than_it_has() {
        let space = Filesystem(std::env::temp_dir()).read().unwrap();
        assert!(space.total > 0 && space.free <= space.total, "{space:?}");
    }
}
