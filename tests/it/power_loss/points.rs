//! The moments of a recording at which the power fails.

use super::{
    recording::{Mark, Recording},
    survival::Survival,
};
use crate::support::{disk::Event, random::Random};

/// A moment at which the power fails, and how.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// So many events had happened.
    pub at: usize,
    pub seed: u64,
    pub survival: Survival,
}

/// Where it hurts: half of the points are anywhere, a quarter while a store opens, a quarter just before a sync or just
/// after an acknowledgement.
pub fn points(recording: &Recording, count: usize, random: &mut Random) -> Vec<Point> {
    let events = &recording.events;
    let mut opening = false;
    let (mut recoveries, mut edges) = (Vec::new(), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Mark(number) => match Mark::of(*number) {
                Mark::Opening => opening = true,
                Mark::Opened => opening = false,
                Mark::Done { .. } => edges.push(at + 1),
                Mark::Begun { .. } => {}
            },
            Event::SyncFile { .. } | Event::SyncDirectory { .. } => edges.push(at),
            _ => {}
        }
        if opening {
            recoveries.push(at + 1);
        }
    }
    let mut points: Vec<Point> = (0..count)
        .map(|_| {
            let at = match random.below(4) {
                0 => random.one_of(&recoveries),
                1 => random.one_of(&edges),
                _ => random.below(events.len() + 1),
            };
            Point { at, seed: random.next(), survival: random.one_of(&Survival::ALL) }
        })
        .collect();
    points.sort_by_key(|point| point.at);
    points
}
