//! The targets without libFuzzer: on the corpora that it left in `fuzz/corpus`, and on random changes of them.
//!
//! `METERD_FUZZ_INPUTS` says how many inputs each target gets (300), `METERD_FUZZ_SEED` which is the first; a failure names
//! the seed of its input, and `METERD_FUZZ_TARGET` leaves the others out.
#![expect(clippy::disallowed_methods, reason = "tests are configured by variables")]

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{TARGETS, Target};
use crate::domain::fuzzing::{Choices, damaged};

/// Longest random input, in bytes.
const INPUT_BYTES_MAX: u64 = 600;
/// Most files of a corpus, and most bytes of all of them together.
const CORPUS_FILES_MAX: usize = 200;
const CORPUS_BYTES_MAX: usize = 300 << 10;

fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn wanted() -> impl Iterator<Item = Target> {
    let name = env::var("METERD_FUZZ_TARGET").ok();
    TARGETS.into_iter().filter(move |target| name.as_ref().is_none_or(|name| name == target.0))
}

/// The inputs that libFuzzer found to differ, by their files.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A random input, or one of the corpus with some random changes.
fn input(corpus: &[(PathBuf, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let length = random.next() % INPUT_BYTES_MAX;
    let known = corpus.get(random.next() as usize % (corpus.len() * 2).max(1));
    let Some((_, known)) = known else { return random.bytes(length) };
    let decisions = random.bytes(64);
    let mut choices = Choices::new(&decisions);
    (0..=choices.pick(4)).fold(known.clone(), |bytes, _| damaged(bytes, &mut choices))
}

#[test]
fn corpora_hold_and_are_small() {
    for (name, body) in wanted() {
        let corpus = corpus(name);
        let bytes: usize = corpus.iter().map(|(_, input)| input.len()).sum();
        assert!((1..=CORPUS_FILES_MAX).contains(&corpus.len()), "{name}: {} files", corpus.len());
        assert!(bytes <= CORPUS_BYTES_MAX, "{name}: {bytes} bytes");
        for (file, input) in &corpus {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(input)));
            assert!(outcome.is_ok(), "{name} fails on {}", file.display());
        }
    }
}

#[test]
fn random_inputs_hold() {
    let first = variable("METERD_FUZZ_SEED", 1);
    let inputs = variable("METERD_FUZZ_INPUTS", 300);
    println!("METERD_FUZZ_SEED={first}, {inputs} inputs for each target");
    for (name, body) in wanted() {
        let corpus = corpus(name);
        body(&[]);
        for seed in first..first.saturating_add(inputs) {
            let input = input(&corpus, seed);
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&input)));
            assert!(
                outcome.is_ok(),
                "METERD_FUZZ_TARGET={name} METERD_FUZZ_SEED={seed} METERD_FUZZ_INPUTS=1"
            );
        }
    }
}

#[test]
fn every_target_is_driven_by_libfuzzer() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names = TARGETS.map(|(name, _)| name.to_owned());
    names.sort();
    assert_eq!(files, names);
    let manifest = fs::read_to_string(directory.with_file_name("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let source = fs::read_to_string(directory.join(&name).with_extension("rs")).unwrap();
        assert!(source.contains(&format!("{name:?}")), "{name}");
    }
}
