//! Documents in the store: an entry each.

use super::{
    codec,
    core::Core,
    engine::Entry,
    faults::FaultPoint,
    keyspace::{KeySpace, push_part},
    organizations::OrganizationNumber,
    state::StateBatch,
};
use crate::{
    domain::id::OrganizationId,
    store::{
        StoreError,
        document::{Collection, DOCUMENT_BYTES_MAX, Document, DocumentChange},
    },
};

pub(super) const VERSION: u8 = 1;

pub(super) fn space(collection: Collection) -> KeySpace {
    match collection {
        Collection::Organizations => KeySpace::OrganizationDocument,
        Collection::Clients => KeySpace::ClientDocument,
        Collection::AuditEvents => KeySpace::AuditEvent,
        Collection::Queries => KeySpace::QueryDocument,
    }
}

pub(super) fn key(collection: Collection, organization: OrganizationNumber, name: &str) -> Vec<u8> {
    let mut key = space(collection).of_organization(organization);
    push_part(&mut key, name);
    key
}

/// Reads every document of a collection.
pub(super) fn all(core: &Core, collection: Collection) -> Result<Vec<Document>, StoreError> {
    let mut documents = Vec::new();
    for (number, organization) in core.organizations.all() {
        let prefix = space(collection).of_organization(number);
        for entry in core.engine.prefix(&prefix) {
            let (key, value) = entry?;
            documents.push(document(&organization, &prefix, &key, &value)?);
        }
    }
    Ok(documents)
}

/// Reads up to `limit` documents of one organization before a name, last first.
pub(super) fn before(
    core: &Core,
    collection: Collection,
    organization: &OrganizationId,
    name: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(Vec::new()) };
    let prefix = space(collection).of_organization(number);
    let end = match name {
        Some(name) => key(collection, number, name),
        // Names have no control characters: this byte is after all of theirs.
        None => [prefix.as_slice(), &[0xFF]].concat(),
    };
    core.engine
        .range(prefix.clone()..end)
        .rev()
        .take(limit)
        .map(|entry| {
            let (key, value) = entry?;
            document(organization, &prefix, &key, &value)
        })
        .collect()
}

/// Reads up to `limit` documents of one organization, first first.
pub(super) fn first(
    core: &Core,
    collection: Collection,
    organization: &OrganizationId,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(Vec::new()) };
    let prefix = space(collection).of_organization(number);
    let entries = core.engine.prefix(&prefix).take(limit);
    let read = |entry: Result<Entry, StoreError>| {
        let (key, value) = entry?;
        document(organization, &prefix, &key, &value)
    };
    entries.map(read).collect()
}

pub(super) fn document(
    organization: &OrganizationId,
    prefix: &[u8],
    key: &[u8],
    value: &[u8],
) -> Result<Document, StoreError> {
    let body = codec::open_frame(value, VERSION, key).map_err(codec::damaged("document"))?;
    let name = key
        .strip_prefix(prefix)
        .and_then(|name| name.strip_suffix(&[0]))
        .ok_or("its key has no name")
        .map_err(codec::damaged("document"))?;
    let name = std::str::from_utf8(name).map_err(codec::damaged("document"))?;
    Ok(Document { organization: organization.clone(), name: name.to_owned(), body: body.to_vec() })
}

/// Adds changes to a batch, giving organizations their numbers.
pub(super) fn stage(
    core: &Core,
    changes: &[DocumentChange],
    batch: &mut StateBatch,
) -> Result<(), StoreError> {
    for change in changes {
        let number = core.organizations.number_or_add(&core.engine, &change.organization)?;
        let key = key(change.collection, number, &change.name);
        match &change.body {
            None => batch.remove(&key),
            Some(body) if body.len() > DOCUMENT_BYTES_MAX => {
                return Err(StoreError::Unrepresentable("a document of more than 6,144 bytes"));
            }
            Some(body) => batch.put(&key, codec::frame(body, VERSION, &key)),
        }
    }
    Ok(())
}
/// Writes changes, all at once; durable on return.
pub(super) fn write(core: &Core, changes: &[DocumentChange]) -> Result<(), StoreError> {
    let mut batch = StateBatch::default();
    stage(core, changes, &mut batch)?;
    core.engine.pass(FaultPoint::DocumentWrite)?;
    core.state.stage(&core.engine, batch)?;
    core.engine.flush()
}
