//! Assets: random changes to the sled store and to the memory store, with restarts and failures, read the same.

use meterd::{
    domain::{
        asset::Asset,
        catalog::State,
        id::{AssetId, OrganizationId},
    },
    store::{
        UsageStore,
        memory::MemoryStore,
        sled::{FaultAction, FaultPoint, SledStore, StoreOptions},
    },
};

use crate::support::random::Random;

const ORGANIZATIONS: [&str; 4] = ["alpha", "beta", "größe", "nobody"];

fn organization(name: &str) -> OrganizationId {
    OrganizationId::new(name).unwrap()
}

/// Ids of every length, many of them close to each other.
fn id(random: &mut Random) -> AssetId {
    let number = random.below(3000);
    let text = match random.below(4) {
        0 => number.to_string(),
        1 => format!("{number:050}"),
        2 => format!("ü{}", "🦀".repeat(1 + number % 49)),
        _ => format!("asset {number}"),
    };
    AssetId::new(&text).unwrap()
}

fn asset(random: &mut Random) -> Asset {
    let name = match random.below(6) {
        0 => "🦀".repeat(256),
        1 => "a name".to_owned(),
        _ => String::new(),
    };
    let state = random.one_of(&[State::Active, State::Retired]);
    Asset { id: id(random), name, state }
}

fn all(store: &dyn UsageStore, name: &str, page: usize) -> Vec<Asset> {
    let mut found: Vec<Asset> = Vec::new();
    loop {
        let after = found.last().map(|asset| asset.id.clone());
        let more = store.assets_after(&organization(name), after.as_ref(), page).unwrap();
        if more.is_empty() {
            return found;
        }
        assert!(more.len() <= page);
        found.extend(more);
    }
}

fn compare(store: &dyn UsageStore, model: &dyn UsageStore, random: &mut Random) {
    for name in ORGANIZATIONS {
        let page = 1 + random.below(300);
        assert_eq!(all(store, name, page), all(model, name, 100_000), "{name}");
        let ids: Vec<AssetId> = (0..200).map(|_| id(random)).collect();
        let of = organization(name);
        assert_eq!(store.assets(&of, &ids).unwrap(), model.assets(&of, &ids).unwrap(), "{name}");
        let from = Some(&ids[0]);
        assert_eq!(
            store.assets_after(&of, from, 7).unwrap(),
            model.assets_after(&of, from, 7).unwrap(),
            "{name} {from:?}"
        );
    }
}

#[test]
fn assets_are_what_was_written_last() {
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(directory.path());
    let faults = options.faults.clone();
    let open = || SledStore::open(options.clone()).unwrap();
    let (mut store, model) = (open(), MemoryStore::new());
    for round in 0..60 {
        let of = organization(ORGANIZATIONS[random.below(3)]);
        let count = random.one_of(&[1, 10, 1000]);
        // A change that comes twice is the later one.
        let mut put = std::collections::BTreeMap::new();
        for _ in 0..count {
            let asset = asset(&mut random);
            put.insert(asset.id.clone(), asset);
        }
        let remove: Vec<AssetId> = (0..random.below(count + 1))
            .map(|_| id(&mut random))
            .filter(|id| !put.contains_key(id))
            .collect();
        let put: Vec<Asset> = put.into_values().collect();
        if round % 10 == 7 {
            faults.arm(FaultPoint::CatalogWrite, 0, FaultAction::Fail);
            assert!(store.write_assets(&of, &put, &remove, &[]).is_err());
            assert!(store.write_assets(&of, &put, &remove, &[]).is_err(), "it takes no more");
        } else {
            store.write_assets(&of, &put, &remove, &[]).unwrap();
            model.write_assets(&of, &put, &remove, &[]).unwrap();
        }
        if round % 5 == 2 {
            drop(store);
            store = open();
        }
        compare(&store, &model, &mut random);
    }
    assert!(all(&model, "alpha", 100_000).len() > 1000);
    assert!(std::fs::read_dir(directory.path().join("blobs")).unwrap().next().is_none());
}
