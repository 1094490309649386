//! Who a store is: its id and its secrets, made once.

use uuid::Uuid;

use super::{
    codec::{self, Reader},
    engine::Engine,
    keyspace::KeySpace,
    options::{OpenError, StoreOptions},
};
use crate::store::StoreError;

/// The version of the whole on-disk layout. A store of another version is refused.
pub(super) const VERSION: u8 = 1;

/// What was drawn when the store was created.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) store_id: [u8; 16],
    /// Seeds the hash of the uuid index.
    pub(super) hash_seed: [u8; 16],
    /// What the texts are sealed with that callers hand back: page tokens, and moments.
    pub(super) token_key: [u8; 16],
    /// How often the store was opened, this time included.
    pub(super) opened: u64,
}

/// The id of a store as others know it.
pub(super) fn store_uuid(identity: &Identity) -> Uuid {
    Uuid::from_bytes(identity.store_id)
}

impl Identity {
    /// Reads or creates the identity, and proves on the way that flushes reach the disk.
    pub(super) fn establish(
        engine: &Engine,
        options: &StoreOptions,
        head: Option<[u8; 16]>,
    ) -> Result<Self, OpenError> {
        let key = KeySpace::Format.only();
        let mut identity = match engine.get(&key)? {
            Some(value) => Self::decode(&key, &value)?,
            None if engine.is_empty() && head.is_none() => Self::draw()?,
            None if head.is_some() => {
                let what = "the store is empty, but was not when it was last open";
                return Err(StoreError::Damaged(what.into()).into());
            }
            None => return Err(OpenError::NotAStore(options.data_dir.clone())),
        };
        if head.is_some_and(|store_id| store_id != identity.store_id) {
            return Err(StoreError::Damaged("the head file belongs to another store".into()).into());
        }
        identity.opened += 1;
        engine.prove_durability(&key, &identity.encode(&key))?;
        Ok(identity)
    }

    fn draw() -> Result<Self, OpenError> {
        let mut identity =
            Self { store_id: [0; 16], hash_seed: [0; 16], token_key: [0; 16], opened: 0 };
        for secret in [&mut identity.store_id, &mut identity.hash_seed, &mut identity.token_key] {
            getrandom::fill(secret)
                .map_err(|error| StoreError::Engine(format!("no randomness: {error}").into()))?;
        }
        Ok(identity)
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let mut reader = Reader::new(codec::open_frame(value, VERSION, key)?);
            let identity = Self {
                store_id: reader.array()?,
                hash_seed: reader.array()?,
                token_key: reader.array()?,
                opened: reader.u64()?,
            };
            reader.end()?;
            Ok(identity)
        };
        read().map_err(|error: codec::Malformed| {
            StoreError::Damaged(format!("store identity: {error}").into())
        })
    }

    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut frame = codec::start_frame(56);
        for secret in [&self.store_id, &self.hash_seed, &self.token_key] {
            frame.extend_from_slice(secret);
        }
        frame.extend_from_slice(&self.opened.to_le_bytes());
        codec::finish_frame(&mut frame, VERSION, key);
        frame
    }
}
