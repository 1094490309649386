//! Small entries: who the store is, organizations, the catalog, assets, documents, pages, places of batches, and where the
//! log begins.

use serde::{Serialize, de::DeserializeOwned};

use super::is_sealed;
use crate::{
    domain::{
        fuzzing::{Choices, damaged, made_up},
        id::{AssetId, OrganizationId},
        limits::ID_CHARS_MAX,
        usage::LogSequence,
    },
    store::{
        document::{Collection, Document, Page},
        sled::{
            assets,
            batches::{self, BatchPlace},
            catalog::{self, InstanceEntry, ProductEntry, SkuEntry},
            codec::{self, FRAME_BYTES},
            documents,
            engine::VALUE_BYTES_MAX,
            head,
            identity::{self, Identity},
            keyspace::{KeySpace, organization_key},
            organizations::{self, OrganizationNumber},
            pages, retention,
        },
    },
};

/// Entries read back as they were written; one that was changed is refused; and whatever can be read says the same when it
/// is written again.
///
/// # Panics
/// If not.
pub fn entries(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(9) {
        0 => identity(&mut choices),
        1 => head_slots(&mut choices),
        2 => organization(&mut choices),
        3 => catalog_entries(&mut choices),
        4 => asset_pages(&mut choices),
        5 => document(&mut choices),
        6 => page(&mut choices),
        7 => batch_place(&mut choices),
        _ => retention::fuzzing::floor(&mut choices),
    }
}

/// A body that the next choices are, or the damaged one of a frame.
fn other_body(frame: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.once_in(2) {
        return choices.rest().to_vec();
    }
    damaged(frame.get(FRAME_BYTES..).unwrap_or_default().to_vec(), choices)
}

fn number(choices: &mut Choices<'_>) -> OrganizationNumber {
    OrganizationNumber(choices.number() as u32)
}

fn secret(choices: &mut Choices<'_>) -> [u8; 16] {
    [(); 16].map(|()| choices.byte())
}

fn identity(choices: &mut Choices<'_>) {
    let identity = Identity {
        store_id: secret(choices),
        hash_seed: secret(choices),
        token_key: secret(choices),
        opened: choices.number(),
    };
    let key = KeySpace::Format.only();
    let value = identity.encode(&key);
    // It has no Debug: it holds secrets.
    assert!(Identity::decode(&key, &value).is_ok_and(|read| read == identity));
    is_sealed(&value, &key, choices, |key, value| Identity::decode(key, value).is_ok());
    let value = codec::frame(&other_body(&value, choices), identity::VERSION, &key);
    if let Ok(identity) = Identity::decode(&key, &value) {
        assert!(identity.encode(&key) == value);
    }
}

fn head_slots(choices: &mut Choices<'_>) {
    let (store_id, other_id) = (secret(choices), secret(choices));
    let (one, two) = (LogSequence(choices.number()), LogSequence(choices.number()));
    let (state, other_state) = (head_state(choices), head_state(choices));
    let first = head::encode(&store_id, one, state);
    let second = head::encode(&other_id, two, other_state);
    let expected = if two >= one { (other_id, two) } else { (store_id, one) };
    assert_eq!(head::newest(&[first.clone(), second.clone()].concat()), Some(expected));
    is_open_unless_both_say_closed(&first, &second, choices);
    // The last four bytes of a slot, the state, have no checksum.
    let mut torn = first;
    let place = choices.pick(28);
    if let Some(byte) = torn.get_mut(place) {
        *byte ^= choices.byte().max(1);
    }
    assert_eq!(head::newest(&torn), None);
    assert_eq!(head::newest(&[torn, second].concat()), Some((other_id, two)));
    let any = damaged(choices.rest().to_vec(), choices);
    if let Some((store_id, last)) = head::newest(&any) {
        let encoded = head::encode(&store_id, last, head::OPEN);
        assert!(any.windows(28).any(|slot| encoded.starts_with(slot)));
    }
}

fn head_state(choices: &mut Choices<'_>) -> [u8; 4] {
    choices.of(&[head::OPEN, head::CLOSED])
}

/// A store was closed well only if both slots say just that.
fn is_open_unless_both_say_closed(first: &[u8], second: &[u8], choices: &mut Choices<'_>) {
    let says_closed = |slot: &[u8]| slot.ends_with(&head::CLOSED);
    let mut slots: [u8; 64] = [first, second].concat().try_into().expect("two slots");
    assert_eq!(head::is_closed_well(&slots), says_closed(first) && says_closed(second));
    let place = choices.of(&[28, 60]) + choices.pick(4);
    if let Some(byte) = slots.get_mut(place) {
        *byte ^= choices.byte().max(1);
    }
    // One changed byte makes neither state the other.
    assert!(!head::is_closed_well(&slots));
}

fn organization(choices: &mut Choices<'_>) {
    let key = organization_key(number(choices));
    let name = made_up::id(choices, ID_CHARS_MAX, OrganizationId::new);
    let value = organizations::encode(&key, &name);
    assert_eq!(organizations::decode(&key, &value), Ok(name));
    is_sealed(&value, &key, choices, |key, value| organizations::decode(key, value).is_ok());
    let value = codec::frame(&other_body(&value, choices), organizations::VERSION, &key);
    if let Ok(name) = organizations::decode(&key, &value) {
        assert_eq!(organizations::encode(&key, &name), value);
    }
}

fn catalog_entries(choices: &mut Choices<'_>) {
    let (product, name) = (made_up::name(choices), made_up::name(choices));
    let state = made_up::state(choices);
    let entry = ProductEntry { id: product.clone(), name: name.clone(), state };
    catalog_entry(&entry, choices);
    let usage_unit = made_up::name(choices);
    let sku =
        SkuEntry { product: product.clone(), id: made_up::name(choices), name, usage_unit, state };
    catalog_entry(&sku, choices);
    let (id, name) = (made_up::name(choices), made_up::name(choices));
    catalog_entry(&InstanceEntry { id, product, name, state }, choices);
}

fn catalog_entry<T>(entry: &T, choices: &mut Choices<'_>)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let key = b"key";
    let value = catalog::encode(key, entry).expect("texts and a word");
    assert_eq!(catalog::decode::<T>(key, &value).as_ref().ok(), Some(entry));
    is_sealed(&value, key, choices, |key, value| catalog::decode::<T>(key, value).is_ok());
    let value = codec::frame(&other_body(&value, choices), catalog::VERSION, key);
    if let Ok(entry) = catalog::decode::<T>(key, &value) {
        let again = catalog::encode(key, &entry).expect("texts and a word");
        assert_eq!(catalog::decode::<T>(key, &again).ok(), Some(entry));
    }
}

fn asset_pages(choices: &mut Choices<'_>) {
    let number = number(choices);
    let key = KeySpace::CatalogAsset.of_organization(number);
    let entries: assets::Entries = (0..choices.pick(40))
        .map(|_| {
            let id = made_up::id(choices, ID_CHARS_MAX, AssetId::new);
            (id, (made_up::state(choices), made_up::name(choices)))
        })
        .collect();
    let pages = assets::pages(number, key, &entries);
    assert!(pages.is_sorted_by(|one, next| one.0 < next.0));
    let mut read = assets::Entries::new();
    for (key, value) in &pages {
        assert!(value.len() <= VALUE_BYTES_MAX);
        read.extend(assets::decode(key, value).expect("a page"));
    }
    assert_eq!(read, entries);
    let Some((key, value)) = pages.first() else { return };
    is_sealed(value, key, choices, |key, value| assets::decode(key, value).is_ok());
    let value = codec::frame(&other_body(value, choices), assets::VERSION, key);
    if let Ok(entries) = assets::decode(key, &value) {
        let again = assets::pages(number, key.clone(), &entries);
        let bodies = again.iter().flat_map(|(_, page)| page.iter().skip(FRAME_BYTES));
        assert!(bodies.eq(value.iter().skip(FRAME_BYTES)), "{value:02x?}");
    }
}

fn document(choices: &mut Choices<'_>) {
    let all = [
        Collection::Organizations,
        Collection::Clients,
        Collection::AuditEvents,
        Collection::Queries,
    ];
    let (number, collection) = (number(choices), choices.of(&all));
    let organization = made_up::id(choices, ID_CHARS_MAX, OrganizationId::new);
    let name = made_up::client(choices).to_string();
    let key = documents::key(collection, number, &name);
    let prefix = documents::space(collection).of_organization(number);
    let body = choices.rest().to_vec();
    let value = codec::frame(&body, documents::VERSION, &key);
    let read = documents::document(&organization, &prefix, &key, &value).ok();
    assert_eq!(read, Some(Document { organization: organization.clone(), name, body }));
    is_sealed(&value, &key, choices, |key, value| {
        documents::document(&organization, &prefix, key, value).is_ok()
    });
    let key = damaged(key, choices);
    let value = codec::frame(b"", documents::VERSION, &key);
    if let Ok(read) = documents::document(&organization, &prefix, &key, &value) {
        assert_eq!([&prefix, read.name.as_bytes(), &[0]].concat(), key);
    }
}

fn page(choices: &mut Choices<'_>) {
    let book = made_up::client(choices);
    let (prefix, first) = (pages::prefix(number(choices), book.as_str()), choices.number());
    let key = pages::key(&prefix, first);
    let body = choices.rest().to_vec();
    let value = codec::frame(&body, pages::VERSION, &key);
    assert_eq!(pages::page(&prefix, &key, &value).ok(), Some(Page { first, body }));
    is_sealed(&value, &key, choices, |key, value| pages::page(&prefix, key, value).is_ok());
    let key = damaged(key, choices);
    let value = codec::frame(b"", pages::VERSION, &key);
    if let Ok(page) = pages::page(&prefix, &key, &value) {
        assert_eq!(pages::key(&prefix, page.first), key);
    }
}

fn batch_place(choices: &mut Choices<'_>) {
    let parts = 1 + choices.place(usize::from(u16::MAX) - 1) as u16;
    let place = BatchPlace { first: LogSequence(choices.number() >> 1), parts };
    let key = b"key";
    let value = place.encode(key);
    assert_eq!(BatchPlace::decode(key, &value).ok(), Some(place));
    is_sealed(&value, key, choices, |key, value| BatchPlace::decode(key, value).is_ok());
    let value = codec::frame(&other_body(&value, choices), batches::VERSION, key);
    if let Ok(place) = BatchPlace::decode(key, &value) {
        assert_eq!(place.encode(key), value);
        assert!(place.last() >= place.first);
    }
}
