//! The keys of the one sled tree. Every kind of entry has its own first byte; numbers are big-endian
//! so that keys sort as their numbers do.
//!
//! Every key that belongs to one organization has the organization's number right after the first
//! byte. Two kinds belong to none: the log, whose chunks hold records of many organizations, and the
//! pages of the uuid index, whose entries begin with the uuid.

use super::organizations::OrganizationNumber;
use crate::domain::usage::LogSequence;

/// What an entry is. Values are part of the file format: a retired kind stays in the list, so that
/// its byte is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum KeySpace {
    /// The store's format, identity and secrets: one entry.
    Format = 0x01,
    /// The uuid index's manifest: one entry.
    Manifest = 0x02,
    /// Organization number → name.
    Organization = 0x03,
    /// Log sequence → chunk of records.
    Log = 0x10,
    /// Where the log begins, and what was before: one entry.
    LogFloor = 0x11,
    /// Organization, block of sequences → which chunks of the log hold records of the organization.
    ChunkIndex = 0x12,
    /// Run, page → sorted uuids.
    RunPage = 0x20,
    /// Run, part → first keys of pages.
    RunFences = 0x21,
    /// Run, part → Bloom filter blocks.
    RunFilter = 0x22,
    /// Organization, series, day → totals by quarter hour.
    Rollup = 0x30,
    /// Organization, asset, client, month → totals by day.
    AssetRollup = 0x31,
    /// Organization, client, template, method, user, platform, month → totals by day and class of statuses.
    ApiRollup = 0x32,
    /// Key of a row → what the part of the log that was dropped adds up to.
    RetiredRow = 0x33,
    /// Organization, product → product.
    CatalogProduct = 0x40,
    /// Organization, product, SKU → SKU.
    CatalogSku = 0x41,
    /// Organization, product instance → product instance.
    CatalogInstance = 0x42,
    /// Organization, first asset of a page → assets.
    CatalogAsset = 0x43,
    /// Organization → what is known of it.
    OrganizationDocument = 0x50,
    /// Organization, client → client.
    ClientDocument = 0x51,
    /// Organization, number → audit event.
    AuditEvent = 0x52,
    /// Organization, query → what is known of it.
    QueryDocument = 0x53,
    /// Organization, book, first thing on it → page.
    Page = 0x54,
    /// Organization, batch → where it stands in the log.
    UsageBatch = 0x60,
}

impl KeySpace {
    /// Every kind.
    pub(super) const ALL: [Self; 23] = [
        Self::Format,
        Self::Manifest,
        Self::Organization,
        Self::Log,
        Self::LogFloor,
        Self::ChunkIndex,
        Self::RunPage,
        Self::RunFences,
        Self::RunFilter,
        Self::Rollup,
        Self::AssetRollup,
        Self::ApiRollup,
        Self::RetiredRow,
        Self::CatalogProduct,
        Self::CatalogSku,
        Self::CatalogInstance,
        Self::CatalogAsset,
        Self::OrganizationDocument,
        Self::ClientDocument,
        Self::AuditEvent,
        Self::QueryDocument,
        Self::Page,
        Self::UsageBatch,
    ];

    /// The key of the only entry of a kind.
    pub(super) fn only(self) -> [u8; 1] {
        [self as u8]
    }

    /// The first bytes of all keys of an organization.
    pub(super) fn of_organization(self, organization: OrganizationNumber) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        key.push(self as u8);
        key.extend_from_slice(&organization.0.to_be_bytes());
        key
    }

    /// The key of a part of a run.
    pub(super) fn of_run(self, run: u32, part: u32) -> [u8; 9] {
        let mut key = [self as u8; 9];
        let numbers = run.to_be_bytes().into_iter().chain(part.to_be_bytes());
        for (slot, byte) in key.iter_mut().skip(1).zip(numbers) {
            *slot = byte;
        }
        key
    }
}

/// The key of a chunk of the log.
pub(super) fn log_key(sequence: LogSequence) -> [u8; 9] {
    let mut key = [KeySpace::Log as u8; 9];
    for (slot, byte) in key.iter_mut().skip(1).zip(sequence.0.to_be_bytes()) {
        *slot = byte;
    }
    key
}

/// The sequence in a key of the log.
pub(super) fn log_sequence(key: &[u8]) -> Option<LogSequence> {
    let (space, number) = key.split_first()?;
    (*space == KeySpace::Log as u8).then_some(())?;
    Some(LogSequence(u64::from_be_bytes(number.try_into().ok()?)))
}

/// The key of an organization's entry.
pub(super) fn organization_key(organization: OrganizationNumber) -> Vec<u8> {
    KeySpace::Organization.of_organization(organization)
}

/// Appends a text and the NUL that ends it: no identifier contains one, so keys sort by their parts.
pub(super) fn push_part(key: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains('\0'), "identifiers have no control characters");
    key.extend_from_slice(text.as_bytes());
    key.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_numbers_sort_as_they_should() {
        let last_of_log = log_key(LogSequence(u64::MAX));
        assert!(log_key(LogSequence(255)) < log_key(LogSequence(256)));
        assert!(last_of_log < KeySpace::RunPage.of_run(0, 0));
        assert!(KeySpace::RunPage.of_run(1, u32::MAX) < KeySpace::RunPage.of_run(2, 0));
        assert_eq!(log_sequence(&last_of_log), Some(LogSequence(u64::MAX)));
        assert_eq!(log_sequence(&KeySpace::RunPage.of_run(0, 0)), None);
    }

    #[test]
    fn bytes_of_the_file_format_stay_what_they_are() {
        let bytes = KeySpace::ALL.map(|space| space as u8);
        assert_eq!(
            bytes,
            [
                0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32, 0x33, 0x40,
                0x41, 0x42, 0x43, 0x50, 0x51, 0x52, 0x53, 0x54, 0x60
            ]
        );
    }
}
