//! Files and directories in memory, and the changes that make them what they are.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// The number of a file or directory.
pub type Inode = u64;

pub const FILE_MODE: u16 = 0o600;
pub const DIRECTORY_MODE: u16 = 0o700;

/// The directory at the top.
pub const ROOT: Inode = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Directory(BTreeMap<String, Inode>),
}

/// A filesystem's contents. What has no name any more stays, since somebody may have it open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub nodes: BTreeMap<Inode, Node>,
}

/// A change that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    CreateFile {
        parent: Inode,
        name: String,
        inode: Inode,
    },
    CreateDirectory {
        parent: Inode,
        name: String,
        inode: Inode,
    },
    Write {
        inode: Inode,
        offset: usize,
        bytes: Vec<u8>,
    },
    Resize {
        inode: Inode,
        bytes: usize,
    },
    /// Within one directory; takes the place of what has the name.
    Rename {
        parent: Inode,
        from: String,
        to: String,
    },
    Remove {
        parent: Inode,
        name: String,
    },
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Directory(BTreeMap::new()))]) }
    }
}

impl Tree {
    pub fn file(&self, inode: Inode) -> Option<&Vec<u8>> {
        match self.nodes.get(&inode) {
            Some(Node::File(content)) => Some(content),
            _ => None,
        }
    }

    pub fn directory(&self, inode: Inode) -> Option<&BTreeMap<String, Inode>> {
        match self.nodes.get(&inode) {
            Some(Node::Directory(entries)) => Some(entries),
            _ => None,
        }
    }

    /// The file or directory of a path such as `data/db`.
    pub fn find(&self, path: &str) -> Option<Inode> {
        path.split('/').try_fold(ROOT, |parent, name| self.directory(parent)?.get(name).copied())
    }

    /// A number that nothing has had.
    pub fn unused_inode(&self) -> Inode {
        self.nodes.keys().next_back().map_or(ROOT, |last| last + 1)
    }

    /// # Panics
    /// If it is not possible: the filesystem asked before.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::CreateFile { parent, name, inode } => {
                self.nodes.insert(*inode, Node::File(Vec::new()));
                self.entries(*parent).insert(name.clone(), *inode);
            }
            Change::CreateDirectory { parent, name, inode } => {
                self.nodes.insert(*inode, Node::Directory(BTreeMap::new()));
                self.entries(*parent).insert(name.clone(), *inode);
            }
            Change::Write { inode, offset, bytes } => write(self.content(*inode), *offset, bytes),
            Change::Resize { inode, bytes } => self.content(*inode).resize(*bytes, 0),
            Change::Rename { parent, from, to } => {
                let entries = self.entries(*parent);
                let inode = entries.remove(from).expect("it was there");
                entries.insert(to.clone(), inode);
            }
            Change::Remove { parent, name } => {
                self.entries(*parent).remove(name).expect("it was there");
            }
        }
    }

    fn entries(&mut self, inode: Inode) -> &mut BTreeMap<String, Inode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(entries)) => entries,
            other => panic!("{inode} is no directory: {other:?}"),
        }
    }

    fn content(&mut self, inode: Inode) -> &mut Vec<u8> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(content)) => content,
            other => panic!("{inode} is no file: {other:?}"),
        }
    }

    /// What is in a directory.
    pub fn read_from(directory: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(ROOT, directory)?;
        Ok(tree)
    }

    fn read_directory(&mut self, parent: Inode, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let inode = self.unused_inode();
            let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
            if entry.file_type()?.is_dir() {
                self.apply(&Change::CreateDirectory { parent, name, inode });
                self.read_directory(inode, &entry.path())?;
            } else {
                self.apply(&Change::CreateFile { parent, name, inode });
                *self.content(inode) = fs::read(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes everything that has a name into an existing directory.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        self.write_directory(ROOT, directory)
    }

    fn write_directory(&self, inode: Inode, directory: &Path) -> io::Result<()> {
        for (name, inode) in self.directory(inode).into_iter().flatten() {
            let path = directory.join(name);
            match &self.nodes[inode] {
                Node::File(content) => {
                    // As private as it was on the disk: secrets are refused otherwise.
                    let mut file = fs::File::options();
                    file.write(true).create_new(true).mode(FILE_MODE.into());
                    file.open(path)?.write_all(content)?;
                }
                Node::Directory(_) => {
                    fs::DirBuilder::new().mode(DIRECTORY_MODE.into()).create(&path)?;
                    self.write_directory(*inode, &path)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes into a file's content; a gap before `offset` reads as zeros.
pub fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
