//! Keys of the uuid index, and their hash.

use std::cmp::Ordering;

use siphasher::sip::SipHasher13;
use uuid::Uuid;

use crate::store::sled::organizations::OrganizationNumber;

/// Bytes of a key.
pub(in crate::store::sled) const KEY_BYTES: usize = 20;

/// What the uuid identifies. Kinds have separate uuids. Part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::store::sled) enum UuidKind {
    /// A product usage record, through any of the write methods.
    ProductUsage = 1,
    /// An event of API usage.
    ApiUsage = 2,
}

/// A uuid in an organization: the uuid first, so that time-ordered uuids stay in the order of time
/// across organizations and the key range of a run excludes those of another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct UuidKey([u8; KEY_BYTES]);

impl UuidKey {
    pub(in crate::store::sled) fn new(
        uuid: Uuid,
        organization: OrganizationNumber,
        kind: UuidKind,
    ) -> Self {
        let scope = (organization.0 << 8) | kind as u32;
        let bytes = uuid.as_u128().to_be_bytes().into_iter().chain(scope.to_be_bytes());
        let mut key = [0; KEY_BYTES];
        for (slot, byte) in key.iter_mut().zip(bytes) {
            *slot = byte;
        }
        Self(key)
    }

    pub(in crate::store::sled) fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub(in crate::store::sled) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The uuid, without its scope.
    pub(in crate::store::sled) fn uuid(&self) -> Uuid {
        Uuid::from_u128(self.parts().0)
    }

    /// Uuid and scope as numbers.
    #[inline]
    fn parts(&self) -> (u128, u32) {
        let (uuid, scope) = self.0.split_first_chunk().expect("a key is longer than a uuid");
        let scope = scope.first_chunk().expect("a key has four bytes after its uuid");
        (u128::from_be_bytes(*uuid), u32::from_be_bytes(*scope))
    }
}

/// The order of the bytes. Sorting and merging do little else than to compare keys: as two numbers that takes a few
/// instructions, as bytes a call.
impl Ord for UuidKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for UuidKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A key that was hashed: it is looked for in many places, and hashed once.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::sled) struct HashedKey {
    pub(in crate::store::sled) key: UuidKey,
    pub(in crate::store::sled) hash: u64,
}

/// Hashes keys with a secret of the store: callers choose uuids, and must not be able to choose ones
/// that collide.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::sled) struct KeyHasher(SipHasher13);

impl KeyHasher {
    pub(in crate::store::sled) fn new(seed: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(seed))
    }

    pub(in crate::store::sled) fn hashed(&self, key: UuidKey) -> HashedKey {
        HashedKey { key, hash: self.hash(&key) }
    }

    /// The hash is part of the file format: filters on disk were built with it.
    pub(in crate::store::sled) fn hash(&self, key: &UuidKey) -> u64 {
        self.0.hash(&key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_uuid_and_then_by_organization() {
        let key = |uuid, organization| {
            UuidKey::new(
                Uuid::from_u128(uuid),
                OrganizationNumber(organization),
                UuidKind::ProductUsage,
            )
        };
        assert!(key(1, 9) < key(2, 1));
        assert!(key(1, 1) < key(1, 2));
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_that_of_the_bytes(one: [u8; KEY_BYTES], same in 0..=KEY_BYTES, rest: [u8; KEY_BYTES]) {
            let mut other = one;
            if let (Some(to), Some(from)) = (other.get_mut(same..), rest.get(same..)) {
                to.copy_from_slice(from);
            }
            let (key, other_key) = (UuidKey::from_bytes(one), UuidKey::from_bytes(other));
            proptest::prop_assert_eq!(key.cmp(&other_key), one.cmp(&other));
        }
    }

    #[test]
    fn the_hash_is_what_the_file_format_says() {
        let key = UuidKey::new(Uuid::from_u128(42), OrganizationNumber(1), UuidKind::ProductUsage);
        assert_eq!(KeyHasher::new(&[7; 16]).hash(&key), KEY_HASH_FIXTURE);
    }

    const KEY_HASH_FIXTURE: u64 = 1_153_502_133_310_985_192;
}
