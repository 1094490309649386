//! Pages in the store: an entry each, in the order of what is first on them.

use super::{
    codec,
    core::Core,
    documents,
    faults::FaultPoint,
    keyspace::{KeySpace, push_part},
    organizations::OrganizationNumber,
    state::StateBatch,
};
use crate::{
    domain::id::OrganizationId,
    store::{
        StoreError,
        document::{DOCUMENT_BYTES_MAX, DocumentChange, Page},
    },
};

pub(super) const VERSION: u8 = 1;

/// Pages removed at once. sled holds its write lock for as long as a batch takes, so a batch is small.
const REMOVED_PER_BATCH: usize = 256;

/// All pages of a book begin with this.
pub(super) fn prefix(organization: OrganizationNumber, book: &str) -> Vec<u8> {
    let mut key = KeySpace::Page.of_organization(organization);
    push_part(&mut key, book);
    key
}

pub(super) fn key(prefix: &[u8], first: u64) -> Vec<u8> {
    [prefix, &first.to_be_bytes()].concat()
}

/// Writes pages and documents, all at once; durable on return.
pub(super) fn write(
    core: &Core,
    organization: &OrganizationId,
    book: &str,
    pages: &[Page],
    changes: &[DocumentChange],
) -> Result<(), StoreError> {
    let number = core.organizations.number_or_add(&core.engine, organization)?;
    let prefix = prefix(number, book);
    let mut batch = StateBatch::default();
    for Page { first, body } in pages {
        if body.len() > DOCUMENT_BYTES_MAX {
            return Err(StoreError::Unrepresentable("a page of more than 6,144 bytes"));
        }
        let key = key(&prefix, *first);
        batch.put(&key, codec::frame(body, VERSION, &key));
    }
    documents::stage(core, changes, &mut batch)?;
    core.engine.pass(FaultPoint::DocumentWrite)?;
    core.state.stage(&core.engine, batch)?;
    // Until it has flushed them, sled keeps all pages in memory, whatever the size of its cache.
    core.engine.flush()
}

pub(super) fn page(prefix: &[u8], key: &[u8], value: &[u8]) -> Result<Page, StoreError> {
    let first = key.strip_prefix(prefix).and_then(|first| first.try_into().ok());
    let first = first.ok_or("its key has no number").map_err(codec::damaged("page"))?;
    let body = codec::open_frame(value, VERSION, key).map_err(codec::damaged("page"))?;
    Ok(Page { first: u64::from_be_bytes(first), body: body.to_vec() })
}

/// The last page that begins at or before `at`.
pub(super) fn at(
    core: &Core,
    organization: &OrganizationId,
    book: &str,
    at: u64,
) -> Result<Option<Page>, StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(None) };
    let prefix = prefix(number, book);
    let Some(entry) = core.engine.range(prefix.clone()..=key(&prefix, at)).next_back() else {
        return Ok(None);
    };
    let (key, value) = entry?;
    page(&prefix, &key, &value).map(Some)
}

/// Removes all pages of a book; durable with the next documents.
pub(super) fn remove(
    core: &Core,
    organization: &OrganizationId,
    book: &str,
) -> Result<(), StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(()) };
    let prefix = prefix(number, book);
    loop {
        let mut batch = StateBatch::default();
        let mut removed = 0;
        for entry in core.engine.prefix(&prefix).take(REMOVED_PER_BATCH) {
            batch.remove(&entry?.0);
            removed += 1;
        }
        if removed == 0 {
            return Ok(());
        }
        core.state.stage(&core.engine, batch)?;
    }
}
