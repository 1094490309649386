//! A store's lives on a recorded disk.
//!
//! A life opens the store, does some deeds, in two threads that know nothing of each other, and ends: by closing, or
//! somewhere in the middle, as the process is killed (what it wrote stays in the page cache) or as the power fails. The next
//! one goes on with the deeds that were not acknowledged, as clients do. So a point of a later life is a second crash, and a
//! point while the store opens is a crash in the middle of a recovery.

use std::path::Path;

use meterd::store::{
    UsageStore as _,
    sled::{SledStore, StoreOptions},
};

use super::{
    author::Author,
    crash::{Replay, honest},
    deeds::Deed,
    survival::Survival,
};
use crate::support::{
    disk::{Disk, Event, Tree, tree_after},
    random::Random,
};

/// Usage on one, everything else on the other.
pub const LANES: usize = 2;

/// What a number in the record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Opening,
    Opened,
    /// A deed of a lane begins. Done and begun are counted from the first on.
    Begun {
        lane: usize,
        deed: usize,
    },
    /// It was acknowledged.
    Done {
        lane: usize,
        deed: usize,
    },
}

impl Mark {
    fn number(self) -> usize {
        match self {
            Self::Opening => 0,
            Self::Opened => 1,
            Self::Begun { lane, deed } => 2 + (deed * LANES + lane) * 2,
            Self::Done { lane, deed } => 3 + (deed * LANES + lane) * 2,
        }
    }

    pub fn of(number: usize) -> Self {
        let Some(number) = number.checked_sub(2) else {
            return if number == 0 { Self::Opening } else { Self::Opened };
        };
        let (lane, deed) = (number / 2 % LANES, number / 2 / LANES);
        if number % 2 == 0 { Self::Begun { lane, deed } } else { Self::Done { lane, deed } }
    }
}

/// How many deeds of each lane had begun and were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub begun: [usize; LANES],
    pub done: [usize; LANES],
}

impl Progress {
    pub fn apply(&mut self, event: &Event) {
        let Event::Mark(number) = event else { return };
        match Mark::of(*number) {
            Mark::Begun { lane, deed } => self.begun[lane] = self.begun[lane].max(deed + 1),
            Mark::Done { lane, deed } => self.done[lane] = self.done[lane].max(deed + 1),
            Mark::Opening | Mark::Opened => {}
        }
    }

    fn of(events: &[Event]) -> Self {
        let mut progress = Self::default();
        events.iter().for_each(|event| progress.apply(event));
        progress
    }
}

/// Everything that happened, and what it was about.
pub struct Recording {
    pub seed: u64,
    pub deeds: [Vec<Deed>; LANES],
    pub events: Vec<Event>,
    /// Where the store is on the disk.
    pub data_dir: &'static str,
}

/// How much is done in a recording.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub deeds: [usize; LANES],
    pub lives: usize,
}

/// So few keys in memory that runs are written, merged and removed all the time.
pub fn options(data_dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(data_dir);
    options.memtable_keys_max = 150;
    options.rollup_rows_max = 120;
    options.filter_bits_per_key = 4;
    options.merge_fan_in = 3;
    options.runs_max = 8;
    options.cache_bytes = 8 << 20;
    options
}

enum End {
    Closed,
    Killed,
    PowerCut,
}

impl Recording {
    /// What a seed will have done, before anything happened.
    pub fn planned(seed: u64, deeds: [usize; LANES]) -> Self {
        let mut random = Random::new(seed);
        let mut author = Author::new(&mut random);
        let usage = (0..deeds[0]).map(|_| author.usage()).collect();
        let side = (0..deeds[1]).map(|_| author.side()).collect();
        // Every other one has directories above it that do not exist either.
        let data_dir = if seed.is_multiple_of(2) { "data" } else { "var/lib/data" };
        Self { seed, deeds: [usage, side], events: Vec::new(), data_dir }
    }

    /// Records a seed; `None` if no disk can be mounted here.
    pub fn make(seed: u64, extent: Extent) -> Option<Self> {
        let mut recording = Self::planned(seed, extent.deeds);
        let mut random = Random::new(seed.rotate_left(32));
        let mut tree = Tree::default();
        for life in 1..=extent.lives {
            let disk = Disk::mount_or_skip(tree)?;
            let done = Progress::of(&recording.events).done;
            // The same share of what is left for every life.
            let until = [0, 1].map(|lane| {
                let left = recording.deeds[lane].len() - done[lane];
                done[lane] + left.div_ceil(extent.lives - life + 1)
            });
            recording.live(&disk, done, until);
            let mut events = disk.finish();
            let end = match random.below(3) {
                _ if life == extent.lives => End::Closed,
                0 => End::Closed,
                1 => End::Killed,
                _ => End::PowerCut,
            };
            if !matches!(end, End::Closed) {
                events.truncate(random.below(events.len() + 1));
            }
            recording.events.append(&mut events);
            if matches!(end, End::PowerCut) {
                let mut replay = Replay::new(honest);
                recording.events.iter().for_each(|event| replay.apply(event));
                let survival = random.one_of(&Survival::ALL);
                let left = replay.cut(&mut random, survival);
                recording.events.push(Event::PowerCut(left));
            }
            tree = tree_after(&recording.events);
        }
        Some(recording)
    }

    fn live(&self, disk: &Disk, done: [usize; LANES], until: [usize; LANES]) {
        let mark = |mark: Mark| disk.mark(mark.number());
        mark(Mark::Opening);
        let opened = SledStore::open(options(&disk.join(self.data_dir)));
        let store = opened.unwrap_or_else(|error| {
            panic!("METERD_POWER_SEED={}: a recorded store does not open: {error}", self.seed)
        });
        mark(Mark::Opened);
        std::thread::scope(|scope| {
            for lane in 0..LANES {
                let store = &store;
                scope.spawn(move || {
                    for deed in done[lane]..until[lane] {
                        mark(Mark::Begun { lane, deed });
                        self.deeds[lane][deed].perform(store).unwrap();
                        mark(Mark::Done { lane, deed });
                    }
                });
            }
        });
        // Merges and removals are worth a crash as well.
        while !store.is_idle() {
            assert_eq!(store.status(), meterd::store::StoreStatus::Ready);
            std::thread::yield_now();
        }
    }
}
