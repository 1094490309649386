//! Assets: millions of small entries, packed into pages in the order of their ids.
//!
//! sled holds up to sixteen keys in one of its own pages, and keeps something in memory for each of those: with a key for
//! every asset, ten million took 900 MB. A page of ours is the value of one key, which names the first id that may be in
//! it; the first page of an organization has no id in its key, so every id has a page at or before it. Small pages, since
//! assets may come in any order and every change writes its page anew.
//!
//! Body of a page, version 1: entries { id:text state:u8 (0 active, 1 retired) name:long text }, ids ascending.

use std::collections::BTreeMap;

use super::{
    codec::{self, Malformed, Reader},
    core::Core,
    documents,
    engine::{Engine, VALUE_BYTES_MAX},
    faults::FaultPoint,
    keyspace::{KeySpace, push_part},
    organizations::OrganizationNumber,
    state::StateBatch,
};
use crate::{
    domain::{
        asset::Asset,
        catalog::State,
        id::{AssetId, OrganizationId},
    },
    store::{StoreError, document::DocumentChange},
};

pub(super) const VERSION: u8 = 1;
/// A page with more is divided into pages with at most [`FILLED_BYTES`] each, unless it is one large entry.
const PAGE_BYTES_MAX: usize = 640;
/// Room is left for ids that come in between.
const FILLED_BYTES: usize = 480;
/// The longest name: 256 characters.
const NAME_BYTES_MAX: usize = 1024;
/// An id of at most 200 bytes, a state and a name.
const ENTRY_BYTES_MAX: usize = 1 + 200 + 1 + 2 + NAME_BYTES_MAX;

const _: () = assert!(codec::FRAME_BYTES + PAGE_BYTES_MAX + ENTRY_BYTES_MAX <= VALUE_BYTES_MAX);

/// Assets of a page, by id.
pub(super) type Entries = BTreeMap<AssetId, (State, String)>;

/// Reads the assets of some ids, in the order of `ids`.
pub(super) fn get(
    core: &Core,
    organization: &OrganizationId,
    ids: &[AssetId],
) -> Result<Vec<Option<Asset>>, StoreError> {
    let Some(number) = core.organizations.number(organization) else {
        return Ok(vec![None; ids.len()]);
    };
    ids.iter()
        .map(|id| {
            let Some((_, mut entries)) = page_of(&core.engine, number, id)? else {
                return Ok(None);
            };
            let found = entries.remove(id);
            Ok(found.map(|(state, name)| Asset { id: id.clone(), name, state }))
        })
        .collect()
}

/// Reads up to `limit` assets after an id, or from the first on.
pub(super) fn after(
    core: &Core,
    organization: &OrganizationId,
    id: Option<&AssetId>,
    limit: usize,
) -> Result<Vec<Asset>, StoreError> {
    let Some(number) = core.organizations.number(organization) else { return Ok(Vec::new()) };
    let prefix = KeySpace::CatalogAsset.of_organization(number);
    let start = match id {
        Some(id) => {
            page_of(&core.engine, number, id)?.map_or_else(|| prefix.clone(), |(key, _)| key)
        }
        None => prefix.clone(),
    };
    let mut found = Vec::new();
    for entry in core.engine.range(start..) {
        let (key, value) = entry?;
        if !key.starts_with(&prefix) || found.len() >= limit {
            break;
        }
        for (asset, (state, name)) in decode(&key, &value)? {
            if id.is_none_or(|id| *id < asset) {
                found.push(Asset { id: asset, name, state });
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Puts and removes assets together with `documents`, durably and all at once.
pub(super) fn write(
    core: &Core,
    organization: &OrganizationId,
    put: &[Asset],
    remove: &[AssetId],
    documents: &[DocumentChange],
) -> Result<(), StoreError> {
    let number = core.organizations.number_or_add(&core.engine, organization)?;
    let mut batch = StateBatch::default();
    let mut changes: BTreeMap<&AssetId, Option<&Asset>> =
        remove.iter().map(|id| (id, None)).collect();
    changes.extend(put.iter().map(|asset| (&asset.id, Some(asset))));
    while let Some((first, _)) = changes.first_key_value() {
        let (key, mut entries) = match page_of(&core.engine, number, first)? {
            Some(page) => page,
            None => (KeySpace::CatalogAsset.of_organization(number), Entries::new()),
        };
        let later = match next_page(&core.engine, number, &key)? {
            Some(next) => changes.split_off(&next),
            None => BTreeMap::new(),
        };
        for (id, asset) in std::mem::replace(&mut changes, later) {
            match asset {
                Some(asset) => entries.insert(id.clone(), (asset.state, asset.name.clone())),
                None => entries.remove(id),
            };
        }
        for (key, page) in pages(number, key, &entries) {
            batch.put(&key, page);
        }
    }
    documents::stage(core, documents, &mut batch)?;
    core.engine.pass(FaultPoint::CatalogWrite)?;
    core.state.stage(&core.engine, batch)?;
    core.engine.flush()
}

/// The page in which an id is, if it is anywhere; `None` only if the organization has no page at all.
fn page_of(
    engine: &Engine,
    organization: OrganizationNumber,
    id: &AssetId,
) -> Result<Option<(Vec<u8>, Entries)>, StoreError> {
    let first = KeySpace::CatalogAsset.of_organization(organization);
    let found = engine.range(first..=key(organization, id)).next_back().transpose()?;
    found.map(|(key, value)| Ok((key.to_vec(), decode(&key, &value)?))).transpose()
}

/// The first id that belongs to the page after a key.
fn next_page(
    engine: &Engine,
    organization: OrganizationNumber,
    page: &[u8],
) -> Result<Option<AssetId>, StoreError> {
    let prefix = KeySpace::CatalogAsset.of_organization(organization);
    // Nothing is between a key and the same with a NUL at its end.
    let next = engine.range([page, &[0]].concat()..).next().transpose()?;
    let Some(name) = next.as_ref().and_then(|(key, _)| key.strip_prefix(prefix.as_slice())) else {
        return Ok(None);
    };
    let name = name.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
    let id = name.and_then(|name| AssetId::new(name).ok());
    id.map(Some).ok_or_else(|| codec::damaged("page of assets")(Malformed::Content))
}

fn key(organization: OrganizationNumber, id: &AssetId) -> Vec<u8> {
    let mut key = KeySpace::CatalogAsset.of_organization(organization);
    push_part(&mut key, id.as_str());
    key
}

/// Keys and pages of entries: under a key that is given, and, of those that find no room there, under keys of their own.
pub(super) fn pages(
    organization: OrganizationNumber,
    mut page_key: Vec<u8>,
    entries: &Entries,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let encoded: Vec<(&AssetId, Vec<u8>)> =
        entries.iter().map(|(id, entry)| (id, encode(id, entry))).collect();
    let bytes: usize = encoded.iter().map(|(_, bytes)| bytes.len()).sum();
    let room = if bytes <= PAGE_BYTES_MAX { PAGE_BYTES_MAX } else { FILLED_BYTES };
    let mut page = codec::start_frame(room);
    let mut pages = Vec::new();
    let mut used = 0;
    for (id, bytes) in encoded {
        if used > 0 && used + bytes.len() > room {
            codec::finish_frame(&mut page, VERSION, &page_key);
            let full = std::mem::replace(&mut page, codec::start_frame(room));
            pages.push((std::mem::replace(&mut page_key, key(organization, id)), full));
            used = 0;
        }
        used += bytes.len();
        page.extend_from_slice(&bytes);
    }
    codec::finish_frame(&mut page, VERSION, &page_key);
    pages.push((page_key, page));
    pages
}

fn encode(id: &AssetId, (state, name): &(State, String)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(id.as_str().len() + name.len() + 4);
    codec::put_text(&mut bytes, id.as_str());
    bytes.push(match state {
        State::Active => 0,
        State::Retired => 1,
    });
    codec::put_long_text(&mut bytes, name);
    debug_assert!(bytes.len() <= ENTRY_BYTES_MAX, "an asset of {} bytes", bytes.len());
    bytes
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Entries, StoreError> {
    codec::open_frame(value, VERSION, key).and_then(parse).map_err(codec::damaged("page of assets"))
}

fn parse(body: &[u8]) -> Result<Entries, Malformed> {
    let mut reader = Reader::new(body);
    let mut entries = Entries::new();
    while reader.end().is_err() {
        let id = AssetId::new(reader.text()?).map_err(|_| Malformed::Content)?;
        let state = match reader.u8()? {
            0 => State::Active,
            1 => State::Retired,
            _ => return Err(Malformed::Content),
        };
        let name = reader.long_text()?.to_owned();
        let ascends = entries.last_key_value().is_none_or(|(last, _)| *last < id);
        if !ascends || name.len() > NAME_BYTES_MAX {
            return Err(Malformed::Content);
        }
        entries.insert(id, (state, name));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_have_been_written_is_refused() {
        let entry = |id: &str, name: &str| {
            encode(&AssetId::new(id).unwrap(), &(State::Active, name.to_owned()))
        };
        let read = |entries: &[Vec<u8>]| {
            let value = codec::frame(&entries.concat(), VERSION, b"key");
            decode(b"key", &value).map(|entries| entries.len()).ok()
        };
        assert_eq!(read(&[entry("a", "x"), entry("b", "")]), Some(2));
        assert_eq!(read(&[entry("b", ""), entry("a", "x")]), None, "out of order");
        assert_eq!(read(&[entry("a", "x"), entry("a", "y")]), None, "one asset twice");
        let mut long = b"\x01a\0".to_vec();
        codec::put_long_text(&mut long, &"x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(read(&[long]), None, "too long a name");
    }
}
