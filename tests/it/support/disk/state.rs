//! What a disk holds and remembers, and what may be done to it.

use std::{collections::BTreeMap, ffi::OsStr, ops::Range, time::SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use parking_lot::Mutex;

use super::{
    Event,
    faults::{Access, Effect, Fault, Strike},
    tree::{Change, DIRECTORY_MODE, FILE_MODE, Inode, Node, Tree},
};

pub const BLOCK_BYTES: u32 = 4_096;

pub struct State {
    pub tree: Tree,
    pub events: Vec<Event>,
    pub faults: Vec<Fault>,
    pub strikes: u64,
    /// Of files, as they were last called.
    names: BTreeMap<Inode, String>,
}

impl State {
    pub fn new(tree: Tree) -> Self {
        let names = tree.nodes.values().filter_map(|node| match node {
            Node::Directory(entries) => Some(entries.iter()),
            Node::File(_) => None,
        });
        let names = names.flatten().map(|(name, inode)| (*inode, name.clone())).collect();
        Self { tree, events: Vec::new(), faults: Vec::new(), strikes: 0, names }
    }

    pub fn change(&mut self, change: Change) {
        match &change {
            Change::CreateFile { name, inode, .. } => drop(self.names.insert(*inode, name.clone())),
            Change::Rename { parent, from, to } => {
                let inode = self.tree.directory(*parent).and_then(|entries| entries.get(from));
                if let Some(inode) = inode {
                    self.names.insert(*inode, to.clone());
                }
            }
            _ => {}
        }
        self.tree.apply(&change);
        self.events.push(Event::Change(change));
    }

    /// What goes wrong with an access, if anything does. Stalls are over when this returns.
    pub fn strike(
        state: &Mutex<Self>,
        inode: Inode,
        access: Access,
        bytes: Range<usize>,
    ) -> Option<Strike> {
        let mut locked = state.lock();
        let State { faults, names, strikes, .. } = &mut *locked;
        let name = names.get(&inode)?;
        let strike = faults.iter_mut().find_map(|fault| {
            let bytes = fault.strikes(name, access, &bytes)?;
            Some(Strike { effect: fault.effect.clone(), bytes })
        })?;
        *strikes += 1;
        drop(locked);
        if let Effect::Stall(pause) = strike.effect {
            // The whole disk is slow: nothing else is answered meanwhile.
            std::thread::sleep(pause);
        }
        Some(strike)
    }

    pub fn child(&self, parent: Inode, name: &OsStr) -> Result<Inode, Errno> {
        let entries = self.tree.directory(parent).ok_or(Errno::ENOTDIR)?;
        name.to_str().and_then(|name| entries.get(name)).copied().ok_or(Errno::ENOENT)
    }

    /// A name that may be given in a directory.
    fn free_name(&self, parent: Inode, name: &OsStr) -> Result<String, Errno> {
        match self.child(parent, name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(error) if error == Errno::ENOENT => {
                name.to_str().map(str::to_owned).ok_or(Errno::EINVAL)
            }
            Err(error) => Err(error),
        }
    }

    pub fn attributes(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let (kind, bytes, perm) = match self.tree.nodes.get(&inode).ok_or(Errno::ENOENT)? {
            Node::File(content) => (FileType::RegularFile, content.len() as u64, FILE_MODE),
            Node::Directory(_) => (FileType::Directory, 0, DIRECTORY_MODE),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size: bytes,
            blocks: bytes.div_ceil(512),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    pub fn create_file(&mut self, parent: Inode, name: &OsStr) -> Result<FileAttr, Errno> {
        let name = self.free_name(parent, name)?;
        let inode = self.tree.unused_inode();
        self.change(Change::CreateFile { parent, name, inode });
        self.attributes(inode)
    }

    pub fn create_directory(&mut self, parent: Inode, name: &OsStr) -> Result<FileAttr, Errno> {
        let name = self.free_name(parent, name)?;
        let inode = self.tree.unused_inode();
        self.change(Change::CreateDirectory { parent, name, inode });
        self.attributes(inode)
    }

    pub fn remove(&mut self, parent: Inode, name: &OsStr, kind: FileType) -> Result<(), Errno> {
        let inode = self.child(parent, name)?;
        match (kind, &self.tree.nodes[&inode]) {
            (FileType::Directory, Node::Directory(entries)) if !entries.is_empty() => {
                return Err(Errno::ENOTEMPTY);
            }
            (FileType::Directory, Node::File(_)) => return Err(Errno::ENOTDIR),
            (FileType::RegularFile, Node::Directory(_)) => return Err(Errno::EISDIR),
            _ => {}
        }
        self.change(Change::Remove { parent, name: text(name)? });
        Ok(())
    }

    pub fn rename(&mut self, parent: Inode, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        self.child(parent, from)?;
        self.change(Change::Rename { parent, from: text(from)?, to: text(to)? });
        Ok(())
    }

    pub fn read(&self, inode: Inode, offset: usize, size: usize) -> Result<Vec<u8>, Errno> {
        let content = self.tree.file(inode).ok_or(Errno::EISDIR)?;
        let from = offset.min(content.len());
        let to = (offset + size).min(content.len());
        Ok(content[from..to].to_vec())
    }
}

fn text(name: &OsStr) -> Result<String, Errno> {
    name.to_str().map(str::to_owned).ok_or(Errno::EINVAL)
}
