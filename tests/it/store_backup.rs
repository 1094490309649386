//! Backups of a store that changes all the time: restored, nothing is lost, doubled or torn.
//!
//! `METERD_BACKUP_SEEDS` sets how many histories there are (default 6), `METERD_BACKUP_SEED` the first one.

use std::{collections::BTreeSet, path::Path};

use meterd::{
    domain::{
        api_usage::{ApiFilter, ApiTotalsQuery},
        asset_usage::{AssetFilter, AssetTotalsQuery, DayRange, UsageDay},
        verdict::Decision,
    },
    store::{
        LogHead, LogPosition, StoreError, UsageStore,
        backup::{BackupRefusal, BackupRequest, BackupSection},
        document::Collection,
        sled::{OpenError, SledStore, StoreOptions, verify},
    },
};
use uuid::Uuid;

use crate::support::{
    backups::{
        Backup, Changes, back_up, batch_id, fill_memtable, now, restore, tiny, wait_until_idle,
    },
    closed_store::open_tree,
    random::Random,
    usage::{
        Calls, all_records, all_totals, api_totals, asset_totals, commit, commit_events, event,
        organization, record, submission,
    },
};

/// Organizations, and everything beside usage.
const STATE: [FirstBytes; 2] = [(0x03, 0x04), (0x40, 0x60)];
const LOG: [FirstBytes; 1] = [(0x10, 0x11)];
const RUN_PAGE: u8 = 0x20;

/// The first of a range of first bytes, and the one after the last.
type FirstBytes = (u8, u8);

fn assert_verified(directory: &Path) {
    let report = verify(directory, &mut |_| {}).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
}

fn number(body: &[u8]) -> i64 {
    i64::from_le_bytes(body.try_into().unwrap())
}

/// What a restored store must be, whenever the backup was made; `before` is what was acknowledged before it began.
fn assert_sound(directory: &Path, before: &Acknowledged) {
    assert_verified(directory);
    let store = SledStore::open(tiny(directory)).unwrap();
    let alpha = organization("alpha");
    for uuid in &before.records {
        let name = if *uuid < 1 << 40 { "alpha" } else { "beta" };
        let found = store.find(&organization(name), Uuid::from_u128(*uuid)).unwrap();
        assert!(found.is_some(), "record {uuid} was acknowledged and is gone");
    }
    for id in &before.batches {
        let found = store.find_batch(&alpha, &batch_id(*id)).unwrap();
        assert!(found.is_some(), "batch {id} was acknowledged and is gone");
    }
    let resent = before.events.iter().map(|uuid| event(*uuid, &Calls::default(), now())).collect();
    let decisions = commit_events(&store, "alpha", resent, now()).unwrap();
    assert!(decisions.iter().all(|decision| *decision != Decision::Accepted));

    let body = |collection| -> i64 {
        let mut found = store.documents(collection).unwrap();
        assert_eq!(found.len(), 1);
        number(&found.remove(0).body)
    };
    let announced = body(Collection::Organizations);
    assert_eq!(announced, body(Collection::Clients), "a change is there in part");
    assert!(announced >= before.count);
    let records: Vec<_> =
        ["alpha", "beta"].into_iter().flat_map(|name| all_records(&store, name, 500)).collect();
    // Each was announced by a document before it was stored...
    assert!(records.iter().all(|stored| stored.record.quantity.get() <= announced));
    // ...and each page counts records that were stored before.
    for first in 0..40 {
        if let Some(page) = store.page_at(&alpha, "book", first).unwrap() {
            assert!(number(&page.body) <= records.len() as i64);
        }
    }
}

/// What was acknowledged at some moment.
struct Acknowledged {
    count: i64,
    records: BTreeSet<u128>,
    events: BTreeSet<u128>,
    batches: BTreeSet<u64>,
}

impl Acknowledged {
    fn so_far(changes: &Changes) -> Self {
        Self {
            count: changes.count,
            records: changes.records.clone(),
            events: changes.events.clone(),
            batches: changes.batches.clone(),
        }
    }
}

/// Entries of a closed store.
fn entries(directory: &Path, ranges: &[FirstBytes]) -> Vec<(sled::IVec, sled::IVec)> {
    let tree = open_tree(directory);
    let of_range = |(from, to): &FirstBytes| tree.range([*from]..[*to]);
    ranges.iter().flat_map(of_range).map(Result::unwrap).collect()
}

/// Every total there is.
fn totals(store: &dyn UsageStore) -> impl PartialEq + std::fmt::Debug + use<> {
    let days = DayRange {
        start: UsageDay::from_number(20_000).unwrap(),
        end: UsageDay::from_number(22_000).unwrap(),
    };
    let alpha = organization("alpha");
    let assets =
        AssetTotalsQuery { organization: alpha.clone(), days, filter: AssetFilter::default() };
    let calls = ApiTotalsQuery { organization: alpha, days, filter: ApiFilter::default() };
    (
        all_totals(store, "alpha"),
        all_totals(store, "beta"),
        asset_totals(store, &assets),
        api_totals(store, &calls),
    )
}

/// One history with its backups, made while changes go on at the pace of the seed.
fn history(seed: u64) {
    eprintln!("store_backup: METERD_BACKUP_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    let store = SledStore::open(tiny(&original)).unwrap();
    let mut changes = Changes::new(seed);
    let mut pace = Random::new(!seed);
    let mut chain: Vec<Backup> = Vec::new();
    for at in 0..4 {
        (0..pace.below(120)).for_each(|_| changes.make(&store));
        let before = Acknowledged::so_far(&changes);
        let one_in = pace.one_of(&[1, 5, 30, 200]);
        let mut left = 150;
        let after = chain.last().map(Backup::point);
        let backup = back_up(&store, after, || {
            if left > 0 && pace.below(one_in) == 0 {
                left -= 1;
                changes.make(&store);
            }
        });
        chain.push(backup.unwrap());
        let restored = directory.path().join(format!("restored-{at}"));
        restore(tiny(&restored), &chain).unwrap();
        if before.count > 0 {
            assert_sound(&restored, &before);
        }
    }
    // Nothing changes any more: both stores are the same.
    let after = chain.last().map(Backup::point);
    chain.push(back_up(&store, after, || {}).unwrap());
    let restored = directory.path().join("restored");
    restore(tiny(&restored), &chain).unwrap();
    let again = SledStore::open(tiny(&restored)).unwrap();
    assert_eq!(again.store_id(), store.store_id());
    assert_eq!(again.token_key(), store.token_key());
    assert_eq!(totals(&again), totals(&store));
    assert_eq!(again.statistics().last_sequence, store.statistics().last_sequence);
    for name in ["alpha", "beta"] {
        let known = changes.records.iter().filter(|uuid| (**uuid < 1 << 40) == (name == "alpha"));
        let resent = known.map(|uuid| record(*uuid, "a", 1, now())).collect::<Vec<_>>();
        for records in resent.chunks(50) {
            let decisions = commit(&again, submission(name, records.to_vec()), now()).unwrap();
            assert!(decisions.iter().all(|decision| *decision != Decision::Accepted));
        }
    }
    drop((store, again));
    assert_eq!(entries(&restored, &STATE), entries(&original, &STATE));
    assert_eq!(entries(&restored, &LOG), entries(&original, &LOG));
    // And it goes on.
    let again = SledStore::open(tiny(&restored)).unwrap();
    (0..60).for_each(|_| changes.make(&again));
    drop(again);
    assert_verified(&restored);
}

#[test]
fn a_store_that_changes_meanwhile_is_restored_as_of_one_moment() {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = variable("METERD_BACKUP_SEEDS").unwrap_or(6);
    let first = variable("METERD_BACKUP_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    (0..seeds).for_each(|at| history(first.wrapping_add(at)));
}

/// A store with records in runs, in rows and in the log alone.
fn store_in(directory: &Path) -> (SledStore, Changes) {
    let store = SledStore::open(tiny(directory)).unwrap();
    let mut changes = Changes::new(1);
    (0..80).for_each(|_| changes.make(&store));
    (store, changes)
}

/// The run that an entry is a page of.
fn run_of(section: BackupSection, key: &[u8]) -> Option<u32> {
    let is_page = section == BackupSection::Index && key[0] == RUN_PAGE;
    is_page.then(|| u32::from_be_bytes(key[1..5].try_into().unwrap()))
}

/// Ids of the runs that the manifest names now.
fn named_runs(store: &SledStore) -> BTreeSet<u32> {
    let request = BackupRequest { after: None, bytes_per_second_max: u64::MAX };
    let mut runs = BTreeSet::new();
    let looked = store.back_up(&request, &mut |section, key, _| {
        runs.extend(run_of(section, key));
        if section == BackupSection::Index { Ok(()) } else { Err(StoreError::GivenUp) }
    });
    assert!(matches!(looked, Err(StoreError::GivenUp)), "{looked:?}");
    runs
}

#[test]
fn runs_stay_while_a_backup_reads_them_and_go_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&directory.path().join("store"));
    wait_until_idle(&store);
    let named = named_runs(&store);
    assert!(!named.is_empty());
    let mut filled = 0;
    let mut fill_until_merged = |runs: &BTreeSet<u32>| {
        while !named_runs(&store).is_disjoint(runs) {
            fill_memtable(&store, filled);
            filled += 1;
            assert!(filled < 400, "runs are not merged any more");
        }
    };
    let mut first = true;
    let backup = back_up(&store, None, || {
        // Right after the manifest: whatever it names is merged away before it is read.
        if std::mem::take(&mut first) {
            fill_until_merged(&named);
            // So is what came in its place, by threads that would have removed what they merged before.
            fill_until_merged(&named_runs(&store));
        }
    });
    let backup = backup.unwrap();
    let read: BTreeSet<u32> =
        backup.entries.iter().filter_map(|(section, key, _)| run_of(*section, key)).collect();
    assert_eq!(read, named);
    let restored = directory.path().join("restored");
    restore(tiny(&restored), &[backup]).unwrap();
    assert_verified(&restored);
    // Which it is not as long as dead runs are left.
    wait_until_idle(&store);
}

#[test]
fn a_backup_is_given_up_rather_than_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = tiny(&directory.path().join("store"));
    options.dead_runs_max = 8;
    let store = SledStore::open(options).unwrap();
    (0..8).for_each(|number| fill_memtable(&store, number));
    wait_until_idle(&store);
    let mut first = true;
    let given_up = back_up(&store, None, || {
        // So many that commits wait for merging, and what is merged is more than is kept.
        if std::mem::take(&mut first) {
            (8..100).for_each(|number| fill_memtable(&store, number));
        }
    });
    let error = given_up.map(|backup| backup.end).unwrap_err();
    assert!(matches!(error, StoreError::CannotBackUp(BackupRefusal::TooSlow)), "{error}");
    wait_until_idle(&store);
    let restored = directory.path().join("restored");
    restore(tiny(&restored), &[back_up(&store, None, || {}).unwrap()]).unwrap();
    assert_verified(&restored);
}

#[test]
fn a_reader_that_goes_away_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut changes) = store_in(directory.path());
    for section in BackupSection::ALL {
        let request = BackupRequest { after: None, bytes_per_second_max: 1 << 40 };
        let given_up = store.back_up(&request, &mut |read, _, _| {
            if read == section { Err(StoreError::GivenUp) } else { Ok(()) }
        });
        assert!(matches!(given_up, Err(StoreError::GivenUp)), "{given_up:?}");
    }
    (0..100).for_each(|_| changes.make(&store));
    wait_until_idle(&store);
    back_up(&store, None, || {}).unwrap();
}

#[test]
fn an_increment_of_another_history_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut changes) = store_in(&directory.path().join("store"));
    let full = back_up(&store, None, || {}).unwrap();
    let refused = |store: &SledStore, point: LogHead| match back_up(store, Some(point), || {}) {
        Err(StoreError::CannotBackUp(refusal)) => refusal,
        other => panic!("{:?}", other.map(|backup| backup.end)),
    };
    let another = SledStore::open(tiny(&directory.path().join("another"))).unwrap();
    assert_eq!(refused(&another, full.point()), BackupRefusal::OtherStore);

    // Restored to the full backup, it goes on by itself; and so does the first.
    let fork = directory.path().join("fork");
    restore(tiny(&fork), std::slice::from_ref(&full)).unwrap();
    (0..40).for_each(|_| changes.make(&store));
    let increment = back_up(&store, Some(full.point()), || {}).unwrap();
    let fork = SledStore::open(tiny(&fork)).unwrap();
    assert_eq!(refused(&fork, increment.point()), BackupRefusal::NotInLog, "not that far yet");
    for number in 0..600 {
        commit(&fork, submission("gamma", vec![record(number, "a", 1, now())]), now()).unwrap();
    }
    assert!(fork.statistics().last_sequence > increment.end.through.sequence);
    assert_eq!(refused(&fork, increment.point()), BackupRefusal::NotInLog, "something else there");
    // What both have in common can be gone on from.
    back_up(&fork, Some(full.point()), || {}).unwrap();
    let beginning = LogPosition { sequence: Default::default(), link: [0; 32] };
    let point = LogHead { position: beginning, ..full.point() };
    back_up(&fork, Some(point), || {}).unwrap();
}

#[test]
fn only_one_reads_what_is_beside_usage() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store_in(directory.path());
    let request = BackupRequest { after: None, bytes_per_second_max: u64::MAX };
    let mut tried = 0;
    let outer = store.back_up(&request, &mut |section, key, _| {
        let is_document = section == BackupSection::State && key[0] == 0x50;
        if is_document {
            tried += 1;
            let inner = back_up(&store, None, || {}).map(drop);
            assert!(
                matches!(inner, Err(StoreError::CannotBackUp(BackupRefusal::UnderWay))),
                "{inner:?}"
            );
        }
        Ok(())
    });
    outer.unwrap();
    assert!(tried > 0);
}

/// Restores what `damage` makes of a backup; how that fails.
fn restored_damaged(damage: impl FnOnce(&mut Backup)) -> OpenError {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&directory.path().join("store"));
    let mut backup = back_up(&store, None, || {}).unwrap();
    damage(&mut backup);
    let restored = directory.path().join("restored");
    let error = restore(tiny(&restored), &[backup]).unwrap_err();
    // Nobody takes it for a store.
    let opened = SledStore::open(StoreOptions::new(&restored)).unwrap_err();
    assert!(matches!(opened, OpenError::UnfinishedRestore(_)), "{opened}");
    let verified = verify(&restored, &mut |_| {}).unwrap_err();
    assert!(matches!(verified, OpenError::UnfinishedRestore(_)), "{verified}");
    error
}

#[test]
fn a_backup_that_was_altered_is_not_restored() {
    let logs = |backup: &Backup| {
        let is_log = |entry: &usize| backup.entries[*entry].0 == BackupSection::Log;
        (0..backup.entries.len()).filter(is_log).collect::<Vec<_>>()
    };
    let missing = restored_damaged(|backup| {
        let at = logs(backup)[20];
        backup.entries.remove(at);
    });
    assert!(missing.to_string().contains("log chunk 21: is missing"), "{missing}");
    let shortened = restored_damaged(|backup| {
        backup.entries.pop();
    });
    assert!(
        shortened.to_string().contains("is not the one that the backup ends with"),
        "{shortened}"
    );
    let flipped = restored_damaged(|backup| {
        let at = logs(backup)[3];
        backup.entries[at].2.as_mut().unwrap()[40] ^= 1;
    });
    assert!(flipped.to_string().contains("log chunk 4: "), "{flipped}");
    let of_another = restored_damaged(|backup| backup.end.through.link[0] ^= 1);
    assert!(of_another.to_string().contains("backup ends with"), "{of_another}");
    let of_no_store = restored_damaged(|backup| backup.end.store_id = Uuid::nil());
    assert!(of_no_store.to_string().contains("its entries are of the store"), "{of_no_store}");
    let not_the_first = restored_damaged(|backup| backup.end.after.link[0] ^= 1);
    assert!(not_the_first.to_string().contains("log chunk 1: "), "{not_the_first}");
    let misplaced = restored_damaged(|backup| backup.entries[0].0 = BackupSection::State);
    assert!(misplaced.to_string().contains("out of place"), "{misplaced}");
}

#[test]
fn a_store_that_lacks_a_page_of_its_index_is_not_backed_up() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store_in(directory.path());
    wait_until_idle(&store);
    drop(store);
    let tree = open_tree(directory.path());
    let (page, _) = tree.scan_prefix([RUN_PAGE]).next_back().unwrap().unwrap();
    tree.remove(page).unwrap();
    drop(tree);
    let store = SledStore::open(tiny(directory.path())).unwrap();
    let error = back_up(&store, None, || {}).map(|backup| backup.end).unwrap_err();
    assert!(error.to_string().contains("pages, the manifest says"), "{error}");
}

#[test]
fn a_store_is_restored_into_an_empty_directory_only() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&directory.path().join("store"));
    let chain = [back_up(&store, None, || {}).unwrap()];
    let busy = directory.path().join("busy");
    std::fs::create_dir(&busy).unwrap();
    std::fs::write(busy.join("file"), "x").unwrap();
    let error = restore(tiny(&busy), &chain).unwrap_err();
    assert!(matches!(error, OpenError::NotEmpty(_)), "{error}");
    assert_eq!(std::fs::read_dir(&busy).unwrap().count(), 1);
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    restore(tiny(&empty), &chain).unwrap();
    assert_verified(&empty);
}

#[test]
fn an_empty_store_has_a_backup_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledStore::open(tiny(&directory.path().join("store"))).unwrap();
    let full = back_up(&store, None, || {}).unwrap();
    let mut changes = Changes::new(3);
    (0..40).for_each(|_| changes.make(&store));
    let increment = back_up(&store, Some(full.point()), || {}).unwrap();
    let restored = directory.path().join("restored");
    restore(tiny(&restored), &[full, increment]).unwrap();
    assert_sound(&restored, &Acknowledged::so_far(&changes));
}
