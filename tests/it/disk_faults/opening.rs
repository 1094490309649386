//! A page that cannot be read, or reads as something else, while a store opens. sled reads its log then, takes what it
//! cannot read for the unwritten end, and writes over it.
//!
//! `METERD_FAULT_PAGES` tries so many pages (8): those where segments begin, which matter most, and others.

use meterd::store::sled::{SledStore, verify};

use super::reading::{
    DATA_DIR, RECORDS, assert_verified, effects, options, right, sum, write_store,
};
use crate::support::{
    disk::{Access, Disk, Effect, Fault, PAGE_BYTES, Tree},
    random::Random,
};

const SEGMENT_BYTES: usize = 512 << 10;

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Opened,
    Refused(String),
}

/// Opens the store of a disk and sums everything up.
fn open(disk: &Disk) -> Outcome {
    let opened = SledStore::open(options(disk)).map_err(|error| error.to_string());
    match opened.and_then(|store| sum(&store).map_err(|error| error.to_string())) {
        Ok(total) => {
            assert_eq!(total, right());
            Outcome::Opened
        }
        Err(what) => Outcome::Refused(what),
    }
}

/// Half of them where segments begin, half anywhere.
fn bad_pages(whole: &Tree, count: usize, random: &mut Random) -> Vec<usize> {
    let file = whole.find(&format!("{DATA_DIR}/db")).unwrap();
    let bytes = whole.file(file).unwrap().len();
    let segments = bytes.div_ceil(SEGMENT_BYTES);
    let of_segment = |number: usize| number % segments * SEGMENT_BYTES / PAGE_BYTES;
    (0..count)
        .map(|at| if at % 2 == 0 { of_segment(at / 2) } else { random.below(bytes / PAGE_BYTES) })
        .collect()
}

#[test]
fn a_bad_page_at_the_start_is_noticed_and_an_error_does_no_harm() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("METERD_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let count = number("METERD_FAULT_PAGES").unwrap_or(8) as usize;
    eprintln!("disk_faults: METERD_POWER_SEED={seed} METERD_FAULT_PAGES={count}");
    let Some(disk) = Disk::mount_or_skip(Tree::default()) else { return };
    let (half, whole) = write_store(&disk);
    drop(disk);
    for (name, effect) in effects(&half) {
        let began = std::time::Instant::now();
        let (mut refused, mut harmed) = (0, 0);
        for page in bad_pages(&whole, count, &mut Random::new(seed)) {
            let disk = Disk::mount(whole.clone()).unwrap();
            let fault = Fault::always("db", Access::Read, effect.clone());
            disk.plant(Fault { page: Some(page), ..fault });
            let outcome = open(&disk);
            refused += u32::from(outcome != Outcome::Opened);
            disk.heal();
            if let Effect::Error(_) = effect {
                // The disk said so itself: nothing may have been written over.
                assert_eq!(
                    open(&disk),
                    Outcome::Opened,
                    "page {page} reads again, {outcome:?} before"
                );
                assert_verified(&disk.join(DATA_DIR));
                continue;
            }
            // A disk that lies may make sled write over what it did not see. Then that is noticed, for ever.
            match verify(&disk.join(DATA_DIR), &mut |_| {}) {
                Ok(report) if report.differences.is_empty() => {
                    assert_eq!(
                        report.records, RECORDS,
                        "{name} at page {page}, {outcome:?} before"
                    );
                    assert_eq!(open(&disk), Outcome::Opened, "{name} at page {page}");
                }
                _ => harmed += 1,
            }
        }
        eprintln!(
            "an opening that finds {name}: {count} pages tried, {refused} refused, {harmed} harmed, {:.1?}",
            began.elapsed()
        );
    }
}
