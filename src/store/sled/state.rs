//! What is kept beside usage (documents, pages, catalog, assets): writing it, and reading all of it as of one moment while
//! it changes.
//!
//! A backup reads entry after entry, at the pace of whoever takes them, and holds nobody up meanwhile. Writers note the
//! keys that they have changed. These are read again, and those that changed meanwhile again, until so few are left that
//! they can be read with the gate shut, which is the one moment.

use std::collections::BTreeSet;

use parking_lot::{Mutex, RwLock};

use super::{
    engine::{Batch, Engine},
    keyspace::KeySpace,
};
use crate::store::{StoreError, backup::BackupRefusal};

/// Changed keys that may be read with the gate shut: a few milliseconds.
const HELD_KEYS_MAX: usize = 1024;
/// How often changed keys are read before that is given up as hopeless.
const ROUNDS_MAX: usize = 64;
/// Changed keys that are remembered at once, some 100 bytes each.
const CHANGED_KEYS_MAX: usize = 1 << 20;

/// Kinds of entries that make up the state; the organizations' numbers, which are never changed, come apart.
pub(super) const SPACES: [KeySpace; 9] = [
    KeySpace::CatalogProduct,
    KeySpace::CatalogSku,
    KeySpace::CatalogInstance,
    KeySpace::CatalogAsset,
    KeySpace::OrganizationDocument,
    KeySpace::ClientDocument,
    KeySpace::AuditEvent,
    KeySpace::QueryDocument,
    KeySpace::Page,
];

/// The gate, and what is changed behind a reader's back.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Held shared by writers, and exclusively by a reader for its one moment.
    gate: RwLock<()>,
    /// `None` while nobody reads all of it.
    changed: Mutex<Option<BTreeSet<Vec<u8>>>>,
}

/// Changes that land together or not at all.
#[derive(Default)]
pub(super) struct StateBatch {
    batch: Batch,
    keys: Vec<Vec<u8>>,
}

impl StateBatch {
    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        debug_assert!(is_state(key), "an entry of another kind would be missing in backups");
        self.batch.put(key, value);
        self.keys.push(key.to_vec());
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.batch.remove(key);
        self.keys.push(key.to_vec());
    }
}

/// Whether a key is of the state that changes.
fn is_state(key: &[u8]) -> bool {
    key.first().is_some_and(|first| SPACES.iter().any(|space| *space as u8 == *first))
}

/// Receives entries; without a value, the key is gone.
pub(super) type StateVisitor<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), StoreError> + 'a;

impl State {
    /// Puts changes, durable with the next flush.
    pub(super) fn stage(&self, engine: &Engine, changes: StateBatch) -> Result<(), StoreError> {
        let _shared = self.gate.read();
        engine.stage_batch(changes.batch)?;
        // Afterwards: whoever takes the key from here then finds the new value.
        let mut noted = self.changed.lock();
        // Once there are too many, the reader gives up.
        if let Some(changed) = noted.as_mut().filter(|changed| changed.len() <= CHANGED_KEYS_MAX) {
            changed.extend(changes.keys);
        }
        Ok(())
    }

    /// Visits entries so that what came last of each key is the state of one moment, and answers what `at_that_moment` did.
    /// Only one call runs at a time; another one is refused.
    pub(super) fn visit<T>(
        &self,
        engine: &Engine,
        visit: &mut StateVisitor<'_>,
        at_that_moment: impl FnOnce() -> T,
    ) -> Result<T, StoreError> {
        let watch = Watch::start(self)?;
        for space in SPACES {
            for entry in engine.prefix(&space.only()) {
                let (key, value) = entry?;
                visit(&key, Some(&value))?;
            }
        }
        for _ in 0..ROUNDS_MAX {
            let keys = watch.take()?;
            if keys.len() > HELD_KEYS_MAX {
                for key in keys {
                    visit(&key, engine.get(&key)?.as_deref())?;
                }
                continue;
            }
            let exclusive = self.gate.write();
            let last = watch.take()?.into_iter().chain(keys);
            let read = last.map(|key| Ok((engine.get(&key)?, key)));
            let read: Vec<_> = read.collect::<Result<_, StoreError>>()?;
            let moment = at_that_moment();
            drop(exclusive);
            for (value, key) in read {
                visit(&key, value.as_deref())?;
            }
            return Ok(moment);
        }
        Err(BackupRefusal::TooManyChanges.into())
    }
}

/// Has writers note what they change for as long as it lives.
struct Watch<'a>(&'a State);

impl<'a> Watch<'a> {
    fn start(state: &'a State) -> Result<Self, StoreError> {
        let mut changed = state.changed.lock();
        if changed.is_some() {
            return Err(BackupRefusal::UnderWay.into());
        }
        *changed = Some(BTreeSet::new());
        Ok(Self(state))
    }

    /// What was changed since the last call.
    fn take(&self) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        let taken = self.0.changed.lock().replace(BTreeSet::new()).unwrap_or_default();
        if taken.len() > CHANGED_KEYS_MAX {
            return Err(BackupRefusal::TooManyChanges.into());
        }
        Ok(taken)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.0.changed.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::sled::options::StoreOptions;

    fn key(number: u32) -> Vec<u8> {
        [KeySpace::Page.only().as_slice(), &number.to_be_bytes()].concat()
    }

    #[test]
    fn what_is_changed_while_it_is_read_is_read_as_of_one_moment() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(&StoreOptions::new(directory.path())).unwrap();
        let state = State::default();
        let put = |from: u32, to: u32, value: u8| {
            let mut batch = StateBatch::default();
            (from..to).for_each(|number| batch.put(&key(number), vec![value]));
            state.stage(&engine, batch).unwrap();
        };
        put(0, 4000, 1);
        let (mut visited, mut found) = (0, BTreeMap::new());
        let mut visit = |read: &[u8], value: Option<&[u8]>| {
            visited += 1;
            match visited {
                // Far more than is read with the gate shut, before and after where the reading stands.
                100 => put(0, 3000, 2),
                // Changed again, while the changed ones are read.
                4500 => {
                    let mut batch = StateBatch::default();
                    batch.remove(&key(7));
                    batch.put(&key(9000), vec![3]);
                    state.stage(&engine, batch).unwrap();
                }
                _ => {}
            }
            match value {
                Some(value) => found.insert(read.to_vec(), value.to_vec()),
                None => found.remove(read),
            };
            Ok(())
        };
        state.visit(&engine, &mut visit, || ()).unwrap();
        let stored: BTreeMap<Vec<u8>, Vec<u8>> = engine
            .prefix(&KeySpace::Page.only())
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
            .collect();
        assert_eq!(found, stored);
        assert_eq!(stored.len(), 4000);
        assert!(state.changed.lock().is_none(), "nobody notes anything any more");
    }

    #[test]
    fn only_one_reads_at_a_time() {
        let state = State::default();
        let first = Watch::start(&state).unwrap();
        let second = Watch::start(&state).map(drop);
        assert!(matches!(second, Err(StoreError::CannotBackUp(BackupRefusal::UnderWay))));
        drop(first);
        assert!(Watch::start(&state).is_ok());
    }
}
