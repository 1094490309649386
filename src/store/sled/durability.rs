//! Gives sled the fdatasync it lacks.
//!
//! sled 0.34.7 makes its log "stable" with `sync_file_range(2)`, which neither flushes the disk's
//! write cache nor commits the file's size: what it calls flushed does not survive a power cut. sled
//! takes that function from the C library by name, so this module defines the name itself and calls
//! `fdatasync(2)` in its place. Doing it underneath sled, rather than after its flush returns, also
//! keeps sled from reusing a segment whose successor is not on the disk yet.
//!
//! A change of linking could silently bring the C library's function back, so [`SyncWitness`] lets
//! the store check on every open that a flush really came through here, and a test does the same
//! from outside with strace.
//!
//! sled writes from several threads at once. An fdatasync that starts after a write returned covers
//! that write, so callers that wait at the same time share one.
//!
//! The kernel tells of a page that it could not write once, and forgets the page: an fdatasync after one
//! that failed succeeds, without what was lost. So after a failure a descriptor is never synced again, and
//! every caller fails, also those that were waiting meanwhile. Its number cannot come to stand for
//! another file, since a store that failed never closes it.
//!
//! sled also syncs with fsync, when it shortens its file, and looks at the outcome much later. If that sync is the one
//! that the kernel tells of a lost page, the fdatasync of a commit succeeds. But the kernel tells every descriptor of the
//! file, so [`LossWitness`] has one of its own, which nothing else can take the news from.

#![allow(unsafe_code)] // the only place: a C symbol to define, and a C function to call

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// How far one file has come. Tickets count the callers.
#[derive(Clone, Copy)]
struct FileSync {
    last_ticket: u64,
    synced_through: u64,
    failed: bool,
    running: bool,
}

struct Syncs {
    files: BTreeMap<libc::c_int, FileSync>,
    completed: u64,
}

static SYNCS: Mutex<Syncs> = Mutex::new(Syncs { files: BTreeMap::new(), completed: 0 });
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Syncs> {
    // Nothing below can panic half-way through a change, so a poisoned lock is still whole.
    SYNCS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file(syncs: &mut Syncs, fd: libc::c_int) -> &mut FileSync {
    syncs.files.entry(fd).or_insert(FileSync {
        last_ticket: 0,
        synced_through: 0,
        failed: false,
        running: false,
    })
}

/// Returns once everything written to `fd` before the call is on the disk; `false` if that failed, now or
/// ever before. `fdatasync` answers whether it succeeded.
fn sync(fd: libc::c_int, fdatasync: impl FnOnce(libc::c_int) -> bool) -> bool {
    let mut syncs = lock();
    let state = file(&mut syncs, fd);
    state.last_ticket += 1;
    let ticket = state.last_ticket;
    loop {
        let state = file(&mut syncs, fd);
        if state.synced_through >= ticket {
            return true;
        }
        if state.failed {
            return false;
        }
        if state.running {
            syncs = CHANGED.wait(syncs).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state.running = true;
        let covered = state.last_ticket;
        drop(syncs);
        let succeeded = fdatasync(fd);
        syncs = lock();
        syncs.completed += u64::from(succeeded);
        let state = file(&mut syncs, fd);
        state.running = false;
        if succeeded {
            state.synced_through = covered;
        } else {
            state.failed = true;
        }
        CHANGED.notify_all();
        return succeeded;
    }
}

fn fdatasync(fd: libc::c_int) -> bool {
    // SAFETY: fdatasync takes any integer and touches no memory of ours.
    unsafe { libc::fdatasync(fd) == 0 }
}

/// Takes the place of the C library's function of this name for the whole process.
///
/// # Safety
/// Safe to call with any arguments; `unsafe` only because it stands in for a C function.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: libc::off64_t,
    _bytes: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    if sync(fd, fdatasync) {
        return 0;
    }
    // SAFETY: the location is this thread's own errno. EIO, never ENOSYS: on that sled would retry
    // with fsync, and a retried fsync succeeds without having written anything.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

/// Watches whether flushes come through this module.
pub(super) struct SyncWitness(u64);

impl SyncWitness {
    /// Starts watching.
    pub(super) fn start() -> Self {
        Self(lock().completed)
    }

    /// Whether an fdatasync has succeeded since.
    pub(super) fn saw_one(&self) -> bool {
        lock().completed > self.0
    }
}

/// Hears of everything that the kernel could not write to a file.
pub(super) struct LossWitness(File);

impl LossWitness {
    /// Listens from now on.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let witness = Self(File::open(path)?);
        witness.check()?;
        Ok(witness)
    }

    /// Fails if the kernel gave up writing something since the last time. It does not wait for the disk.
    pub(super) fn check(&self) -> io::Result<()> {
        // Far behind the end of any file, so that there is nothing to wait for.
        const OFFSET: libc::off64_t = 1 << 60;
        const BYTES: libc::off64_t = 1;
        // SAFETY: sync_file_range(2) takes any arguments and touches no memory of ours. The library's function of that name
        // is ours by now.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_sync_file_range,
                self.0.as_raw_fd(),
                OFFSET,
                BYTES,
                libc::SYNC_FILE_RANGE_WAIT_BEFORE,
            )
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::mpsc};

    use super::*;

    #[test]
    fn a_real_file_syncs_and_a_bad_descriptor_fails() {
        let witness = SyncWitness::start();
        let mut real = tempfile::tempfile().unwrap();
        real.write_all(b"x").unwrap();
        assert!(sync(real.as_raw_fd(), fdatasync));
        assert!(witness.saw_one());
        assert!(!sync(-1, fdatasync));
    }

    #[test]
    fn waiting_callers_share_and_all_return() {
        let real = tempfile::tempfile().unwrap();
        let fd = real.as_raw_fd();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..20).for_each(|_| assert!(sync(fd, fdatasync))));
            }
        });
    }

    /// One that waits while another's sync fails may have written what that one lost.
    #[test]
    fn nothing_is_synced_after_a_failure() {
        const FD: libc::c_int = -2;
        let waits = || lock().files.get(&FD).is_some_and(|file| file.last_ticket == 2);
        std::thread::scope(|scope| {
            let (began, begins) = mpsc::sync_channel(1);
            let first = scope.spawn(move || {
                sync(FD, |_| {
                    began.send(()).unwrap();
                    while !waits() {
                        std::thread::yield_now();
                    }
                    false
                })
            });
            begins.recv().unwrap();
            let second = scope.spawn(|| sync(FD, |_| panic!("it is synced again")));
            assert!(!first.join().unwrap());
            assert!(!second.join().unwrap());
        });
        assert!(!sync(FD, |_| panic!("it is synced again")));
    }
}
