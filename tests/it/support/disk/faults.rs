//! What a disk does wrong.

use std::{ops::Range, time::Duration};

use super::{Inode, Tree};

/// What is lost of a disk at once.
pub const PAGE_BYTES: usize = 4_096;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Any write.
    Write,
    /// A write that makes the file longer.
    Extend,
    /// fsync or fdatasync.
    Sync,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing is done, and this error answered.
    Error(i32),
    /// Only half of a write is done, and the answer says so.
    Short,
    /// A read finds zeros.
    Zeros,
    /// A read finds what stood there in an older state of the disk.
    Stale(Tree),
    /// It is done, late.
    Stall(Duration),
}

/// Something that goes wrong when files of a name are accessed.
#[derive(Debug, Clone)]
pub struct Fault {
    pub file: &'static str,
    pub access: Access,
    /// The one bad page of the file; `None` if all of it is bad.
    pub page: Option<usize>,
    /// So many accesses are spared first.
    pub passes: u32,
    /// So many are then struck.
    pub times: u32,
    pub effect: Effect,
}

impl Fault {
    /// Every access from now on is struck.
    pub fn always(file: &'static str, access: Access, effect: Effect) -> Self {
        Self { file, access, page: None, passes: 0, times: u32::MAX, effect }
    }

    fn bad_bytes(&self) -> Range<usize> {
        self.page.map_or(0..usize::MAX, |page| page * PAGE_BYTES..(page + 1) * PAGE_BYTES)
    }

    /// Counts an access to some bytes; which of them are struck, if any are.
    pub(super) fn strikes(
        &mut self,
        file: &str,
        access: Access,
        bytes: &Range<usize>,
    ) -> Option<Range<usize>> {
        let is_meant =
            self.access == access || (self.access, access) == (Access::Write, Access::Extend);
        let bad = self.bad_bytes();
        let struck = bytes.start.max(bad.start)..bytes.end.min(bad.end);
        if self.file != file || !is_meant || (struck.is_empty() && self.page.is_some()) {
            return None;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some(struck)
    }
}

/// Something that strikes an access, and which bytes of the file.
pub(super) struct Strike {
    pub effect: Effect,
    pub bytes: Range<usize>,
}

impl Strike {
    /// Changes what is read from `offset` on.
    pub fn spoil(&self, inode: Inode, offset: usize, read: &mut [u8]) {
        let old = match &self.effect {
            Effect::Zeros => None,
            Effect::Stale(tree) => Some(tree.file(inode).map_or(&[][..], Vec::as_slice)),
            Effect::Error(_) | Effect::Short | Effect::Stall(_) => return,
        };
        for (at, byte) in (offset..).zip(read).filter(|(at, _)| self.bytes.contains(at)) {
            // What is new since the older state was, reads as zeros.
            *byte = old.and_then(|old| old.get(at)).copied().unwrap_or(0);
        }
    }
}
