//! Which series there are, so that a commit knows what would begin a new one.
//!
//! A series is there once a row of it is stored, or was added to the totals in memory, and stays. Only a hash of it is kept, ten to
//! twenty bytes a series: two series with the same one, of 2^64 and seeded for this process, would count as one.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::{Mutex, MutexGuard};

use super::row::RowKey;
use crate::{
    domain::series_limits::{SeriesLimits, TooManySeries},
    store::{
        StoreError,
        sled::{engine::Engine, keyspace::KeySpace, organizations::OrganizationNumber},
    },
};

/// Kinds of rows, each of which has series of its own.
const SPACES: [KeySpace; 3] = [KeySpace::Rollup, KeySpace::AssetRollup, KeySpace::ApiRollup];
/// Rows of one series that are read one by one before the rest are jumped over, which costs about as much.
const ROWS_BEFORE_JUMP: usize = 8;

/// A series, as it is looked up and as its rows are named.
#[derive(Debug)]
pub(in crate::store::sled) struct SeriesKey {
    /// What the keys of its rows begin with.
    pub(in crate::store::sled) prefix: Vec<u8>,
    hash: u64,
}

/// Every series of every organization.
#[derive(Debug, Default)]
pub(in crate::store::sled) struct SeriesSet {
    hasher: DefaultHashBuilder,
    counted: Mutex<CountedSeries>,
}

/// The series of a [`SeriesSet`], for as long as a commit decides.
pub(in crate::store::sled) struct LockedSeries<'a> {
    hasher: &'a DefaultHashBuilder,
    counted: MutexGuard<'a, CountedSeries>,
}

/// Series by organization.
#[derive(Debug, Default)]
struct CountedSeries {
    limits: SeriesLimits,
    by_organization: HashMap<OrganizationNumber, HashTable<u64>>,
    figures: SeriesFigures,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::store::sled) struct SeriesFigures {
    /// Of all organizations.
    pub(in crate::store::sled) all: u64,
    /// Of the one that has most.
    pub(in crate::store::sled) highest: u64,
    /// Reports that were refused.
    pub(in crate::store::sled) reports_refused: u64,
    /// Events that were stored in a series that says less.
    pub(in crate::store::sled) events_coarsened: u64,
}

impl SeriesSet {
    /// An empty set.
    pub(in crate::store::sled) fn new(limits: SeriesLimits) -> Self {
        let counted = CountedSeries { limits, ..CountedSeries::default() };
        Self { hasher: DefaultHashBuilder::default(), counted: Mutex::new(counted) }
    }

    /// The series, to be looked up and added to. Commits hold them while they decide.
    pub(in crate::store::sled) fn lock(&self) -> LockedSeries<'_> {
        LockedSeries { hasher: &self.hasher, counted: self.counted.lock() }
    }

    /// Adds the series of a row that is there. Rows of the chunk index are of no series.
    pub(in crate::store::sled) fn note(&self, row: &RowKey) {
        let series = row.series_bytes();
        if !SPACES.iter().any(|space| series.first() == Some(&(*space as u8))) {
            return;
        }
        let Some(organization) = organization_of(series) else { return };
        self.counted.lock().insert(organization, self.hasher.hash_one(series));
    }

    /// Adds the series of all stored rows.
    pub(in crate::store::sled) fn load(&self, engine: &Engine) -> Result<(), StoreError> {
        for space in SPACES {
            for_each_series(engine, space, |series| {
                if let Some(organization) = organization_of(series) {
                    self.counted.lock().insert(organization, self.hasher.hash_one(series));
                }
            })?;
        }
        Ok(())
    }

    pub(in crate::store::sled) fn figures(&self) -> SeriesFigures {
        self.counted.lock().figures
    }
}

impl LockedSeries<'_> {
    /// The key of the series whose rows begin with `prefix`.
    pub(in crate::store::sled) fn key(&self, prefix: Vec<u8>) -> SeriesKey {
        let hash = self.hasher.hash_one(prefix.as_slice());
        SeriesKey { prefix, hash }
    }

    pub(in crate::store::sled) fn contains(
        &self,
        organization: OrganizationNumber,
        series: &SeriesKey,
    ) -> bool {
        let known = self.counted.by_organization.get(&organization);
        known.is_some_and(|known| known.find(series.hash, |hash| *hash == series.hash).is_some())
    }

    /// That an organization may have so many more series.
    pub(in crate::store::sled) fn check(
        &self,
        organization: OrganizationNumber,
        new: usize,
    ) -> Result<(), TooManySeries> {
        let CountedSeries { limits, by_organization, figures } = &*self.counted;
        let series = by_organization.get(&organization).map_or(0, |known| known.len() as u64);
        limits.check(series, figures.all, new as u64)
    }

    /// Adds a series.
    pub(in crate::store::sled) fn add(
        &mut self,
        organization: OrganizationNumber,
        series: &SeriesKey,
    ) {
        self.counted.insert(organization, series.hash);
    }

    /// Counts a report that is refused.
    pub(in crate::store::sled) fn count_refused(&mut self) {
        self.counted.figures.reports_refused += 1;
    }

    /// Counts an event that is stored in a series that says less.
    pub(in crate::store::sled) fn count_coarsened(&mut self) {
        self.counted.figures.events_coarsened += 1;
    }
}

impl CountedSeries {
    fn insert(&mut self, organization: OrganizationNumber, hash: u64) {
        let known = self.by_organization.entry(organization).or_default();
        if known.find(hash, |known| *known == hash).is_some() {
            return;
        }
        known.insert_unique(hash, hash, |hash| *hash);
        self.figures.all += 1;
        self.figures.highest = self.figures.highest.max(known.len() as u64);
    }
}

/// The organization that a series belongs to: its number stands behind the byte of the key space.
fn organization_of(series: &[u8]) -> Option<OrganizationNumber> {
    let number = series.get(1..5)?.try_into().ok()?;
    Some(OrganizationNumber(u32::from_be_bytes(number)))
}

/// Visits the series of all stored rows of a kind. Rows are sorted by series, so what has many rows is jumped over.
fn for_each_series(
    engine: &Engine,
    space: KeySpace,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), StoreError> {
    let mut rows = engine.range(space.only().to_vec()..);
    let mut last = Vec::new();
    let mut repeated = 0;
    while let Some(entry) = rows.next() {
        let (key, _) = entry?;
        if key.first() != Some(&(space as u8)) {
            break;
        }
        let key = RowKey::from_bytes(&key);
        if key.series_bytes() != last {
            last.clear();
            last.extend_from_slice(key.series_bytes());
            visit(&last);
            repeated = 0;
            continue;
        }
        repeated += 1;
        if repeated == ROWS_BEFORE_JUMP {
            // After every period of the series, since those have four bytes; and before the next series, since that one
            // differs in an earlier byte.
            rows = engine.range([last.as_slice(), &[0xff; 5]].concat()..);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::{engine::Batch, options::StoreOptions};

    #[test]
    fn every_series_of_stored_rows_is_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(&StoreOptions::new(directory.path())).unwrap();
        let row = |space: KeySpace, organization, name: &str, period: u32| {
            let mut key = space.of_organization(OrganizationNumber(organization));
            key.extend_from_slice(name.as_bytes());
            key.push(0);
            key.extend_from_slice(&period.to_be_bytes());
            key
        };
        let mut batch = Batch::default();
        for space in [KeySpace::Rollup, KeySpace::ApiRollup, KeySpace::RetiredRow] {
            for (name, periods) in [("a", 1), ("ab", 40), ("b", 9), ("c", 2)] {
                for period in 0..periods {
                    batch.put(&row(space, 1, name, u32::MAX - period), vec![0]);
                }
            }
            batch.put(&row(space, 258, "a", 0), vec![0]);
        }
        engine.stage_batch(batch).unwrap();
        let set = SeriesSet::new(SeriesLimits::default());
        set.load(&engine).unwrap();
        assert_eq!((set.figures().all, set.figures().highest), (10, 8));
        set.note(&RowKey::from_bytes(&row(KeySpace::Rollup, 1, "ab", 7)));
        set.note(&RowKey::from_bytes(&row(KeySpace::AssetRollup, 1, "ab", 7)));
        assert_eq!((set.figures().all, set.figures().highest), (11, 9));
        let series = |name: &str| {
            let mut prefix = row(KeySpace::ApiRollup, 258, name, 0);
            prefix.truncate(prefix.len() - 4);
            set.lock().key(prefix)
        };
        let of_258 = OrganizationNumber(258);
        let known = ["a", "ab"].map(series).map(|series| set.lock().contains(of_258, &series));
        assert_eq!(known, [true, false]);
    }
}
