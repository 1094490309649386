//! Places for calls under way. Strangers, who have shown no valid credentials, have places of their own: however many of
//! them there are, and however slow, callers who are known find room. Streams, which stay for as long as their callers
//! like, leave places to calls that pass, and no client gets all.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CallLimits;
use crate::domain::caller::Caller;

/// What a call holds until its answer is complete.
#[derive(Debug)]
pub(super) struct Place {
    _call: Occupied,
    _stream: Option<Occupied>,
}

#[derive(Debug)]
struct Occupied {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All of so many are taken.
    Process(usize),
    /// The client has taken as many as it may.
    Client(usize),
}

/// Places of one kind.
#[derive(Debug)]
struct Room {
    permits: Arc<Semaphore>,
    places_max: usize,
    shares: Shares,
}

impl Room {
    fn new(places_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(places_max.min(Semaphore::MAX_PERMITS)));
        let shares = Shares::new(share_of(places_max));
        Self { permits, places_max, shares }
    }

    fn enter(&self, caller: Option<&Caller>) -> Result<Occupied, Full> {
        let share = caller.map(|caller| self.shares.take(caller)).transpose()?;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Full::Process(self.places_max))?;
        Ok(Occupied { _permit: permit, _share: share })
    }
}

/// What one client may have of so many places: three quarters.
fn share_of(places: usize) -> usize {
    places - places / 4
}

/// How many places each client has.
#[derive(Debug)]
struct Shares {
    max: usize,
    taken: Mutex<HashMap<Caller, Share>>,
}

/// One place of a client. There are as many as places are taken, and one more that stays in [`Shares`].
type Share = Arc<()>;

impl Shares {
    fn new(max: usize) -> Self {
        Self { max, taken: Mutex::default() }
    }

    fn take(&self, caller: &Caller) -> Result<Share, Full> {
        let mut taken = self.taken.lock();
        let client = match taken.get(caller) {
            Some(client) => client,
            None => {
                // Clients without a call under way are forgotten when there are many.
                if taken.len() > self.max.saturating_mul(2) {
                    taken.retain(|_, client| Arc::strong_count(client) > 1);
                }
                taken.entry(caller.clone()).or_default()
            }
        };
        // None can be added meanwhile.
        if Arc::strong_count(client) > self.max {
            return Err(Full::Client(self.max));
        }
        Ok(Arc::clone(client))
    }
}

/// All places of the process.
#[derive(Debug)]
pub(super) struct Places {
    calls: Room,
    streams: Room,
    strangers: Room,
    streams_of_strangers: Room,
}

impl Places {
    pub(super) fn new(limits: &CallLimits) -> Self {
        Self {
            calls: Room::new(limits.calls_in_flight_max),
            streams: Room::new(limits.streams_in_flight_max),
            strangers: Room::new(limits.strangers_in_flight_max),
            // Whoever wants to sign in finds the other half.
            streams_of_strangers: Room::new(limits.strangers_in_flight_max.div_ceil(2)),
        }
    }

    /// For a call with valid credentials. `stays` if its caller may keep it open.
    pub(super) fn for_known(&self, caller: &Caller, stays: bool) -> Result<Place, Full> {
        let stream = stays.then(|| self.streams.enter(Some(caller))).transpose()?;
        Ok(Place { _call: self.calls.enter(Some(caller))?, _stream: stream })
    }

    /// For one without.
    pub(super) fn for_stranger(&self, stays: bool) -> Result<Place, Full> {
        let stream = stays.then(|| self.streams_of_strangers.enter(None)).transpose()?;
        Ok(Place { _call: self.strangers.enter(None)?, _stream: stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{ClientId, OrganizationId};

    fn caller(client: &str) -> Caller {
        Caller {
            organization: OrganizationId::new("acme").unwrap(),
            client: ClientId::new(client).unwrap(),
        }
    }

    fn places() -> Places {
        Places::new(&CallLimits {
            calls_in_flight_max: 8,
            streams_in_flight_max: 4,
            strangers_in_flight_max: 3,
            ..CallLimits::default()
        })
    }

    fn take(times: usize, enter: impl Fn() -> Result<Place, Full>) -> Vec<Place> {
        (0..times).map(|_| enter().unwrap()).collect()
    }

    #[test]
    fn strangers_keep_nobody_out_and_their_streams_leave_room() {
        let places = places();
        let watching = take(2, || places.for_stranger(true));
        assert_eq!(places.for_stranger(true).unwrap_err(), Full::Process(2));
        let signing_in = take(1, || places.for_stranger(false));
        assert_eq!(places.for_stranger(false).unwrap_err(), Full::Process(3));
        drop(take(6, || places.for_known(&caller("a"), false)));
        drop((watching, signing_in));
        drop(take(3, || places.for_stranger(false)));
    }

    #[test]
    fn no_client_gets_all() {
        let places = places();
        let (a, b) = (caller("a"), caller("b"));
        let streams = take(3, || places.for_known(&a, true));
        assert_eq!(places.for_known(&a, true).unwrap_err(), Full::Client(3));
        let calls = take(3, || places.for_known(&a, false));
        assert_eq!(places.for_known(&a, false).unwrap_err(), Full::Client(6));
        let others = (places.for_known(&b, true).unwrap(), places.for_known(&b, false).unwrap());
        assert_eq!(places.for_known(&b, true).unwrap_err(), Full::Process(4));
        assert_eq!(places.for_known(&b, false).unwrap_err(), Full::Process(8));
        drop((streams, calls, others));
        // Whoever was refused has kept nothing.
        drop(take(3, || places.for_known(&a, true)));
        drop(take(6, || places.for_known(&b, false)));
        for room in [&places.calls, &places.streams] {
            let taken = room.shares.taken.lock();
            assert!(taken.values().all(|client| Arc::strong_count(client) == 1));
        }
    }

    #[test]
    fn clients_that_call_no_more_are_forgotten() {
        let places = places();
        let stays = places.for_known(&caller("stays"), false).unwrap();
        for number in 0..1000 {
            drop(places.for_known(&caller(&format!("client-{number}")), false).unwrap());
            assert!(places.calls.shares.taken.lock().len() <= 16);
        }
        drop(take(5, || places.for_known(&caller("stays"), false)));
        drop(stays);
    }
}
