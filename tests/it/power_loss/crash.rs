//! What a disk may hold after the power failed at some point of a record.
//!
//! The rules, at least as hostile as ext4, XFS and btrfs are, and as POSIX allows. They follow what ALICE found ("All File
//! Systems Are Not Created Equal", Pillai et al., OSDI '14) and how CrashMonkey makes crash states ("Finding
//! Crash-Consistency Bugs with Bounded Black-Box Crash Testing", Mohan et al., OSDI '18):
//!
//! 1. What an fsync or fdatasync of a file covered is there: bytes and size. Nothing else about a file is promised.
//! 2. Every change of a file since then is kept, lost or torn, each for itself: sectors of 512 bytes are written whole, in any
//!    order, also out of the middle of one write, and also where several writes met in one sector.
//! 3. The size of a file is another thing than its bytes: either may be there without the other. What is within the size
//!    and was not written reads as zeros, or as garbage.
//! 4. An fsync of a directory makes the names in it durable. Nothing else does: not an fsync of the file that has the
//!    name, as it would on ext4, and not one of the directory above.
//! 5. Changes of names since then are kept or lost, each for itself, also out of order. A rename is one change: the old name or
//!    the new one, never both, never neither.
//! 6. A sync that failed says nothing, and neither does any later one of the same file: the kernel may have dropped what it
//!    could not write ("Can Applications Recover from fsync Failures?", Rebello et al., ATC '20).
//!
//! One thing is milder than a real disk: the kernel lets no write into a file while FUSE syncs it, so a write that begins
//! during an fdatasync is never in a record. That a sync covers only what was written before it began is left to
//! the unit tests of `store::sled::durability`.

use std::collections::BTreeMap;

use super::survival::{DirectorySurvival, FileSurvival, Survival};
use crate::support::{
    disk::{self, Change, Event, Inode, Node, ROOT, Tree},
    random::Random,
};

/// What is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced<'a> {
    File { name: &'a str, data_only: bool },
    Directory,
}

/// Which syncs a disk ignores without saying so. An honest one ignores none.
pub type Ignores = fn(Synced<'_>) -> bool;

pub fn honest(_: Synced<'_>) -> bool {
    false
}

/// A change of a file that no sync has covered yet.
pub enum FileChange<'a> {
    Write { offset: usize, bytes: &'a [u8] },
    Resize { bytes: usize },
}

impl FileChange<'_> {
    pub fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => disk::write(content, *offset, bytes),
            Self::Resize { bytes } => content.resize(*bytes, 0),
        }
    }
}

/// A change of a directory that no sync has covered yet.
pub enum NameChange<'a> {
    Set { name: &'a str, inode: Inode },
    Rename { from: &'a str, to: &'a str, inode: Inode },
    Remove { name: &'a str },
}

#[derive(Default)]
struct FileState<'a> {
    name: &'a str,
    durable: Vec<u8>,
    pending: Vec<FileChange<'a>>,
    sync_failed: bool,
}

#[derive(Default)]
struct DirectoryState<'a> {
    /// As everybody sees it.
    seen: BTreeMap<&'a str, Inode>,
    durable: BTreeMap<&'a str, Inode>,
    pending: Vec<NameChange<'a>>,
}

/// What is durable, and what is not yet, after the events so far.
pub struct Replay<'a> {
    ignores: Ignores,
    files: BTreeMap<Inode, FileState<'a>>,
    directories: BTreeMap<Inode, DirectoryState<'a>>,
}

impl<'a> Replay<'a> {
    /// Begins with an empty disk.
    pub fn new(ignores: Ignores) -> Self {
        let directories = BTreeMap::from([(ROOT, DirectoryState::default())]);
        Self { ignores, files: BTreeMap::new(), directories }
    }

    pub fn apply(&mut self, event: &'a Event) {
        match event {
            Event::Change(change) => self.change(change),
            Event::SyncFile { inode, data_only } => {
                let Some(file) = self.files.get_mut(inode) else { return };
                let synced = Synced::File { name: file.name, data_only: *data_only };
                if !file.sync_failed && !(self.ignores)(synced) {
                    for change in file.pending.drain(..) {
                        change.apply(&mut file.durable);
                    }
                }
            }
            Event::SyncFailed { inode } => {
                if let Some(file) = self.files.get_mut(inode) {
                    file.sync_failed = true;
                }
            }
            Event::SyncDirectory { inode } => {
                let Some(directory) = self.directories.get_mut(inode) else { return };
                if !(self.ignores)(Synced::Directory) {
                    directory.pending.clear();
                    directory.durable = directory.seen.clone();
                }
            }
            Event::Mark(_) => {}
            Event::PowerCut(tree) => self.restart(tree),
        }
    }

    fn change(&mut self, change: &'a Change) {
        match change {
            Change::CreateFile { parent, name, inode } => {
                self.files.insert(*inode, FileState { name, ..FileState::default() });
                self.set_name(*parent, name, *inode);
            }
            Change::CreateDirectory { parent, name, inode } => {
                self.directories.insert(*inode, DirectoryState::default());
                self.set_name(*parent, name, *inode);
            }
            Change::Write { inode, offset, bytes } => {
                self.pend(*inode, FileChange::Write { offset: *offset, bytes });
            }
            Change::Resize { inode, bytes } => {
                self.pend(*inode, FileChange::Resize { bytes: *bytes });
            }
            Change::Rename { parent, from, to } => {
                let Some(directory) = self.directories.get_mut(parent) else { return };
                let Some(inode) = directory.seen.remove(from.as_str()) else { return };
                directory.seen.insert(to, inode);
                directory.pending.push(NameChange::Rename { from, to, inode });
                if let Some(file) = self.files.get_mut(&inode) {
                    file.name = to;
                }
            }
            Change::Remove { parent, name } => {
                let Some(directory) = self.directories.get_mut(parent) else { return };
                directory.seen.remove(name.as_str());
                directory.pending.push(NameChange::Remove { name });
            }
        }
    }

    fn set_name(&mut self, parent: Inode, name: &'a str, inode: Inode) {
        let Some(directory) = self.directories.get_mut(&parent) else { return };
        directory.seen.insert(name, inode);
        directory.pending.push(NameChange::Set { name, inode });
    }

    fn pend(&mut self, inode: Inode, change: FileChange<'a>) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.pending.push(change);
        }
    }

    /// All that a disk holds when it comes back is durable.
    fn restart(&mut self, tree: &'a Tree) {
        self.files.clear();
        self.directories.clear();
        for (inode, node) in &tree.nodes {
            match node {
                Node::File(content) => {
                    let state = FileState { durable: content.clone(), ..FileState::default() };
                    self.files.insert(*inode, state);
                }
                Node::Directory(entries) => {
                    let seen: BTreeMap<_, _> =
                        entries.iter().map(|(name, inode)| (name.as_str(), *inode)).collect();
                    let durable = seen.clone();
                    let state = DirectoryState { seen, durable, pending: Vec::new() };
                    self.directories.insert(*inode, state);
                }
            }
        }
        let names = self.directories.values().flat_map(|directory| directory.seen.iter());
        for (name, inode) in names {
            if let Some(file) = self.files.get_mut(inode) {
                file.name = name;
            }
        }
    }

    /// One of the trees that the disk may hold if the power fails now.
    pub fn cut(&self, random: &mut Random, survival: Survival) -> Tree {
        let mut tree = Tree::default();
        self.cut_directory(ROOT, random, survival, &mut tree);
        tree
    }

    fn cut_directory(
        &self,
        inode: Inode,
        random: &mut Random,
        survival: Survival,
        tree: &mut Tree,
    ) {
        let directory = &self.directories[&inode];
        let names = DirectorySurvival::draw(random, survival, &directory.pending)
            .apply(&directory.durable, &directory.pending);
        for child in names.values() {
            if let Some(file) = self.files.get(child) {
                let content = FileSurvival::draw(random, survival, &file.durable, &file.pending)
                    .content(random);
                tree.nodes.insert(*child, Node::File(content));
            } else {
                self.cut_directory(*child, random, survival, tree);
            }
        }
        let names = names.into_iter().map(|(name, child)| (name.to_owned(), child)).collect();
        tree.nodes.insert(inode, Node::Directory(names));
    }
}
