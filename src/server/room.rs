//! Room for connections. When all of it is taken, a new connection gets the place of a stranger: of the one who has been
//! there longest without showing valid credentials. So connections that are only held open keep nobody out.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::api::Acquaintance;

/// One connection that has been let in. Its place is free again when it is dropped.
pub(super) struct Guest {
    visit: Arc<Visit>,
}

struct Visit {
    acquaintance: Acquaintance,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    leave: Notify,
}

impl Guest {
    /// To be told when it is known.
    pub(super) fn acquaintance(&self) -> &Acquaintance {
        &self.visit.acquaintance
    }

    /// Completes when its place was given to another.
    pub(super) async fn must_leave(&self) {
        self.visit.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.visit.place.lock().take();
    }
}

/// All places for connections of one listener.
pub(super) struct Room {
    places: Arc<Semaphore>,
    places_max: usize,
    // Those who were strangers when they came, oldest first. Who has left or is known is taken out now and then.
    strangers: Mutex<VecDeque<Arc<Visit>>>,
}

/// Whether somebody had to go for a new guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Free,
    InsteadOfStranger,
}

impl Room {
    pub(super) fn new(places_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(places_max.min(Semaphore::MAX_PERMITS)));
        Self { places, places_max, strangers: Mutex::default() }
    }

    /// Lets a connection in; `None` if all places are taken by guests who are known.
    pub(super) fn enter(&self) -> Option<(Guest, Entry)> {
        let (place, entry) = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => (place, Entry::Free),
            Err(_) => (self.place_of_stranger()?, Entry::InsteadOfStranger),
        };
        let visit = Arc::new(Visit {
            acquaintance: Acquaintance::default(),
            place: Mutex::new(Some(place)),
            leave: Notify::new(),
        });
        let mut strangers = self.strangers.lock();
        // At least half of so many are gone or known.
        if strangers.len() > self.places_max.saturating_mul(2) {
            strangers.retain(|visit| !visit.acquaintance.is_made() && visit.place.lock().is_some());
        }
        strangers.push_back(Arc::clone(&visit));
        Some((Guest { visit }, entry))
    }

    fn place_of_stranger(&self) -> Option<OwnedSemaphorePermit> {
        let mut strangers = self.strangers.lock();
        while let Some(oldest) = strangers.pop_front() {
            if oldest.acquaintance.is_made() {
                continue;
            }
            if let Some(place) = oldest.place.lock().take() {
                oldest.leave.notify_one();
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_stranger_makes_room_and_nobody_who_is_known() {
        let room = Room::new(3);
        let known = room.enter().unwrap().0;
        let oldest = room.enter().unwrap().0;
        let younger = room.enter().unwrap().0;
        known.acquaintance().make();
        let (newcomer, entry) = room.enter().unwrap();
        assert_eq!(entry, Entry::InsteadOfStranger);
        oldest.must_leave().await;
        drop(oldest);
        newcomer.acquaintance().make();
        let (last, _) = room.enter().unwrap();
        younger.must_leave().await;
        last.acquaintance().make();
        drop(younger);
        assert!(room.enter().is_none(), "all are known");
        drop(known);
        let (_guest, entry) = room.enter().unwrap();
        assert_eq!(entry, Entry::Free);
        drop((newcomer, last));
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let room = Room::new(2);
        for _ in 0..1000 {
            assert_eq!(room.enter().unwrap().1, Entry::Free);
            assert!(room.strangers.lock().len() <= 5);
        }
    }
}
