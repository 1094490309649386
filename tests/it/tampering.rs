//! Somebody who can write to the disk and knows the format: what is altered, exchanged, left out or put in between is named.

use std::path::Path;

use jiff::Timestamp;
use meterd::{
    domain::usage::LogSequence,
    store::{
        LogHead, UsageStore,
        sled::{SledStore, StoreOptions, verify, verify_against},
    },
};
use uuid::Uuid;

use crate::support::{
    closed_store::open_tree,
    usage::{commit, record, submission},
};

const LOG: u8 = 0x10;
/// Version, then the checksum.
const FRAME_BYTES: usize = 5;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Ten chunks of ten records. Nothing but the end of the log is read at a start.
fn write_store(directory: &Path) {
    let mut options = StoreOptions::new(directory);
    options.memtable_keys_max = 20;
    let store = SledStore::open(options).unwrap();
    for group in 0..10 {
        let records = (0..10).map(|at| record(group * 10 + at, "sku", 5, now())).collect();
        commit(&store, submission("alpha", records), now()).unwrap();
        while !store.is_idle() {
            std::thread::yield_now();
        }
    }
    assert_eq!(store.statistics().records, 100);
}

fn key(sequence: u64) -> Vec<u8> {
    [&[LOG], sequence.to_be_bytes().as_slice()].concat()
}

/// Puts a value in its place, with a checksum that is right for it.
fn forge(tree: &sled::Db, sequence: u64, mut value: Vec<u8>) {
    let key = key(sequence);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&key);
    checksum.update(&value[..1]);
    checksum.update(&value[FRAME_BYTES..]);
    value[1..FRAME_BYTES].copy_from_slice(&checksum.finalize().to_le_bytes());
    tree.insert(key, value).unwrap();
}

fn value(tree: &sled::Db, sequence: u64) -> Vec<u8> {
    tree.get(key(sequence)).unwrap().unwrap().to_vec()
}

fn differences_after(tamper: impl FnOnce(&sled::Db)) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    {
        let tree = open_tree(directory.path());
        tamper(&tree);
        tree.flush().unwrap();
    }
    verify(directory.path(), &mut |_| {}).unwrap().differences
}

fn is_named(differences: &[String], what: &str) -> bool {
    differences.iter().any(|difference| difference.starts_with(what))
}

#[test]
fn a_chunk_that_was_altered_with_a_right_checksum_is_named() {
    let found = differences_after(|tree| {
        let mut altered = value(tree, 4);
        // The nanoseconds of when it was stored: nothing that is counted changes.
        altered[FRAME_BYTES + 32 + 1] ^= 1;
        forge(tree, 4, altered);
    });
    assert!(
        is_named(&found, "log chunk 4: is not the one that was written: chunk 5 followed another"),
        "{found:?}"
    );
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn exchanged_chunks_are_named() {
    let found = differences_after(|tree| {
        let (third, fourth) = (value(tree, 3), value(tree, 4));
        forge(tree, 3, fourth);
        forge(tree, 4, third);
    });
    for chunk in 2..=4 {
        assert!(is_named(&found, &format!("log chunk {chunk}: is not the one")), "{found:?}");
    }
}

#[test]
fn a_chunk_that_was_left_out_or_cut_out_is_named() {
    let found = differences_after(|tree| {
        tree.remove(key(4)).unwrap();
    });
    assert!(is_named(&found, "log chunk 4: is missing"), "{found:?}");

    let found = differences_after(|tree| {
        for sequence in 4..10 {
            let next = value(tree, sequence + 1);
            forge(tree, sequence, next);
        }
        tree.remove(key(10)).unwrap();
    });
    assert!(is_named(&found, "log chunk 3: is not the one"), "{found:?}");
}

#[test]
fn a_chunk_that_was_put_in_between_is_named() {
    let found = differences_after(|tree| {
        for sequence in (4..=10).rev() {
            let moved = value(tree, sequence);
            forge(tree, sequence + 1, moved);
        }
        let invented = value(tree, 3);
        forge(tree, 4, invented);
    });
    assert!(is_named(&found, "log chunk 4: is not the one"), "{found:?}");
}

/// Without this the chunk after an altered one could be written in the format that had no links.
#[test]
fn a_chunk_that_no_longer_says_which_one_it_follows_is_named() {
    let found = differences_after(|tree| {
        let mut unlinked = value(tree, 5);
        unlinked.drain(FRAME_BYTES..FRAME_BYTES + 32);
        unlinked[0] = 1;
        forge(tree, 5, unlinked);
    });
    assert!(is_named(&found, "log chunk 5: says not which one it follows"), "{found:?}");
}

#[test]
fn a_log_that_begins_with_another_chunk_is_no_beginning() {
    let found = differences_after(|tree| {
        let second = value(tree, 2);
        forge(tree, 1, second);
    });
    assert!(is_named(&found, "log chunk 1: is not the beginning of a log"), "{found:?}");
}

/// Where the log of an untouched store ends.
fn head(directory: &Path) -> LogHead {
    SledStore::open(StoreOptions::new(directory)).unwrap().log_head().unwrap()
}

fn differences_from(directory: &Path, known: &LogHead) -> Vec<String> {
    verify_against(directory, Some(known), &mut |_| {}).unwrap().differences
}

#[test]
fn a_log_that_went_on_still_leads_through_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    let known = head(directory.path());
    assert_eq!(known.position.sequence, LogSequence(10));
    {
        let store = SledStore::open(StoreOptions::new(directory.path())).unwrap();
        commit(&store, submission("alpha", vec![record(1000, "sku", 5, now())]), now()).unwrap();
        assert_eq!(store.log_head().unwrap().position.sequence, LogSequence(11));
        assert_ne!(store.log_head().unwrap().position.link, known.position.link);
    }
    assert_eq!(differences_from(directory.path(), &known), Vec::<String>::new());
    let other = LogHead { store_id: Uuid::from_u128(1), ..known };
    assert!(is_named(&differences_from(directory.path(), &other), "the store is "));
}

#[test]
fn a_log_that_was_cut_off_or_written_anew_does_not_lead_through_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path());
    let known = head(directory.path());
    // The last value alone: no value after it tells.
    {
        let tree = open_tree(directory.path());
        let mut altered = value(&tree, 10);
        altered[FRAME_BYTES + 32 + 1] ^= 1;
        forge(&tree, 10, altered);
        tree.flush().unwrap();
    }
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().differences, Vec::<String>::new());
    assert!(is_named(
        &differences_from(directory.path(), &known),
        "log chunk 10: is not the one that the checkpoint was signed for"
    ));

    // Another history in its place, which is sound in itself, and shorter.
    let other = tempfile::tempdir().unwrap();
    {
        let store = SledStore::open(StoreOptions::new(other.path())).unwrap();
        commit(&store, submission("alpha", vec![record(1, "sku", 5, now())]), now()).unwrap();
    }
    let found = differences_from(other.path(), &known);
    assert!(is_named(&found, "the store is "), "{found:?}");
    assert!(
        is_named(&found, "the log ends at chunk 1, the checkpoint was signed at chunk 10"),
        "{found:?}"
    );
}
