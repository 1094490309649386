//! Power failures, by the thousand: nothing acknowledged is lost, and nothing counts twice.
//!
//! A store lives on a disk that records every change and every sync (`support::disk`), together with marks that say what
//! was acknowledged when (`recording`). Any point of such a record can then be taken for the moment at which the power
//! failed: `crash` builds what the disk may hold afterwards, and `judge` opens the store that is on it.
//!
//! `METERD_POWER_SEEDS` records so many lives (4) and `METERD_POWER_POINTS` judges so many points of each (40), from
//! `METERD_POWER_SEED` on. Deeds, ends and cuts follow from the seed; what threads do at the same time does not, so that
//! a record of the same seed may differ in its details. What fails is therefore kept, and its directory named:
//! `METERD_POWER_KEPT` judges just that once more.

mod author;
mod comparison;
pub mod crash;
mod deeds;
mod judge;
mod kept;
mod points;
mod recording;
pub mod survival;

use std::{collections::BTreeMap, num::NonZeroUsize, thread::available_parallelism, time::Instant};

use crash::{Ignores, Replay, Synced, honest};
use judge::{Failure, judge};
use points::{Point, points};
use recording::{Extent, Progress, Recording};
use survival::Survival;

use crate::support::{disk::Event, random::Random};

/// What a disk, or the store, is made to do wrong so that the judge has something to find.
#[derive(Clone, Copy)]
struct Wrong {
    ignores: Ignores,
    /// Whether a deed counts as acknowledged as soon as it begins.
    acknowledges_early: bool,
}

const NOTHING_WRONG: Wrong = Wrong { ignores: honest, acknowledges_early: false };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Judges points, which are in order, until `failures_max` of them have failed. Answers those with how many were judged.
fn judge_points(
    recording: &Recording,
    points: &[Point],
    wrong: Wrong,
    failures_max: usize,
) -> (Vec<(Point, Failure)>, usize) {
    let (mut failures, mut judged) = (Vec::new(), 0);
    let mut replay = Replay::new(wrong.ignores);
    let mut progress = Progress::default();
    let mut replayed = 0;
    for point in points {
        for event in &recording.events[replayed..point.at] {
            replay.apply(event);
            progress.apply(event);
        }
        replayed = point.at;
        let image = replay.cut(&mut Random::new(point.seed), point.survival);
        let mut promised = progress;
        if wrong.acknowledges_early {
            promised.done = promised.begun;
        }
        judged += 1;
        if let Err(failure) = judge(recording, promised, &image) {
            failures.push((*point, failure));
            if failures.len() >= failures_max {
                break;
            }
        }
    }
    (failures, judged)
}

/// The same on all processors.
fn judge_in_parallel(recording: &Recording, points: &[Point]) -> Vec<(Point, Failure)> {
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        let judging: Vec<_> = (0..threads)
            .map(|thread| {
                let share: Vec<Point> =
                    points.iter().skip(thread).step_by(threads).copied().collect();
                scope.spawn(move || judge_points(recording, &share, NOTHING_WRONG, 3).0)
            })
            .collect();
        judging.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Says what failed, so that it can be looked at and run again.
fn report(recording: &Recording, failures: &[(Point, Failure)]) -> String {
    let mut text = String::new();
    for (Point { at, seed, survival }, Failure { what, kept }) in failures {
        let before: Vec<String> = recording.events[at.saturating_sub(6)..*at]
            .iter()
            .map(|event| {
                let mut shown = format!("{event:?}");
                shown.truncate(120);
                shown
            })
            .collect();
        text.push_str(&format!(
            "METERD_POWER_SEED={} event {at} of {}, cut {seed} {survival:?}: {what}\n  METERD_POWER_KEPT={}\n  after {before:#?}\n",
            recording.seed,
            recording.events.len(),
            kept.display(),
        ));
    }
    text
}

#[test]
fn what_was_acknowledged_survives_power_failures() {
    let first = number("METERD_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seeds = number("METERD_POWER_SEEDS").unwrap_or(4);
    let count = number("METERD_POWER_POINTS").unwrap_or(40) as usize;
    eprintln!(
        "power_loss: METERD_POWER_SEED={first} METERD_POWER_SEEDS={seeds} METERD_POWER_POINTS={count}"
    );
    let mut ways: BTreeMap<String, usize> = BTreeMap::new();
    let mut events = 0;
    for seed in first..first + seeds {
        let began = Instant::now();
        let extent = Extent { deeds: [100, 40], lives: 4 };
        let Some(recording) = Recording::make(seed, extent) else { return };
        let recorded = began.elapsed();
        let points = points(&recording, count, &mut Random::new(!seed));
        let failures = judge_in_parallel(&recording, &points);
        let cuts =
            recording.events.iter().filter(|event| matches!(event, Event::PowerCut(_))).count();
        eprintln!(
            "power_loss: seed {seed}: {} events and {cuts} power cuts recorded in {recorded:.1?}, {count} points judged in {:.1?}",
            recording.events.len(),
            began.elapsed() - recorded,
        );
        assert!(failures.is_empty(), "{}", report(&recording, &failures));
        events += recording.events.len();
        points.iter().for_each(|point| {
            *ways.entry(format!("{:?}", point.survival)).or_default() += 1;
        });
    }
    eprintln!("power_loss: {} points of {events} events held: {ways:?}", seeds as usize * count);
}

/// Whatever failed before, and was kept.
#[test]
fn what_failed_before_holds_now() {
    let Some(directory) = std::env::var_os("METERD_POWER_KEPT") else { return };
    let (recording, progress, image) = kept::read(directory.as_ref()).unwrap();
    if let Err(failure) = judge(&recording, progress, &image) {
        panic!("{} METERD_POWER_KEPT={}", failure.what, failure.kept.display());
    }
}

/// The power fails at every single point of a store's first moments: what is there then is half of a directory, and opens.
#[test]
fn a_store_that_was_hardly_made_opens() {
    let seed = number("METERD_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("power_loss: METERD_POWER_SEED={seed}");
    // Two seeds, since every other one makes directories above the store as well.
    for seed in [seed, seed + 1] {
        let Some(recording) = Recording::make(seed, Extent { deeds: [1, 1], lives: 1 }) else {
            return;
        };
        let mut random = Random::new(!seed);
        let point =
            |at: usize| Point { at, seed: random.next(), survival: random.one_of(&Survival::ALL) };
        let events = recording.events.len();
        let points: Vec<Point> = (0..=events).map(point).collect();
        let failures = judge_in_parallel(&recording, &points);
        assert!(failures.is_empty(), "{}", report(&recording, &failures));
        eprintln!("power_loss: seed {seed}: all {events} points of a first start held");
    }
}

/// Every mistake that a store could make with its syncs is found, so the test above can fail. The first is what sled does
/// when it is left alone: `sync_file_range` promises nothing about what is on the disk, and only the fdatasync that stands in
/// for it makes anything durable. The fsyncs that sled makes itself stay.
#[test]
fn what_would_be_lost_is_found() {
    let seed = number("METERD_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("power_loss: METERD_POWER_SEED={seed}");
    let Some(recording) = Recording::make(seed, Extent { deeds: [40, 10], lives: 1 }) else {
        return;
    };
    let plain_sled: Ignores =
        |synced| matches!(synced, Synced::File { name: "db", data_only: true });
    let no_directory_sync: Ignores = |synced| synced == Synced::Directory;
    let no_conf_sync: Ignores = |synced| matches!(synced, Synced::File { name: "conf", .. });
    let no_head_sync: Ignores = |synced| matches!(synced, Synced::File { name: "head", .. });
    let mistakes = [
        ("plain sled", Wrong { ignores: plain_sled, ..NOTHING_WRONG }),
        ("no fsync of directories", Wrong { ignores: no_directory_sync, ..NOTHING_WRONG }),
        ("no fsync of sled's settings", Wrong { ignores: no_conf_sync, ..NOTHING_WRONG }),
        ("no fsync of the head", Wrong { ignores: no_head_sync, ..NOTHING_WRONG }),
        ("answers before the flush", Wrong { acknowledges_early: true, ..NOTHING_WRONG }),
    ];
    let mut random = Random::new(seed);
    for (name, wrong) in mistakes {
        let mut points = points(&recording, 300, &mut random);
        // In the order of chance, so that the number of points says how easily it is found.
        let mut judged = 0;
        let found = loop {
            let Some(at) = (!points.is_empty()).then(|| random.below(points.len())) else {
                break None;
            };
            let point = points.swap_remove(at);
            judged += 1;
            if let Some(failure) = judge_points(&recording, &[point], wrong, 1).0.pop() {
                break Some(failure.1);
            }
        };
        let failure = found.unwrap_or_else(|| panic!("{name}: not found after {judged} points"));
        eprintln!("power_loss: {name}: found after {judged} points: {}", failure.what);
        std::fs::remove_dir_all(failure.kept).unwrap();
    }
}
