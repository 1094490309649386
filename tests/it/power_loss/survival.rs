//! Which of the changes that no sync covered a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::{FileChange, NameChange};
use crate::support::{disk::Inode, random::Random};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// In which way changes survive. Several ways, since one that only tosses coins hardly ever loses just one change of
/// many, or keeps just one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    Everything,
    /// The first ones, in order; the last of them torn.
    Prefix,
    /// Each for itself: kept, lost or torn.
    EachChange,
    /// Every sector for itself, in any of the states that it was in.
    EachSector,
    AllButOne,
    OnlyOne,
}

impl Survival {
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Everything,
        Self::Prefix,
        Self::EachChange,
        Self::EachSector,
        Self::AllButOne,
        Self::OnlyOne,
    ];

    /// What becomes of each of `count` changes.
    fn fates(self, random: &mut Random, count: usize) -> Vec<Fate> {
        let chosen = if count == 0 { 0 } else { random.below(count) };
        let fate_of = |at: usize, random: &mut Random| match self {
            Self::Nothing => Fate::Lost,
            Self::Everything => Fate::Kept,
            Self::Prefix if at == chosen => Fate::Torn,
            Self::Prefix if at < chosen => Fate::Kept,
            Self::Prefix => Fate::Lost,
            Self::EachChange => random.one_of(&[Fate::Kept, Fate::Lost, Fate::Torn]),
            Self::EachSector => Fate::Torn,
            Self::AllButOne if at == chosen => random.one_of(&[Fate::Lost, Fate::Torn]),
            Self::AllButOne => Fate::Kept,
            Self::OnlyOne if at == chosen => random.one_of(&[Fate::Kept, Fate::Torn]),
            Self::OnlyOne => Fate::Lost,
        };
        (0..count).map(|at| fate_of(at, random)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// Some of its sectors are kept.
    Torn,
}

/// What is left of the changes of one directory.
pub struct DirectorySurvival(Vec<bool>);

impl DirectorySurvival {
    pub fn draw(random: &mut Random, survival: Survival, pending: &[NameChange<'_>]) -> Self {
        let fates = survival.fates(random, pending.len());
        // A name cannot be torn.
        let kept = fates.iter().map(|fate| match fate {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn => random.below(2) == 0,
        });
        Self(kept.collect())
    }

    /// The names that are left.
    pub fn apply<'a>(
        &self,
        durable: &BTreeMap<&'a str, Inode>,
        pending: &[NameChange<'a>],
    ) -> BTreeMap<&'a str, Inode> {
        let mut names = durable.clone();
        for change in
            pending.iter().zip(&self.0).filter_map(|(change, kept)| kept.then_some(change))
        {
            match *change {
                NameChange::Set { name, inode } => drop(names.insert(name, inode)),
                NameChange::Remove { name } => drop(names.remove(name)),
                NameChange::Rename { from, to, inode } => {
                    if names.get(from) == Some(&inode) {
                        names.remove(from);
                    }
                    names.insert(to, inode);
                }
            }
        }
        names
    }
}

/// What is left of the changes of one file: how long it is, and which sectors are other than they were at the last sync.
pub struct FileSurvival<'a> {
    durable: &'a [u8],
    bytes: usize,
    sectors: BTreeMap<usize, Vec<u8>>,
}

impl<'a> FileSurvival<'a> {
    pub fn draw(
        random: &mut Random,
        survival: Survival,
        durable: &'a [u8],
        pending: &[FileChange<'_>],
    ) -> Self {
        let fates = survival.fates(random, pending.len());
        let mut current = durable.to_vec();
        let mut sizes = vec![current.len()];
        let mut size_kept = current.len();
        let mut sectors = BTreeMap::new();
        for (change, fate) in pending.iter().zip(fates) {
            let before = current.len();
            change.apply(&mut current);
            sizes.push(current.len());
            let touched: BTreeSet<usize> = touched(change, before, current.len()).collect();
            let in_order = random.below(2) == 0;
            let torn_after = random.below(touched.len() + 1);
            for (at, sector) in touched.into_iter().enumerate() {
                let kept = match fate {
                    Fate::Kept => true,
                    Fate::Lost => false,
                    Fate::Torn if in_order && survival != Survival::EachSector => at < torn_after,
                    Fate::Torn => random.below(2) == 0,
                };
                if kept {
                    let from = (sector * SECTOR_BYTES).min(current.len());
                    let to = (from + SECTOR_BYTES).min(current.len());
                    // As the page cache had it then: with what was written to this sector before, and zeros after the end.
                    let mut bytes = current[from..to].to_vec();
                    bytes.resize(SECTOR_BYTES, 0);
                    sectors.insert(sector, bytes);
                    size_kept = current.len();
                }
            }
        }
        let bytes = match random.below(4) {
            _ if survival == Survival::Everything => current.len(),
            0 | 1 => size_kept,
            2 => random.one_of(&sizes),
            _ => current.len(),
        };
        Self { durable, bytes, sectors }
    }

    pub fn content(&self, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable[..self.durable.len().min(self.bytes)].to_vec();
        let new_from = content.len().next_multiple_of(SECTOR_BYTES).min(self.bytes);
        content.resize(self.bytes, 0);
        if random.below(4) == 0 {
            // Blocks that were given to the file, and hold what another one left there.
            for bytes in content[new_from..].chunks_mut(8) {
                let garbage = random.next().to_le_bytes();
                bytes.copy_from_slice(&garbage[..bytes.len()]);
            }
        }
        for (sector, bytes) in &self.sectors {
            let from = (sector * SECTOR_BYTES).min(content.len());
            let to = (from + bytes.len()).min(content.len());
            content[from..to].copy_from_slice(&bytes[..to - from]);
        }
        content
    }
}

/// The sectors that a change gives another content.
fn touched(change: &FileChange<'_>, before: usize, after: usize) -> impl Iterator<Item = usize> {
    let (from, to) = match change {
        // A gap between the old end and the write is written as well: with zeros.
        FileChange::Write { offset, bytes } => (before.min(*offset), offset + bytes.len()),
        FileChange::Resize { .. } => (before.min(after), before.max(after)),
    };
    from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES)
}

#[cfg(test)]
mod tests;
