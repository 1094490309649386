//! The distinct dimensions of a group, and the series that they count for.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use uuid::Uuid;

use crate::{
    domain::{series_limits::TooManySeries, usage::LogSequence},
    store::sled::{
        index::{key::HashedKey, memtable::Memtable},
        organizations::OrganizationNumber,
        rollup::series::{LockedSeries, SeriesKey},
    },
};

/// A dimension, and its series.
pub(super) struct Numbered<D> {
    pub(super) dimension: D,
    pub(super) series: SeriesKey,
    /// Whether the series was there before, or belongs to a report that was accepted.
    is_counted: bool,
}

/// The distinct dimensions of a group, numbered from 0.
pub(super) struct Dimensions<D> {
    list: Vec<Numbered<D>>,
    /// Places in the list.
    numbers: HashTable<usize>,
    /// Faster than the standard library's, and seeded for this process.
    hasher: DefaultHashBuilder,
}

impl<D: Hash> Dimensions<D> {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), numbers: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Numbered<D>> {
        self.list.get(number)
    }

    /// The number of a dimension, of which `parts` is what a caller has at hand without copying it: its hash must be
    /// that of the dimension. `make` copies it if it is new, and says what the keys of its rows begin with.
    pub(super) fn number_of<P: Hash>(
        &mut self,
        parts: P,
        is_same: impl Fn(&D) -> bool,
        series: &LockedSeries<'_>,
        organization: OrganizationNumber,
        make: impl FnOnce() -> (D, Vec<u8>),
    ) -> usize {
        let Self { list, numbers, hasher } = self;
        let hash = hasher.hash_one(&parts);
        let same =
            |number: &usize| list.get(*number).is_some_and(|known| is_same(&known.dimension));
        if let Some(number) = numbers.find(hash, same) {
            return *number;
        }
        let number = list.len();
        let (dimension, prefix) = make();
        debug_assert_eq!(hash, hasher.hash_one(&dimension), "both are hashed alike");
        let key = series.key(prefix);
        let is_counted = series.contains(organization, &key);
        list.push(Numbered { dimension, series: key, is_counted });
        let rehash =
            |number: &usize| list.get(*number).map_or(0, |known| hasher.hash_one(&known.dimension));
        numbers.insert_unique(hash, number, rehash);
        number
    }

    /// Whether usage of a dimension begins no series.
    pub(super) fn is_counted(&self, number: usize) -> bool {
        self.list.get(number).is_some_and(|known| known.is_counted)
    }

    /// Adds the series of an organization's dimensions, all or none.
    pub(super) fn admit(
        &mut self,
        series: &mut LockedSeries<'_>,
        organization: OrganizationNumber,
        new: &[usize],
    ) -> Result<(), TooManySeries> {
        series.check(organization, new.len())?;
        for number in new {
            self.count(series, organization, *number);
        }
        Ok(())
    }

    /// Adds the series of a dimension, however many there are.
    pub(super) fn count(
        &mut self,
        series: &mut LockedSeries<'_>,
        organization: OrganizationNumber,
        number: usize,
    ) {
        if let Some(known) = self.list.get_mut(number) {
            series.add(organization, &known.series);
            known.is_counted = true;
        }
    }
}

/// Tells which records or events of a report are duplicates, before any of them is taken in. They begin no series.
pub(super) struct Duplicates<'a> {
    live: &'a Memtable,
    known: &'a [Option<LogSequence>],
    seen: HashSet<Uuid>,
}

impl<'a> Duplicates<'a> {
    pub(super) fn new(live: &'a Memtable, known: &'a [Option<LogSequence>]) -> Self {
        Self { live, known, seen: HashSet::new() }
    }

    /// Whether the one at a place of the report is a duplicate. To be asked in the order of the report.
    pub(super) fn contain(&mut self, at: usize, uuid: Uuid, key: Option<HashedKey>) -> bool {
        self.known.get(at).copied().flatten().is_some()
            || key.and_then(|key| self.live.get(key)).is_some()
            || !self.seen.insert(uuid)
    }
}
