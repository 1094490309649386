//! Assertions that were used: each is good for one sign-in, and is remembered until it would be refused anyhow.
//!
//! What is remembered of one client is never evicted for another: a client that has used up its share signs in again when some
//! of its assertions have expired.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use parking_lot::Mutex;

use crate::domain::{
    access::Client,
    credential::CredentialHash,
    id::{ClientId, OrganizationId},
};

/// One organization has the shares of so many clients, however many clients it has.
const CLIENT_SHARES: usize = 8;
/// Seconds between looking for what has expired in every organization.
const SWEEP_INTERVAL: i64 = 60;

/// Whether an assertion may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It may, this once.
    First,
    /// It was used before.
    Again,
    /// Whether it was used before could not be remembered.
    NoRoom,
}

/// The most that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssertionLimits {
    /// Assertions of one client that are remembered until they expire. One organization has eight times as many.
    /// Default 16,384: the vendor's SDK for Python signs in every 20 seconds with assertions that are valid for an hour, so
    /// that is some ninety processes of one client.
    pub per_client_max: usize,
}

impl Default for AssertionLimits {
    fn default() -> Self {
        Self { per_client_max: 16_384 }
    }
}

type Digest = [u8; 16];

/// Of one organization.
#[derive(Debug, Default)]
struct Share {
    digests: HashSet<(ClientId, Digest)>,
    // The first to expire on top.
    expiring: BinaryHeap<Reverse<(i64, ClientId, Digest)>>,
    of_client: HashMap<ClientId, usize>,
}

impl Share {
    /// Forgets what has expired by `now`.
    fn forget_expired(&mut self, now: i64) {
        while let Some(Reverse((expires, ..))) = self.expiring.peek() {
            if *expires > now {
                return;
            }
            let Some(Reverse((_, client, digest))) = self.expiring.pop() else { return };
            if let Some(count) = self.of_client.get_mut(&client) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_client.remove(&client);
                }
            }
            self.digests.remove(&(client, digest));
        }
    }
}

#[derive(Debug, Default)]
struct Remembered {
    shares: HashMap<OrganizationId, Share>,
    swept: i64,
}

/// Which assertions were used.
#[derive(Debug)]
pub(super) struct UsedAssertions {
    limits: AssertionLimits,
    remembered: Mutex<Remembered>,
}

impl UsedAssertions {
    pub(super) fn new(limits: AssertionLimits) -> Self {
        Self { limits, remembered: Mutex::default() }
    }

    /// Notes that `client` uses what `identity` tells apart, which is refused from `expires` on.
    pub(super) fn note(&self, client: &Client, identity: &[u8], expires: i64, now: i64) -> Use {
        let hash = CredentialHash::of(identity);
        // Half of it: two assertions of one client that share it cannot be found.
        let digest: Digest = hash.0.first_chunk().copied().unwrap_or_default();
        let mut remembered = self.remembered.lock();
        if remembered.swept.saturating_add(SWEEP_INTERVAL) <= now {
            remembered.swept = now;
            remembered.shares.retain(|_, share| {
                share.forget_expired(now);
                !share.digests.is_empty()
            });
        }
        let share = remembered.shares.entry(client.organization.clone()).or_default();
        share.forget_expired(now);
        let key = (client.id.clone(), digest);
        if share.digests.contains(&key) {
            return Use::Again;
        }
        let of_client = share.of_client.get(&client.id).copied().unwrap_or_default();
        let per_client_max = self.limits.per_client_max;
        if of_client >= per_client_max
            || share.digests.len() >= per_client_max.saturating_mul(CLIENT_SHARES)
        {
            return Use::NoRoom;
        }
        share.digests.insert(key);
        share.of_client.insert(client.id.clone(), of_client + 1);
        share.expiring.push(Reverse((expires, client.id.clone(), digest)));
        Use::First
    }

    pub(super) fn limits(&self) -> AssertionLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(organization: &str, id: &str) -> Client {
        Client {
            organization: OrganizationId::new(organization).unwrap(),
            id: ClientId::new(id).unwrap(),
            generation: Default::default(),
            token_epoch: 0,
            name: String::new(),
            permissions: Default::default(),
            secrets: Vec::new(),
            api_keys: Vec::new(),
            public_keys: Vec::new(),
            created: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn used(per_client_max: usize) -> UsedAssertions {
        UsedAssertions::new(AssertionLimits { per_client_max })
    }

    #[test]
    fn assertion_is_good_once_until_it_expires() {
        let (used, agent) = (used(10), client("acme", "agent"));
        assert_eq!(used.note(&agent, b"one", 100, 0), Use::First);
        assert_eq!(used.note(&agent, b"one", 100, 0), Use::Again);
        assert_eq!(used.note(&agent, b"one", 100, 99), Use::Again);
        assert_eq!(used.note(&agent, b"two", 100, 99), Use::First);
        for other in [client("acme", "other"), client("other", "agent")] {
            assert_eq!(used.note(&other, b"one", 100, 99), Use::First, "{other:?}");
        }
        assert_eq!(used.note(&agent, b"one", 200, 100), Use::First, "it has expired");
    }

    #[test]
    fn full_share_refuses_its_own_client_only() {
        let used = used(2);
        let (greedy, agent) = (client("acme", "greedy"), client("acme", "agent"));
        for identity in [b"1", b"2"] {
            assert_eq!(used.note(&greedy, identity, 100, 0), Use::First);
        }
        assert_eq!(used.note(&greedy, b"3", 100, 0), Use::NoRoom);
        assert_eq!(used.note(&greedy, b"1", 100, 0), Use::Again, "nothing was forgotten");
        assert_eq!(used.note(&agent, b"3", 100, 0), Use::First);
        assert_eq!(used.note(&greedy, b"3", 200, 100), Use::First, "the others have expired");
    }

    #[test]
    fn full_organization_refuses_its_own_clients_only() {
        let used = used(1);
        for number in 0..CLIENT_SHARES {
            let client = client("acme", &format!("client-{number}"));
            assert_eq!(used.note(&client, b"x", 100, 0), Use::First);
        }
        assert_eq!(used.note(&client("acme", "one more"), b"x", 100, 0), Use::NoRoom);
        assert_eq!(used.note(&client("other", "agent"), b"x", 100, 0), Use::First);
    }

    #[test]
    fn expired_assertions_take_no_memory() {
        let used = used(100);
        for number in 0..100_i64 {
            let organization = client(&format!("organization-{number}"), "agent");
            assert_eq!(used.note(&organization, b"x", number + 1, 0), Use::First);
        }
        assert_eq!(used.note(&client("last", "agent"), b"x", 1000, 100), Use::First);
        assert_eq!(used.remembered.lock().shares.len(), 1);
    }
}
