//! The filesystem as the kernel talks to it. One request at a time, so that a record has an order.
//!
//! It has what meterd and sled use: no links, no renames between directories, no extended attributes. Files are opened
//! for direct I/O, so that every read and write comes here, just as the process made it; unless it is the kernel's cache
//! that matters.

use std::{
    ffi::OsStr,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use parking_lot::Mutex;

use super::{
    Event,
    faults::{Access, Effect, Strike},
    state::{BLOCK_BYTES, State},
    tree::{Change, Node},
};

/// Names stay what the kernel knows, since only it changes them; sizes it asks for every time.
const ENTRY_TTL: Duration = Duration::from_secs(1);
const ATTRIBUTES_TTL: Duration = Duration::ZERO;

pub struct Filesystem {
    pub state: Arc<Mutex<State>>,
    /// Whether writes stay in the kernel's page cache until they are synced, as on other filesystems.
    pub is_cached: bool,
}

impl Filesystem {
    fn open_flags(&self) -> FopenFlags {
        // Otherwise the kernel would forget its pages with every open, which no other filesystem does.
        if self.is_cached { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::FOPEN_DIRECT_IO }
    }
}

impl fuser::Filesystem for Filesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.is_cached {
            let missing = config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE);
            missing.map_err(|_| io::ErrorKind::Unsupported)?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state.lock();
        let found = state.child(parent.0, name).and_then(|inode| state.attributes(inode));
        answer_entry(found, reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state.lock().attributes(inode.0) {
            Ok(attributes) => reply.attr(&ATTRIBUTES_TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state.lock();
        if let Some(size) = size {
            if state.tree.file(inode.0).is_none() {
                return reply.error(Errno::EISDIR);
            }
            state.change(Change::Resize { inode: inode.0, bytes: size as usize });
        }
        match state.attributes(inode.0) {
            Ok(attributes) => reply.attr(&ATTRIBUTES_TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(self.state.lock().create_directory(parent.0, name), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.state.lock().create_file(parent.0, name) {
            Ok(attributes) => reply.created(
                &ATTRIBUTES_TTL,
                &attributes,
                Generation(0),
                FileHandle(0),
                self.open_flags(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.open_flags());
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state.lock().remove(parent.0, name, FileType::RegularFile), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state.lock().remove(parent.0, name, FileType::Directory), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if parent != new_parent || !flags.is_empty() {
            return reply.error(Errno::EXDEV);
        }
        answer(self.state.lock().rename(parent.0, name, new_name), reply);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (inode, offset, size) = (inode.0, offset as usize, size as usize);
        let strike = State::strike(&self.state, inode, Access::Read, offset..offset + size);
        if let Some(Strike { effect: Effect::Error(error), .. }) = strike {
            return reply.error(Errno::from_i32(error));
        }
        match self.state.lock().read(inode, offset, size) {
            Ok(mut bytes) => {
                if let Some(strike) = strike {
                    strike.spoil(inode, offset, &mut bytes);
                }
                reply.data(&bytes);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (inode, offset) = (inode.0, offset as usize);
        let Some(length) = self.state.lock().tree.file(inode).map(Vec::len) else {
            return reply.error(Errno::EISDIR);
        };
        let bytes = offset..offset + data.len();
        let access = if bytes.end > length { Access::Extend } else { Access::Write };
        let data =
            match State::strike(&self.state, inode, access, bytes).map(|strike| strike.effect) {
                Some(Effect::Error(error)) => return reply.error(Errno::from_i32(error)),
                Some(Effect::Short) => &data[..data.len().div_ceil(2)],
                _ => data,
            };
        self.state.lock().change(Change::Write { inode, offset, bytes: data.to_vec() });
        reply.written(data.len() as u32);
    }

    // Writes are here already; what a close may wait for is over. Without it, an exit never waits for this thread.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let inode = inode.0;
        let strike = State::strike(&self.state, inode, Access::Sync, 0..usize::MAX);
        if let Some(Strike { effect: Effect::Error(error), .. }) = strike {
            self.state.lock().events.push(Event::SyncFailed { inode });
            return reply.error(Errno::from_i32(error));
        }
        self.state.lock().events.push(Event::SyncFile { inode, data_only });
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state.lock().events.push(Event::SyncDirectory { inode: inode.0 });
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state.lock();
        let Some(entries) = state.tree.directory(inode.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let dots = [(".", inode.0), ("..", inode.0)].into_iter();
        let all = dots.chain(entries.iter().map(|(name, inode)| (name.as_str(), *inode)));
        for (at, (name, inode)) in (1..).zip(all).skip(offset as usize) {
            let kind = match &state.tree.nodes[&inode] {
                Node::File(_) => FileType::RegularFile,
                Node::Directory(_) => FileType::Directory,
            };
            if reply.add(INodeNo(inode), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 20;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}

fn answer(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(outcome: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match outcome {
        Ok(attributes) => {
            reply.entry_with_ttls(&ATTRIBUTES_TTL, &ENTRY_TTL, &attributes, Generation(0));
        }
        Err(error) => reply.error(error),
    }
}
