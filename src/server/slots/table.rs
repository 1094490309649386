//! Who has the slots: the rules of entering, of shares and of eviction, without locks and clocks.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    SlotLimits,
    connection::{Connection, Standing},
};
use crate::domain::{
    caller::Caller,
    id::{ClientId, OrganizationId},
};

/// Authenticated connections leave one in so many slots to those that are about to sign in.
const SHARE_OF_UNAUTHENTICATED: usize = 16;

/// Why a connection loses its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// It was the oldest unauthenticated one when all slots were taken.
    Unauthenticated,
    /// It was the longest idle one of the client that had most.
    Idle,
    /// Its client has another one, and no more than its share.
    ClientShare,
    /// Its organization has another one, and no more than its share.
    OrganizationShare,
    /// It had a slot for operators, and another one needs it or no operator came.
    OperatorSlot,
}

impl Eviction {
    pub(super) const ALL: [Self; 5] = [
        Self::Unauthenticated,
        Self::Idle,
        Self::ClientShare,
        Self::OrganizationShare,
        Self::OperatorSlot,
    ];

    /// The label of the metric.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Idle => "idle",
            Self::ClientShare => "client_share",
            Self::OrganizationShare => "organization_share",
            Self::OperatorSlot => "operator_slot",
        }
    }
}

/// How many slots there are, and how many may have whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) slots: usize,
    pub(super) authenticated: usize,
    pub(super) client: usize,
    pub(super) organization: usize,
    pub(super) operators: usize,
}

impl Shares {
    pub(super) fn of(limits: &SlotLimits) -> Self {
        Self {
            slots: limits.connections_max,
            authenticated: limits.connections_max
                - limits.connections_max / SHARE_OF_UNAUTHENTICATED,
            client: limits.client_connections_max,
            organization: limits.organization_connections_max,
            operators: limits.operator_connections,
        }
    }
}

/// Connections under growing numbers: the first is the oldest.
type ByAge = BTreeMap<u64, Arc<Connection>>;

#[derive(Debug, Default)]
struct Client {
    is_registered: bool,
    connections: ByAge,
}

impl Client {
    fn longest_idle(&self) -> Option<&Arc<Connection>> {
        let idle = self.connections.values();
        idle.filter_map(|connection| Some((connection.idle_since_ms()?, connection)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, connection)| connection)
    }
}

#[derive(Debug, Default)]
struct Organization {
    connections: usize,
    clients: BTreeMap<ClientId, Client>,
}

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Table {
    shares: Shares,
    next: u64,
    unauthenticated: ByAge,
    organizations: BTreeMap<OrganizationId, Organization>,
    authenticated: usize,
    operator_slots: ByAge,
}

impl Table {
    pub(super) fn new(shares: Shares) -> Self {
        Self {
            shares,
            next: 0,
            unauthenticated: ByAge::new(),
            organizations: BTreeMap::new(),
            authenticated: 0,
            operator_slots: ByAge::new(),
        }
    }

    /// Connections of authenticated clients, and of operators.
    pub(super) fn authenticated(&self) -> usize {
        let operators = self.operator_slots.values().filter(|connection| connection.is_operators());
        self.authenticated + operators.count()
    }

    /// Gives a new connection a slot, and says whose it was if none was free; `None` if none can be taken.
    pub(super) fn enter(&mut self, now_ms: u64) -> Option<(Arc<Connection>, Option<Eviction>)> {
        let eviction = if self.has_free_slot() {
            None
        } else if let Some((_, oldest)) = self.unauthenticated.pop_first() {
            oldest.evict();
            Some(Eviction::Unauthenticated)
        } else if self.evict_idle(None) {
            Some(Eviction::Idle)
        } else {
            return self.enter_operator_slot(now_ms);
        };
        let number = self.number();
        let connection = Arc::new(Connection::new(Standing::Unauthenticated(number), now_ms));
        self.unauthenticated.insert(number, Arc::clone(&connection));
        Some((connection, eviction))
    }

    /// Whoever it is may be an operator, and has the handshake timeout to show it.
    fn enter_operator_slot(&mut self, now_ms: u64) -> Option<(Arc<Connection>, Option<Eviction>)> {
        let mut eviction = None;
        if self.operator_slots.len() >= self.shares.operators {
            let oldest = self.operator_slots.iter().find(|(_, taken)| !taken.is_operators());
            let longest_idle = || {
                let idle = self.operator_slots.iter();
                idle.filter_map(|(number, taken)| Some((taken.idle_since_ms()?, number)))
                    .min()
                    .map(|(_, number)| number)
            };
            let number = *oldest.map(|(number, _)| number).or_else(longest_idle)?;
            self.operator_slots.remove(&number)?.evict();
            eviction = Some(Eviction::OperatorSlot);
        }
        let number = self.number();
        let connection = Arc::new(Connection::new(Standing::OperatorSlot(number), now_ms));
        self.operator_slots.insert(number, Arc::clone(&connection));
        Some((connection, eviction))
    }

    /// Counts a connection as that of a client, if its client, its organization and all clients together have room or
    /// make it; otherwise it stays unauthenticated. Says who was evicted for it.
    pub(super) fn authenticate(
        &mut self,
        connection: &Arc<Connection>,
        caller: &Caller,
        is_operator: bool,
        is_registered: bool,
    ) -> Vec<Eviction> {
        let mut evictions = Vec::new();
        match connection.standing() {
            Standing::Gone => return evictions,
            standing @ (Standing::Authenticated(..) | Standing::OperatorSlot(_)) if is_operator => {
                connection.stand(standing, true, true);
                return evictions;
            }
            Standing::Authenticated(..) => return evictions,
            // It came when all others were taken.
            Standing::OperatorSlot(number) => {
                if connection.is_operators() || !self.has_free_slot() {
                    return evictions;
                }
                self.operator_slots.remove(&number);
                self.unauthenticated.insert(number, Arc::clone(connection));
                connection.stand(Standing::Unauthenticated(number), false, false);
            }
            Standing::Unauthenticated(_) => {}
        }
        let Standing::Unauthenticated(number) = connection.standing() else { return evictions };
        if !self.make_room(caller, &mut evictions) {
            if is_operator && self.operator_slots.len() < self.shares.operators {
                self.unauthenticated.remove(&number);
                self.operator_slots.insert(number, Arc::clone(connection));
                connection.stand(Standing::OperatorSlot(number), true, true);
            }
            return evictions;
        }
        self.unauthenticated.remove(&number);
        let organization = self.organizations.entry(caller.organization.clone()).or_default();
        organization.connections += 1;
        let client = organization.clients.entry(caller.client.clone()).or_default();
        client.is_registered = is_registered;
        client.connections.insert(number, Arc::clone(connection));
        self.authenticated += 1;
        let standing = Standing::Authenticated(number, caller.clone());
        connection.stand(standing, true, is_operator);
        evictions
    }

    /// Whether another connection of the caller may count as authenticated.
    fn make_room(&mut self, caller: &Caller, evictions: &mut Vec<Eviction>) -> bool {
        let organization = self.organizations.get(&caller.organization);
        let client = organization.and_then(|organization| organization.clients.get(&caller.client));
        let own = client.map_or(0, |client| client.connections.len());
        if own >= self.shares.client {
            let Some(idle) = client.and_then(Client::longest_idle).cloned() else { return false };
            self.evict(&idle);
            evictions.push(Eviction::ClientShare);
            // Neither the organization nor all clients together have more than before.
            return true;
        }
        if organization.is_some_and(|known| known.connections >= self.shares.organization) {
            if !self.evict_idle(Some(&caller.organization)) {
                return false;
            }
            evictions.push(Eviction::OrganizationShare);
            return true;
        }
        if self.authenticated >= self.shares.authenticated {
            if !self.evict_idle(None) {
                return false;
            }
            evictions.push(Eviction::Idle);
        }
        true
    }

    /// Evicts the longest idle connection of the client that has most, of one organization or of all.
    fn evict_idle(&mut self, of: Option<&OrganizationId>) -> bool {
        let organizations = self.organizations.iter();
        let organizations = organizations.filter(|(id, _)| of.is_none_or(|wanted| wanted == *id));
        let clients = organizations.flat_map(|(_, organization)| organization.clients.values());
        let mut found: Option<(usize, &Arc<Connection>)> = None;
        for client in clients {
            let has = client.connections.len();
            if found.is_none_or(|(most, _)| has > most)
                && let Some(idle) = client.longest_idle()
            {
                found = Some((has, idle));
            }
        }
        let Some(idle) = found.map(|(_, idle)| Arc::clone(idle)) else { return false };
        self.evict(&idle);
        true
    }

    fn evict(&mut self, connection: &Arc<Connection>) {
        self.leave(connection);
        connection.evict();
    }

    /// Frees the slot of a connection.
    pub(super) fn leave(&mut self, connection: &Arc<Connection>) {
        match connection.standing() {
            Standing::Unauthenticated(number) => {
                self.unauthenticated.remove(&number);
            }
            Standing::Authenticated(number, caller) => self.remove_from_client(number, &caller),
            Standing::OperatorSlot(number) => {
                self.operator_slots.remove(&number);
            }
            Standing::Gone => {}
        }
        connection.stand(Standing::Gone, false, false);
    }

    fn remove_from_client(&mut self, number: u64, caller: &Caller) {
        let Some(organization) = self.organizations.get_mut(&caller.organization) else { return };
        let Some(client) = organization.clients.get_mut(&caller.client) else { return };
        if client.connections.remove(&number).is_none() {
            return;
        }
        self.authenticated -= 1;
        organization.connections -= 1;
        if client.connections.is_empty() {
            organization.clients.remove(&caller.client);
        }
        if organization.clients.is_empty() {
            self.organizations.remove(&caller.organization);
        }
    }

    /// Takes a slot back from a connection that has one of the operators' and turned out to be no operator's, unless
    /// another one is free by now.
    pub(super) fn lapse(&mut self, connection: &Arc<Connection>) -> Option<Eviction> {
        let Standing::OperatorSlot(number) = connection.standing() else { return None };
        if connection.is_operators() {
            return None;
        }
        self.operator_slots.remove(&number);
        if self.has_free_slot() {
            self.unauthenticated.insert(number, Arc::clone(connection));
            connection.stand(Standing::Unauthenticated(number), false, false);
            return None;
        }
        connection.stand(Standing::Gone, false, false);
        Some(Eviction::OperatorSlot)
    }

    /// Counts connections as unauthenticated that are idle for `idle_ms`, or whose clients were registered and are deleted.
    pub(super) fn demote(
        &mut self,
        now_ms: u64,
        idle_ms: u64,
        is_deleted: impl Fn(&Caller) -> bool,
    ) {
        let is_idle = |connection: &Connection| {
            connection.idle_since_ms().is_some_and(|since| now_ms.saturating_sub(since) >= idle_ms)
        };
        let mut demoted = Vec::new();
        for (organization, clients) in &self.organizations {
            for (client, of_client) in &clients.clients {
                let caller = Caller { organization: organization.clone(), client: client.clone() };
                let all = of_client.is_registered && is_deleted(&caller);
                let connections = of_client.connections.values();
                demoted.extend(connections.filter(|each| all || is_idle(each)).cloned());
            }
        }
        for connection in demoted {
            self.leave(&connection);
            let number = self.number();
            connection.stand(Standing::Unauthenticated(number), false, false);
            self.unauthenticated.insert(number, connection);
        }
        for connection in self.operator_slots.values().filter(|each| is_idle(each)) {
            connection.stand(connection.standing(), false, false);
        }
    }

    fn has_free_slot(&self) -> bool {
        self.unauthenticated.len() + self.authenticated < self.shares.slots
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
