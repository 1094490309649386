//! Numbers for organizations, so that keys are short and of one length.

use std::collections::HashMap;

use parking_lot::{Mutex, RwLock};

use super::{
    codec::{self, Malformed, Reader},
    engine::Engine,
    keyspace::{KeySpace, organization_key},
};
use crate::{domain::id::OrganizationId, store::StoreError};

pub(super) const VERSION: u8 = 1;

/// An organization's number in this store, from 1. Given at first use, never reused. Below 2^24,
/// since the uuid index keeps it in three bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OrganizationNumber(pub(super) u32);

const NUMBER_MAX: u32 = (1 << 24) - 1;

#[derive(Default)]
struct Names {
    numbers: HashMap<OrganizationId, OrganizationNumber>,
    // In the order of the numbers.
    names: Vec<OrganizationId>,
}

/// All organizations that this store has seen.
pub(super) struct Organizations {
    // Locked only to look something up, or to put in a name that is stored.
    names: RwLock<Names>,
    adding: Mutex<()>,
}

impl Organizations {
    pub(super) fn load(engine: &Engine) -> Result<Self, StoreError> {
        let mut names = Names::default();
        for entry in engine.prefix(&KeySpace::Organization.only()) {
            let (key, value) = entry?;
            let damaged = |what: &dyn std::fmt::Display| {
                StoreError::Damaged(
                    format!("organization entry {}: {what}", names.names.len() + 1).into(),
                )
            };
            let name = decode(&key, &value).map_err(|error| damaged(&error))?;
            let number = next_number(&names).ok_or_else(|| damaged(&"too many"))?;
            if organization_key(number) != *key {
                return Err(damaged(&"missing or out of order"));
            }
            names.numbers.insert(name.clone(), number);
            names.names.push(name);
        }
        Ok(Self { names: RwLock::new(names), adding: Mutex::new(()) })
    }

    pub(super) fn number(&self, name: &OrganizationId) -> Option<OrganizationNumber> {
        self.names.read().numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: OrganizationNumber) -> Option<OrganizationId> {
        let index = usize::try_from(number.0).ok()?.checked_sub(1)?;
        self.names.read().names.get(index).cloned()
    }

    pub(super) fn all(&self) -> Vec<(OrganizationNumber, OrganizationId)> {
        let names = self.names.read();
        names
            .names
            .iter()
            .filter_map(|name| Some((*names.numbers.get(name)?, name.clone())))
            .collect()
    }

    /// The organization's number, given now if it has none. The new entry is durable on return:
    /// nothing must refer to a number that a crash could give to somebody else.
    pub(super) fn number_or_add(
        &self,
        engine: &Engine,
        name: &OrganizationId,
    ) -> Result<OrganizationNumber, StoreError> {
        if let Some(number) = self.number(name) {
            return Ok(number);
        }
        let _adding = self.adding.lock();
        if let Some(number) = self.number(name) {
            return Ok(number);
        }
        let number = next_number(&self.names.read())
            .ok_or(StoreError::Unrepresentable("a store holds at most 16,777,215 organizations"))?;
        let key = organization_key(number);
        engine.stage(&key, &encode(&key, name))?;
        engine.flush()?;
        let mut names = self.names.write();
        names.numbers.insert(name.clone(), number);
        names.names.push(name.clone());
        Ok(number)
    }
}

pub(super) fn encode(key: &[u8], name: &OrganizationId) -> Vec<u8> {
    let mut frame = codec::start_frame(64);
    codec::put_text(&mut frame, name.as_str());
    codec::finish_frame(&mut frame, VERSION, key);
    frame
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<OrganizationId, Malformed> {
    let mut reader = Reader::new(codec::open_frame(value, VERSION, key)?);
    let name = OrganizationId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    reader.end()?;
    Ok(name)
}

fn next_number(names: &Names) -> Option<OrganizationNumber> {
    let number = u32::try_from(names.names.len()).ok()?.checked_add(1)?;
    (number <= NUMBER_MAX).then_some(OrganizationNumber(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_something_behind_it_is_refused() {
        let key = organization_key(OrganizationNumber(1));
        let name = OrganizationId::new("acme").unwrap();
        assert_eq!(decode(&key, &encode(&key, &name)), Ok(name));
        let value = codec::frame(b"\x04acme!", VERSION, &key);
        assert_eq!(decode(&key, &value), Err(Malformed::Trailing));
    }
}
