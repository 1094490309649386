//! Documents: random changes to the sled store and to the memory store, with restarts, read the same.

use meterd::{
    domain::{catalog::CatalogDifference, id::OrganizationId},
    store::{
        StoreError, UsageStore,
        document::{Collection, DOCUMENT_BYTES_MAX, DocumentChange},
        memory::MemoryStore,
        sled::{FaultAction, FaultPoint, SledStore, StoreOptions},
    },
};

use crate::support::random::Random;

const COLLECTIONS: [Collection; 3] =
    [Collection::Organizations, Collection::Clients, Collection::AuditEvents];

fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

fn change(random: &mut Random) -> DocumentChange {
    let length = random.one_of(&[0, 1, 100, DOCUMENT_BYTES_MAX]);
    DocumentChange {
        collection: random.one_of(&COLLECTIONS),
        organization: organization(random.one_of(&["alpha", "beta", "größe"])),
        name: random.one_of(&["", "a", "ab", "b", "ünï", "00000000000000000007"]).to_owned(),
        body: (random.below(4) > 0).then(|| vec![random.next() as u8; length]),
    }
}

fn assert_equal(store: &dyn UsageStore, model: &dyn UsageStore) {
    for collection in COLLECTIONS {
        let mut documents = store.documents(collection).unwrap();
        documents.sort_by(|one, other| {
            (&one.organization, &one.name).cmp(&(&other.organization, &other.name))
        });
        assert_eq!(documents, model.documents(collection).unwrap());
        for name in ["alpha", "beta", "größe", "nobody"] {
            for limit in [0, 2, 100] {
                let first = |of: &dyn UsageStore| {
                    of.first_documents(collection, &organization(name), limit).unwrap()
                };
                assert_eq!(first(store), first(model), "{collection:?} {name} {limit}");
            }
            for before in [None, Some("a"), Some("b"), Some("")] {
                for limit in [1, 100] {
                    let page = |of: &dyn UsageStore| {
                        of.documents_before(collection, &organization(name), before, limit).unwrap()
                    };
                    assert_eq!(page(store), page(model), "{collection:?} {name} {before:?}");
                }
            }
        }
    }
}

#[test]
fn documents_are_what_was_written_last() {
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let open = || SledStore::open(StoreOptions::new(directory.path())).unwrap();
    let (mut store, model) = (open(), MemoryStore::new());
    for _ in 0..12 {
        for _ in 0..10 {
            let changes: Vec<_> = (0..random.below(4)).map(|_| change(&mut random)).collect();
            if random.below(3) == 0 {
                let (name, nothing) = (organization("alpha"), CatalogDifference::default());
                store.change_catalog(&name, &nothing, &changes).unwrap();
                model.change_catalog(&name, &nothing, &changes).unwrap();
            } else {
                store.write_documents(&changes).unwrap();
                model.write_documents(&changes).unwrap();
            }
        }
        assert_equal(&store, &model);
        drop(store);
        store = open();
        assert_equal(&store, &model);
    }
}

#[test]
fn a_document_that_is_too_large_is_refused_and_a_failed_write_ends_writing() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(directory.path());
    let faults = options.faults.clone();
    let store = SledStore::open(options).unwrap();
    let document = |length: usize| DocumentChange {
        collection: Collection::Clients,
        organization: organization("alpha"),
        name: "a".into(),
        body: Some(vec![1; length]),
    };
    for of in [&store as &dyn UsageStore, &MemoryStore::new()] {
        let refused = of.write_documents(&[document(1), document(DOCUMENT_BYTES_MAX + 1)]);
        assert!(matches!(refused, Err(StoreError::Unrepresentable(_))), "{refused:?}");
        assert_eq!(of.documents(Collection::Clients).unwrap(), []);
        of.write_documents(&[document(1)]).unwrap();
    }
    faults.arm(FaultPoint::DocumentWrite, 0, FaultAction::Fail);
    assert!(store.write_documents(&[document(2)]).is_err());
    assert!(matches!(store.write_documents(&[document(2)]), Err(StoreError::Failed(_))));
    assert_eq!(store.documents(Collection::Clients).unwrap()[0].body, [1]);
}
