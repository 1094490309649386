//! Admission control: limits of the calls under way. Unauthenticated calls have limits of their own, so that however many
//! there are, and however slow, authenticated callers are admitted. Streams, which stay for as long as their callers like,
//! leave permits to calls that pass, and no client gets all; nor does one address of unauthenticated callers.

use super::CallLimits;
use crate::{
    api::{
        limit::{Exhausted, Limit, Permit},
        peer_address::AddressGroup,
    },
    domain::caller::Caller,
};

/// What a call holds until its answer is complete.
#[derive(Debug)]
pub(super) struct CallPermit {
    _call: Permit,
    _stream: Option<Permit>,
}

/// Calls under way in the process.
#[derive(Debug)]
pub(super) struct InFlight {
    calls: Limit<Caller>,
    streams: Limit<Caller>,
    unauthenticated: Limit<AddressGroup>,
    unauthenticated_streams: Limit<AddressGroup>,
}

impl InFlight {
    pub(super) fn new(limits: &CallLimits) -> Self {
        let three_quarters = |max: usize| max - max / 4;
        let calls = limits.calls_in_flight_max;
        let streams = limits.streams_in_flight_max;
        let unauthenticated = limits.unauthenticated_in_flight_max;
        // Whoever wants to sign in finds the other half.
        let unauthenticated_streams = unauthenticated.div_ceil(2);
        Self {
            calls: Limit::new(calls, three_quarters(calls)),
            streams: Limit::new(streams, three_quarters(streams)),
            unauthenticated: Limit::new(unauthenticated, unauthenticated.div_ceil(2)),
            unauthenticated_streams: Limit::new(
                unauthenticated_streams,
                unauthenticated_streams.div_ceil(2),
            ),
        }
    }

    /// For a call with valid credentials. `stays` if its caller may keep it open.
    pub(super) fn authenticated(
        &self,
        caller: &Caller,
        stays: bool,
    ) -> Result<CallPermit, Exhausted> {
        let stream = stays.then(|| self.streams.take(caller)).transpose()?;
        Ok(CallPermit { _call: self.calls.take(caller)?, _stream: stream })
    }

    /// For one without.
    pub(super) fn unauthenticated(
        &self,
        address: AddressGroup,
        stays: bool,
    ) -> Result<CallPermit, Exhausted> {
        let stream = stays.then(|| self.unauthenticated_streams.take(&address)).transpose()?;
        Ok(CallPermit { _call: self.unauthenticated.take(&address)?, _stream: stream })
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

    fn in_flight() -> InFlight {
        InFlight::new(&CallLimits {
            calls_in_flight_max: 8,
            streams_in_flight_max: 4,
            unauthenticated_in_flight_max: 8,
            ..CallLimits::default()
        })
    }

    fn take(times: usize, enter: impl Fn() -> Result<CallPermit, Exhausted>) -> Vec<CallPermit> {
        (0..times).map(|_| enter().unwrap()).collect()
    }

    #[test]
    fn one_address_leaves_permits_to_others_and_to_sign_ins() {
        let in_flight = in_flight();
        let [flood, other] =
            ["192.0.2.1", "192.0.2.2"].map(|text| AddressGroup::of_address(text.parse().unwrap()));
        let streams = take(2, || in_flight.unauthenticated(flood, true));
        assert_eq!(in_flight.unauthenticated(flood, true).unwrap_err(), Exhausted::Share(2));
        let calls = take(2, || in_flight.unauthenticated(flood, false));
        assert_eq!(in_flight.unauthenticated(flood, false).unwrap_err(), Exhausted::Share(4));
        drop(take(4, || in_flight.unauthenticated(other, false)));
        drop((streams, calls));
        drop(take(4, || in_flight.unauthenticated(flood, false)));
    }

    #[test]
    fn one_client_leaves_permits_to_others() {
        let in_flight = in_flight();
        let (a, b) = (caller("a"), caller("b"));
        let streams = take(3, || in_flight.authenticated(&a, true));
        assert_eq!(in_flight.authenticated(&a, true).unwrap_err(), Exhausted::Share(3));
        let calls = take(3, || in_flight.authenticated(&a, false));
        assert_eq!(in_flight.authenticated(&a, false).unwrap_err(), Exhausted::Share(6));
        let others = [true, false].map(|stays| in_flight.authenticated(&b, stays).unwrap());
        assert_eq!(in_flight.authenticated(&b, true).unwrap_err(), Exhausted::All(4));
        assert_eq!(in_flight.authenticated(&b, false).unwrap_err(), Exhausted::All(8));
        drop((streams, calls, others));
        // Whoever was refused has kept nothing.
        drop(take(3, || in_flight.authenticated(&a, true)));
        drop(take(6, || in_flight.authenticated(&b, false)));
    }
}
