//! A disk of its own for a test: a FUSE filesystem in memory that records every change, every sync, and the marks that a
//! test puts in between, and that fails as it is told.
//!
//! What a power cut would leave of a record is `power_loss::crash`'s business; here everything that was written is
//! there, as in a page cache.

mod faults;
mod filesystem;
mod state;
mod tree;

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use fuser::{BackgroundSession, Config, MountOption};
use parking_lot::Mutex;
use tempfile::TempDir;

pub use faults::{Access, Effect, Fault, PAGE_BYTES};
pub use tree::{Change, Inode, Node, ROOT, Tree, write};

use filesystem::Filesystem;
use state::State;

/// Something that happened on a disk, in the order in which it did.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something was changed; not durable by itself.
    Change(Change),
    /// A sync of a file returned: fdatasync if `data_only`, otherwise fsync.
    SyncFile { inode: Inode, data_only: bool },
    /// An fsync of a directory returned.
    SyncDirectory { inode: Inode },
    /// A sync of a file failed.
    SyncFailed { inode: Inode },
    /// The test was here: a number of its own.
    Mark(usize),
    /// The power failed, and this is what the disk held when it came back.
    PowerCut(Tree),
}

/// What the page cache shows after some events, beginning with an empty disk.
pub fn tree_after(events: &[Event]) -> Tree {
    let cut = events.iter().rposition(|event| matches!(event, Event::PowerCut(_)));
    let mut tree = match cut.map(|at| &events[at]) {
        Some(Event::PowerCut(tree)) => tree.clone(),
        _ => Tree::default(),
    };
    for event in &events[cut.map_or(0, |at| at + 1)..] {
        if let Event::Change(change) = event {
            tree.apply(change);
        }
    }
    tree
}

/// A mounted disk; unmounted when dropped, which waits until nothing on it is open.
pub struct Disk {
    session: Option<BackgroundSession>,
    state: Arc<Mutex<State>>,
    mount_point: TempDir,
}

/// How long the last user of a disk may take to let go of it. Threads of sled outlive its handle for a moment.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

impl Disk {
    /// Mounts a disk that holds `tree`.
    ///
    /// # Errors
    /// If FUSE may not be used here.
    pub fn mount(tree: Tree) -> io::Result<Self> {
        Self::mount_as(tree, false)
    }

    fn mount_as(tree: Tree, is_cached: bool) -> io::Result<Self> {
        let mount_point = tempfile::Builder::new().prefix("meterd-disk-").tempdir()?;
        let state = Arc::new(Mutex::new(State::new(tree)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("meterd-test-disk".into())];
        let filesystem = Filesystem { state: Arc::clone(&state), is_cached };
        let session = fuser::spawn_mount(filesystem, mount_point.path(), &config)?;
        Ok(Self { session: Some(session), state, mount_point })
    }

    /// Mounts a disk, or says loudly that a test cannot run here.
    pub fn mount_or_skip(tree: Tree) -> Option<Self> {
        Self::or_skip(Self::mount(tree))
    }

    /// The same for an empty disk behind the kernel's page cache. What is recorded is what the kernel writes back.
    pub fn mount_cached_or_skip() -> Option<Self> {
        Self::or_skip(Self::mount_as(Tree::default(), true))
    }

    fn or_skip(mounted: io::Result<Self>) -> Option<Self> {
        match mounted {
            Ok(disk) => Some(disk),
            Err(error) => {
                eprintln!(
                    "SKIPPED: no FUSE filesystem can be mounted here ({error}); it takes /dev/fuse and root or fusermount3"
                );
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.mount_point.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts a mark after everything that has happened so far.
    pub fn mark(&self, number: usize) {
        self.state.lock().events.push(Event::Mark(number));
    }

    /// Plants a fault, besides those that are there.
    pub fn plant(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// How often planted faults have struck.
    pub fn strikes(&self) -> u64 {
        self.state.lock().strikes
    }

    /// What the disk shows now.
    pub fn tree(&self) -> Tree {
        self.state.lock().tree.clone()
    }

    /// Unmounts, and answers everything that happened.
    pub fn finish(mut self) -> Vec<Event> {
        self.unmount();
        std::mem::take(&mut self.state.lock().events)
    }

    /// Unmounts although files are still open, and stay so.
    pub fn abandon(mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).output());
        self.session = None;
    }

    fn unmount(&mut self) {
        let Some(session) = self.session.take() else { return };
        let run = |program: &str, flag: &str| {
            let mut command = Command::new(program);
            command.args(Some(flag).filter(|flag| !flag.is_empty())).arg(self.mount_point.path());
            command.output().is_ok_and(|output| output.status.success())
        };
        let began = Instant::now();
        while !run("umount", "") && !run("fusermount3", "-u") {
            if began.elapsed() > UNMOUNT_PATIENCE {
                // Something still has a file open: the mount goes at once, the rest when that is closed.
                eprintln!("{:?} is still in use", self.mount_point.path());
                run("umount", "-l");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(session.join());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}
