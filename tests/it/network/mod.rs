//! The real server and real clients on a simulated network, where everything that can go wrong does: every record
//! counts once all the same.
//!
//! turmoil carries the bytes, moves the time and draws every delay from a seed; one thread runs all hosts in turn. It
//! models TCP by segments with numbers: each has a delay of its own, so they overtake one another and are put in order
//! again; a segment that is lost is never sent again, which leaves a connection dead without a word. Segments are
//! never doubled, since TCP hides that from programs; calls are, by clients that send twice at once, and by held links
//! that deliver what was given up long ago.
//!
//! A seed is a plan (`plan`, `faults`), carried out by the simulation (`simulation`, `hosts`) with clients that send until they
//! are answered (`client`) and one that reads (`reader`). The ledger (`ledger`) judges every answer as it comes; in the
//! end the store (`audit`) and the reports (`auditor`) are compared with the plan.
//!
//! `METERD_NETWORK_SEEDS` says how many seeds run (default 25), from `METERD_NETWORK_FIRST_SEED` on (default 1);
//! `METERD_NETWORK_SEED` runs one alone, and shows what happened.

mod audit;
mod auditor;
mod book;
mod calls;
mod client;
mod connections;
mod faults;
mod host;
mod hosts;
mod ledger;
mod plan;
mod reader;
mod rest;
mod simulation;
mod stream;
mod trace;
mod usage;
mod wire;

use std::{ops::RangeInclusive, time::Instant};

use self::{
    simulation::{Defect, Outcome, run},
    trace::Figures,
};

const SEEDS_DEFAULT: u64 = 25;
/// Every so many seeds one is run twice.
const TWICE_EVERY: u64 = 10;
/// Every so many seeds a line says so.
const PROGRESS_EVERY: u64 = 100;
/// Seeds that are run twice in any case.
const SEEDS_TWICE: RangeInclusive<u64> = 1..=3;
/// A planted defect shows in one of so many seeds.
const SEEDS_WITH_DEFECT: u64 = 12;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number of seeds, or a seed"))
}

fn must_run(seed: u64) -> Outcome {
    run(seed, None).unwrap_or_else(|violation| panic!("METERD_NETWORK_SEED={seed}\n{violation}"))
}

fn must_repeat(seed: u64, before: &Outcome) {
    let again = must_run(seed);
    if let Some([before, again]) = before.trace.difference(&again.trace) {
        panic!("METERD_NETWORK_SEED={seed} was\n  {before}\nand is\n  {again}");
    }
}

#[test]
fn everything_counts_once_whatever_the_network_does() {
    if let Some(seed) = from_environment("METERD_NETWORK_SEED") {
        let outcome = must_run(seed);
        eprintln!("network: METERD_NETWORK_SEED={seed}, digest {:x}", outcome.trace.digest());
        eprint!("{}", outcome.figures);
        return;
    }
    let seeds = from_environment("METERD_NETWORK_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let first = from_environment("METERD_NETWORK_FIRST_SEED").unwrap_or(1);
    eprintln!("network: METERD_NETWORK_FIRST_SEED={first} METERD_NETWORK_SEEDS={seeds}");
    let began = Instant::now();
    let mut figures = Figures::default();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        match run(seed, None) {
            Ok(outcome) => {
                figures.merge(&outcome.figures);
                if seed.is_multiple_of(TWICE_EVERY) {
                    must_repeat(seed, &outcome);
                    figures.add("seeds run twice with equal traces", 1);
                }
                if seed.is_multiple_of(PROGRESS_EVERY) {
                    eprintln!("network: seed {seed} after {} s", began.elapsed().as_secs());
                }
            }
            Err(violation) => {
                eprintln!("METERD_NETWORK_SEED={seed}\n{violation}");
                failed.push(seed);
            }
        }
    }
    eprintln!("network: {seeds} seeds in {} s", began.elapsed().as_secs());
    eprint!("{figures}");
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
    // Otherwise nothing was tried.
    assert!(figures.of("duplicates in answers") > 0 && figures.of("retries") > 0);
}

#[test]
fn a_seed_repeats_every_step() {
    let outcomes: Vec<Outcome> = SEEDS_TWICE.map(must_run).collect();
    SEEDS_TWICE.zip(&outcomes).for_each(|(seed, outcome)| must_repeat(seed, outcome));
    assert!(outcomes[0].trace.difference(&outcomes[1].trace).is_some(), "seeds change nothing");
}

/// What the auditor says of the first seed that shows a defect.
fn finding(defect: Defect, text: &str) -> Option<String> {
    let violations = (1..=SEEDS_WITH_DEFECT).filter_map(|seed| run(seed, Some(defect)).err());
    violations.flat_map(|violation| violation.what).find(|what| what.contains(text))
}

#[test]
fn retries_under_new_uuids_are_found() {
    let found = finding(Defect::FreshUuids, "more than was used");
    assert!(found.is_some(), "the auditor does not see usage that counts twice");
}

#[test]
fn a_store_that_forgets_is_found() {
    let found = finding(Defect::ForgetfulStore, "was acknowledged")
        .or_else(|| finding(Defect::ForgetfulStore, "acknowledged before"))
        .or_else(|| finding(Defect::ForgetfulStore, "is lost"));
    assert!(found.is_some(), "the auditor does not see usage that is lost");
}
