//! Pages, fences, filters and the manifest of the uuid index, made up and damaged.

use std::collections::BTreeMap;

use super::{
    filter::{BLOCK_BYTES, Filter},
    key::{KEY_BYTES, KeyHasher, UuidKey, UuidKind},
    manifest::{self, Manifest},
    run::{
        BLOCKS_PER_PART, ENTRY_BYTES, FENCES_PER_PART, PAGE_ENTRIES_MAX, PAGE_VERSION, Page, Run,
        RunSummary, SEQUENCE_BYTES, SEQUENCE_MAX,
    },
};
use crate::{
    domain::{
        fuzzing::{Choices, damaged, made_up},
        usage::LogSequence,
    },
    store::sled::{
        codec::{self, FRAME_BYTES},
        fuzzing::is_sealed,
        keyspace::KeySpace,
        organizations::OrganizationNumber,
    },
};

/// Pages find their keys, runs lead to the right page and never deny a key, the manifest reads back as it was written;
/// what was changed is refused, and whatever can be read is written the same again.
///
/// # Panics
/// If not.
pub fn index(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(6) {
        0 => page(&mut choices),
        1 => page_body(choices.rest()),
        2 => run(&mut choices),
        3 => run_of_parts(&mut choices),
        4 => made_up_manifest(&mut choices),
        _ => manifest_body(choices.rest()),
    }
}

fn key(choices: &mut Choices<'_>) -> UuidKey {
    let kind = choices.of(&[UuidKind::ProductUsage, UuidKind::ApiUsage]);
    let organization = OrganizationNumber(u32::from(choices.byte()) << 16 | 1);
    UuidKey::new(made_up::uuid(choices), organization, kind)
}

fn entries(choices: &mut Choices<'_>, count: usize) -> BTreeMap<UuidKey, LogSequence> {
    let entries = (0..count).map(|_| (key(choices), LogSequence(choices.number() & SEQUENCE_MAX)));
    entries.collect()
}

fn page_bytes(entries: &[(UuidKey, LogSequence)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, sequence) in entries {
        let sequence = sequence.0.to_be_bytes();
        body.extend_from_slice(key.as_bytes());
        body.extend(sequence.iter().skip(sequence.len() - SEQUENCE_BYTES));
    }
    body
}

fn opened(run: u32, page: u32, body: &[u8]) -> Option<Page> {
    let key = KeySpace::RunPage.of_run(run, page);
    Page::open(codec::frame(body, PAGE_VERSION, &key).into(), run, page).ok()
}

fn page(choices: &mut Choices<'_>) {
    let count = 1 + choices.pick(PAGE_ENTRIES_MAX);
    let entries: Vec<_> = entries(choices, count).into_iter().collect();
    let (run, number) = (choices.number() as u32, choices.number() as u32);
    let body = page_bytes(&entries);
    let page = opened(run, number, &body).expect("a page");
    for (at, (key, sequence)) in entries.iter().enumerate() {
        assert_eq!(page.entry(at), Some((*key, *sequence)));
        assert_eq!(page.find(key), Some(*sequence));
    }
    assert_eq!(page.entry(entries.len()), None);
    let absent = key(choices);
    assert_eq!(page.find(&absent).is_some(), entries.iter().any(|(key, _)| *key == absent));
    let key = KeySpace::RunPage.of_run(run, number);
    let frame = codec::frame(&body, PAGE_VERSION, &key);
    is_sealed(&frame, &key, choices, |key, value| {
        codec::open_frame(value, PAGE_VERSION, key).is_ok()
    });
    page_body(&damaged(body, choices));
}

fn page_body(body: &[u8]) {
    let page = opened(1, 2, body);
    assert_eq!(page.is_some(), !body.is_empty() && body.len().is_multiple_of(ENTRY_BYTES));
    let Some(page) = page else { return };
    let entries: Vec<_> = (0..).map_while(|at| page.entry(at)).collect();
    assert_eq!(page_bytes(&entries), body);
    for (key, _) in &entries {
        let found = page.find(key);
        assert!(found.is_none_or(|found| entries.contains(&(*key, found))));
    }
}

fn summary(choices: &mut Choices<'_>) -> RunSummary {
    RunSummary {
        id: choices.number() as u32,
        level: choices.number() as u32,
        keys: choices.number(),
        pages: choices.number() as u32,
        filter_blocks: choices.number() as u32,
        first: key(choices),
        last: key(choices),
    }
}

/// A run of keys as the writer would leave it, read back.
fn run(choices: &mut Choices<'_>) {
    let hasher = KeyHasher::new(&[choices.byte(); 16]);
    let bits_per_key = u32::from(choices.byte() % 24);
    let count = 1 + choices.place(400);
    let keys: Vec<UuidKey> = entries(choices, count).into_keys().collect();
    let per_page = 1 + choices.pick(PAGE_ENTRIES_MAX);
    let mut filter = Filter::for_keys(keys.len() as u64, bits_per_key);
    keys.iter().for_each(|key| filter.insert(hasher.hash(key)));
    let fences: Vec<[u8; KEY_BYTES]> =
        keys.chunks(per_page).filter_map(|page| page.first().map(|key| *key.as_bytes())).collect();
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return };
    let summary = RunSummary {
        pages: fences.len() as u32,
        filter_blocks: filter.block_count() as u32,
        keys: keys.len() as u64,
        first: *first,
        last: *last,
        ..summary(choices)
    };
    let fence_parts: Vec<Vec<u8>> = fences.chunks(FENCES_PER_PART).map(<[_]>::concat).collect();
    let filter_parts: Vec<Vec<u8>> = filter.parts(BLOCKS_PER_PART).collect();
    let run = Run::assemble(summary, &fence_parts, &filter_parts).expect("a run");
    let hashed: Vec<_> = keys.iter().map(|key| hasher.hashed(*key)).collect();
    for (at, key) in hashed.iter().enumerate() {
        assert!(run.may_contain(key), "a key is denied");
        assert_eq!(run.page_of(&key.key), u32::try_from(at / per_page).ok());
    }
    for some in hashed.chunks(1 + choices.pick(100)) {
        assert!(run.may_contain_any(some), "keys are denied");
    }
    let (mut few_fences, mut few_blocks) = (fence_parts.clone(), filter_parts.clone());
    few_fences.pop();
    few_blocks.pop();
    assert!(Run::assemble(summary, &few_fences, &filter_parts).is_err());
    assert!(Run::assemble(summary, &fence_parts, &few_blocks).is_err());
    let flipped: Vec<Vec<u8>> =
        fence_parts.iter().map(|part| part.iter().rev().copied().collect()).collect();
    let _ = Run::assemble(summary, &flipped, &filter_parts);
}

/// A run of any parts.
fn run_of_parts(choices: &mut Choices<'_>) {
    let mut summary = summary(choices);
    let split = choices.place(choices.rest().len());
    let (fences, blocks) = choices.rest().split_at(split.min(choices.rest().len()));
    if fences.len().is_multiple_of(KEY_BYTES) {
        summary.pages = (fences.len() / KEY_BYTES) as u32;
    }
    if blocks.len().is_multiple_of(BLOCK_BYTES) {
        summary.filter_blocks = (blocks.len() / BLOCK_BYTES) as u32;
    }
    let Ok(run) = Run::assemble(summary, &[fences.to_vec()], &[blocks.to_vec()]) else { return };
    assert_eq!(run.bytes(), (fences.len() + blocks.len()) as u64);
    for (page, fence) in (0_u32..).zip(fences.as_chunks::<KEY_BYTES>().0) {
        assert_eq!(run.page_of(&UuidKey::from_bytes(*fence)), Some(page));
    }
}

fn made_up_manifest(choices: &mut Choices<'_>) {
    let manifest = Manifest {
        checkpoint: LogSequence(choices.number()),
        next_run: choices.number() as u32,
        runs: (0..choices.pick(16)).map(|_| summary(choices)).collect(),
        dead: (0..choices.pick(16)).map(|_| choices.number() as u32).collect(),
        chunks_indexed_after: LogSequence(choices.number()),
    };
    let key = KeySpace::Manifest.only();
    let value = manifest.encode().expect("few runs");
    assert_eq!(Manifest::decode(&value).ok(), Some(manifest));
    is_sealed(&value, &key, choices, |key, value| {
        codec::open_frame(value, manifest::VERSION, key).is_ok()
    });
    let body = value.get(FRAME_BYTES..).unwrap_or_default().to_vec();
    manifest_body(&damaged(body, choices));
}

fn manifest_body(body: &[u8]) {
    let key = KeySpace::Manifest.only();
    let value = codec::frame(body, manifest::VERSION, &key);
    if let Ok(manifest) = Manifest::decode(&value) {
        assert_eq!(manifest.encode().ok(), Some(value));
        for run in manifest.runs {
            // Whatever it says of its size, what is not there takes no memory.
            let _ = Run::assemble(run, &[], &[]);
        }
    }
}
