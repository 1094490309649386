//! Pages: random changes to the sled store and to the memory store, with restarts, read the same.

use meterd::{
    domain::id::OrganizationId,
    store::{
        StoreError, UsageStore,
        document::{Collection, DOCUMENT_BYTES_MAX, DocumentChange, Page},
        memory::MemoryStore,
        sled::{SledStore, StoreOptions},
    },
};

use crate::support::random::Random;

/// Names that begin with one another.
const BOOKS: [&str; 6] = ["", "a", "a/rows", "a/rows2", "aa", "größe"];
const ORGANIZATIONS: [&str; 3] = ["alpha", "alphabet", "beta"];
/// Numbers whose bytes are not in the order of their digits.
const NUMBERS: [u64; 9] = [0, 1, 2, 255, 256, 65_535, 65_536, u64::MAX - 1, u64::MAX];

fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

fn page(first: u64, length: usize, byte: u8) -> Page {
    Page { first, body: vec![byte; length] }
}

/// Makes what was written before durable.
fn sync(store: &dyn UsageStore) {
    let document = DocumentChange {
        collection: Collection::Queries,
        organization: organization("alpha"),
        name: "a".into(),
        body: Some(vec![1]),
    };
    store.write_documents(&[document]).unwrap();
}

fn assert_equal(store: &dyn UsageStore, model: &dyn UsageStore) {
    for name in ORGANIZATIONS.into_iter().chain(["nobody"]) {
        for book in BOOKS {
            for number in NUMBERS.into_iter().flat_map(|at| [at, at.saturating_add(1)]) {
                let at =
                    |of: &dyn UsageStore| of.page_at(&organization(name), book, number).unwrap();
                assert_eq!(at(store), at(model), "{name} {book:?} {number}");
            }
        }
    }
}

#[test]
fn pages_are_what_was_written_last() {
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    eprintln!("store_pages: seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let open = || SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let (mut store, model) = (open(), MemoryStore::new());
    for _ in 0..10 {
        for _ in 0..20 {
            let name = organization(random.one_of(&ORGANIZATIONS));
            let book = random.one_of(&BOOKS);
            if random.below(6) == 0 {
                store.remove_pages(&name, book).unwrap();
                model.remove_pages(&name, book).unwrap();
            } else {
                let mut new_page = || {
                    let length = random.one_of(&[0, 1, 100, DOCUMENT_BYTES_MAX]);
                    page(random.one_of(&NUMBERS), length, random.next() as u8)
                };
                let pages: Vec<Page> = (0..3).map(|_| new_page()).collect();
                store.write_pages(&name, book, &pages, &[]).unwrap();
                model.write_pages(&name, book, &pages, &[]).unwrap();
            }
        }
        assert_equal(&store, &model);
        sync(&store);
        drop(store);
        store = open();
        assert_equal(&store, &model);
    }
}

/// The same rules, in both stores.
fn of_both(check: impl Fn(&dyn UsageStore)) {
    let directory = tempfile::tempdir().unwrap();
    check(&SledStore::open(StoreOptions::new(directory.path())).unwrap());
    check(&MemoryStore::new());
}

#[test]
fn the_page_of_a_number_is_the_last_that_begins_at_or_before_it() {
    of_both(|store| {
        let alpha = organization("alpha");
        let first = |at| store.page_at(&alpha, "book", at).unwrap().map(|page| page.first);
        assert_eq!(first(u64::MAX), None);
        // In whatever order they are written.
        store.write_pages(&alpha, "book", &[page(256, 1, 1), page(10, 2, 2)], &[]).unwrap();
        store.write_pages(&alpha, "book", &[page(70_000, 3, 3)], &[]).unwrap();
        let found = [0, 9, 10, 255, 256, 69_999, 70_000, u64::MAX].map(first);
        let expected =
            [None, None, Some(10), Some(10), Some(256), Some(256), Some(70_000), Some(70_000)];
        assert_eq!(found, expected);
        store.write_pages(&alpha, "book", &[page(10, 0, 0)], &[]).unwrap();
        assert_eq!(store.page_at(&alpha, "book", 11).unwrap(), Some(page(10, 0, 0)));
        store.write_pages(&alpha, "book", &[], &[]).unwrap();
        assert_eq!(first(u64::MAX), Some(70_000));
    });
}

#[test]
fn pages_of_other_books_and_organizations_stay() {
    of_both(|store| {
        let everywhere: Vec<(&str, &str)> =
            ORGANIZATIONS.iter().flat_map(|name| BOOKS.map(|book| (*name, book))).collect();
        let there = |name, book| store.page_at(&organization(name), book, 7).unwrap().is_some();
        for (removed, book) in &everywhere {
            for (name, book) in &everywhere {
                store.write_pages(&organization(name), book, &[page(7, 9, 1)], &[]).unwrap();
            }
            store.remove_pages(&organization(removed), book).unwrap();
            for other in &everywhere {
                assert_eq!(there(other.0, other.1), *other != (*removed, *book), "{other:?}");
            }
        }
        store.remove_pages(&organization("nobody"), "book").unwrap();
    });
}

#[test]
fn a_page_that_is_too_large_is_refused_with_all_others() {
    of_both(|store| {
        let alpha = organization("alpha");
        let pages = [page(0, 1, 1), page(1, DOCUMENT_BYTES_MAX + 1, 1)];
        let refused = store.write_pages(&alpha, "book", &pages, &[]);
        assert!(matches!(refused, Err(StoreError::Unrepresentable(_))), "{refused:?}");
        assert_eq!(store.page_at(&alpha, "book", u64::MAX).unwrap(), None);
        store.write_pages(&alpha, "book", &[page(1, DOCUMENT_BYTES_MAX, 1)], &[]).unwrap();
        assert!(store.page_at(&alpha, "book", 1).unwrap().is_some());
    });
}

#[test]
fn thousands_of_pages_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let store = open();
    let alpha = organization("alpha");
    for book in ["book", "bookends"] {
        let pages: Vec<Page> = (0..3_000).map(|first| page(first, 100, 1)).collect();
        for pages in pages.chunks(32) {
            store.write_pages(&alpha, book, pages, &[]).unwrap();
        }
    }
    sync(&store);
    store.remove_pages(&alpha, "book").unwrap();
    assert_eq!(store.page_at(&alpha, "book", u64::MAX).unwrap(), None);
    sync(&store);
    drop(store);
    let store = open();
    assert_eq!(store.page_at(&alpha, "book", u64::MAX).unwrap(), None);
    for at in [0, 2_999] {
        assert_eq!(store.page_at(&alpha, "bookends", at).unwrap(), Some(page(at, 100, 1)));
    }
}
